"""Departure features: what is known about a planned departure a week ahead. Recent loads belong in levels.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from datetime import date, timedelta
from typing import Any

import polars as pl
import polars.selectors as cs

from ruter_dagster.contracts.date_windows import FIRST_LAG_DAYS, LAG_WEEKS, LAST_LAG_DAYS
from ruter_dagster.contracts.features import DEPARTURE_FEATURES
from ruter_dagster.contracts.tables import MODES
from ruter_dagster.contracts.validation import conform, empty_frame
from ruter_dagster.forecasting import keys
from ruter_dagster.forecasting.calendar import OperatingCalendar
from ruter_dagster.forecasting.history import (
    DECIMALS,
    departure_sums,
    exact_mean,
    exact_sum,
    loads_before,
    mean_of_sums,
    slot_history,
    slot_loads,
)
from ruter_dagster.forecasting.lookup import look_up
from ruter_dagster.forecasting.neighbours import journey_loads, nearest_hours
from ruter_dagster.forecasting.slots import departure_minute, slot_hour
from ruter_dagster.forecasting.tiers import expected_columns
from ruter_dagster.forecasting.year_ago import year_ago

LOAD_COLUMNS = (
    "service_date", "line_id", "direction_id", "stop_id", "slot_hour", "scheduled_departure_time", "seats", "load", "weight",
)  # fmt: skip
"""The columns of loads that features read."""


def lag_dates(service_date: date, calendar: OperatingCalendar) -> list[date]:
    """The service dates whose loads the features of `service_date` read: weekly lags, comparable days, days of its class."""
    days = {
        *_weekly_lags(service_date),
        *_comparable_lags(service_date, calendar),
        *_class_lags(service_date, calendar),
    }
    return sorted(days)


def calendar_facts(service_date: date, calendar: OperatingCalendar) -> dict[str, Any]:
    """Everything that the features of `service_date` read from the calendar. Equal facts give equal features."""
    dates = {service_date, service_date - timedelta(7), *lag_dates(service_date, calendar)}
    return {
        "time_zone": calendar.time_zone,
        "day": calendar.days([service_date]).row(0),
        "year_ago": year_ago(service_date, calendar),
        "lags": [
            _weekly_lags(service_date),
            _comparable_lags(service_date, calendar),
            _class_lags(service_date, calendar),
        ],
        "events": [astuple(event) for event in calendar.events if event.service_date in dates],
        "renames": [astuple(rename) for rename in calendar.renames if rename.first > min(dates)],
    }


def departure_features(plan: pl.DataFrame, loads: pl.DataFrame, calendar: OperatingCalendar) -> pl.DataFrame:
    """Features of every planned departure: contract `features.departure_features`, one row per row of `plan`, by date.

    `plan` is contract `raw.planned_departures` of any dates. `loads` is contract `loads.stop_loads`, or its
    `LOAD_COLUMNS`, in any order. Only the dates of `lag_dates` are read; missing dates are missing lags.
    """
    dates: list[date] = plan["service_date"].unique().sort().to_list()
    lags = sorted({lag for day in dates for lag in lag_dates(day, calendar)})
    departure = "scheduled_departure_time"
    time_zone = calendar.time_zone
    hour = slot_hour(departure, "service_date", time_zone).alias("slot_hour")
    minute = departure_minute(departure, "slot_hour", time_zone, dates).alias("departure_minute")
    lag_minute = departure_minute(departure, "slot_hour", time_zone, lags)
    codes = keys.Codes()
    planned = (
        plan.lazy()
        .with_columns(hour)
        .with_columns(minute)
        .with_columns(codes.departure(pl.col("departure_minute"), calendar.present_id))
        .with_columns(keys.slot())
        .collect()
    )
    known = pl.concat(
        frame.select(
            "service_date",
            codes.departure(lag_minute, calendar.present_id),
            "seats",
            "load",
            "weight",
            "events",
        )
        for frame in _with_events(loads.lazy(), lags, calendar)
    ).collect()
    # A declared column that nothing computes is left out here, so that `conform` names it.
    declared = cs.by_name(*DEPARTURE_FEATURES.column_names, require_all=False)
    frames = [
        _features_of_date(planned.filter(pl.col("service_date") == day), known, day, calendar).select(
            declared
        )
        for day in dates
    ]
    return conform(pl.concat(frames), DEPARTURE_FEATURES) if frames else empty_frame(DEPARTURE_FEATURES)


def _with_events(
    loads: pl.LazyFrame, lags: Sequence[date], calendar: OperatingCalendar
) -> list[pl.LazyFrame]:
    """The loads of `lags` with their number of events. Only dates with an event are searched for events."""
    event_dates = {event.service_date for event in calendar.events} & set(lags)
    groups = (set(lags) - event_dates, event_dates)
    ordinary, others = (loads.filter(pl.col("service_date").is_in(dates)) for dates in groups)
    none = pl.lit(0, pl.Int32).alias("events")
    return [ordinary.with_columns(none), others.with_columns(calendar.event_count(lags))]


def _features_of_date(
    plan: pl.DataFrame, loads: pl.DataFrame, day: date, calendar: OperatingCalendar
) -> pl.DataFrame:
    comparable, of_class = _comparable_lags(day, calendar), _class_lags(day, calendar)
    slots = slot_loads(loads_before(loads, day, [*_weekly_lags(day), *comparable]).with_columns(keys.slot()))
    history, sums = pl.collect_all(
        [
            slot_history(slots, [(day - other).days for other in comparable]),
            departure_sums(loads_before(loads, day, of_class)).with_columns(keys.slot()),
        ]
    )
    departures = sums.select("departure", *_means("departure_of_day_class", "", "_recent"))
    planned = plan.join(calendar.days([day]), on="service_date", maintain_order="left").with_columns(
        calendar.event_count([day]),
        calendar.event_count([day], 7).alias("events_last_week"),
        pl.lit(year_ago(day, calendar), pl.Date).alias("year_ago"),
        *_plan_features(),
    )
    known = [
        look_up(plan, _slot_features(plan, history, sums), ["slot"]),
        look_up(plan, departures, ["departure"]),
    ]
    rows = pl.concat([planned, *known], how="horizontal").with_columns(pl.col("history_count").fill_null(0))
    return pl.concat([rows, journey_loads(rows)], how="horizontal").with_columns(*expected_columns())


def _slot_features(plan: pl.DataFrame, history: pl.DataFrame, sums: pl.DataFrame) -> pl.DataFrame:
    """One row per slot of the plan: its history, its neighbours, and means of wider groups for a new slot.

    So half a million wide rows are joined once, not once per table (goal: features of one date).
    """
    modes = _modes_of_lines(plan)
    slots = _with_groups(plan.lazy().select(pl.col("slot").unique(maintain_order=False)), modes).collect()
    past = history.lazy()
    # Sums of sums: departures add up to slots, and slots to all other groups.
    by_slot = _with_groups(sums.lazy().drop("departure").group_by("slot").agg(pl.all().sum()), modes)
    known = [
        ("slot", past),
        ("slot", _neighbours(past)),
        ("slot", by_slot.select("slot", *_means("slot_of_day_class", "", "_recent"))),
        ("line_hour", _line_hours(past)),
        ("line_hour", _grouped(by_slot, "line_hour", "line_hour_of_day_class")),
        ("line", _grouped(by_slot, "line", "line_of_day_class")),
    ]
    *tables, counted = pl.collect_all([*(table for _, table in known), by_slot])
    columns = [look_up(slots, table, [key]) for (key, _), table in zip(known, tables, strict=True)]
    return pl.concat(
        [
            slots.select("slot"),
            *columns,
            nearest_hours(slots, counted),
            _shared_by_lines(slots, counted, "stop_hour"),
            _shared_by_lines(slots, counted, "mode_hour"),
        ],
        how="horizontal",
    ).with_columns(
        _last_week_ratio(history).alias("last_week_network_ratio"),
        _network_mean(counted).alias("network_of_day_class"),
    )


def _modes_of_lines(plan: pl.DataFrame) -> pl.LazyFrame:
    """One row per line of the plan with its mode; the first by name if it has several."""
    return plan.lazy().group_by(keys.line().alias("line")).agg(pl.col("mode").min().cast(pl.Enum(MODES)))


def _with_groups(slots: pl.LazyFrame, modes: pl.LazyFrame) -> pl.LazyFrame:
    grouped = slots.with_columns(*keys.groups()).join(modes, on="line", how="left")
    return grouped.with_columns(keys.mode_hour("mode")).drop("mode")


def _shared_by_lines(slots: pl.DataFrame, counted: pl.DataFrame, key: str) -> pl.DataFrame:
    """The mean of a group that several lines share, and of all lines except the slot's own; one row per row of `slots`.

    The mean without the own line is what the slot would have if its line were new.
    """
    total = pl.col("value", "total").sum()
    counted = counted.filter(pl.col(key).is_not_null())
    all_lines = look_up(slots, counted.group_by(key).agg(total), [key])
    own_line = look_up(slots, counted.group_by(key, "line").agg(total.name.suffix("_own")), [key, "line"])
    both = pl.concat([all_lines, own_line], how="horizontal").with_columns(
        (pl.col(name) - pl.col(f"{name}_own").fill_null(0)).alias(f"{name}_others")
        for name in ("value", "total")
    )
    return both.select(
        mean_of_sums(f"{key}_of_day_class"),
        mean_of_sums("", "_others").alias(f"{key}_of_other_lines"),
    )


def _network_mean(counted: pl.DataFrame) -> pl.Expr:
    mean = counted.select(pl.col("value", "total").sum()).select(mean_of_sums("network")).item()
    return pl.lit(mean, pl.Float64)


def _weekly_lags(day: date) -> list[date]:
    return [day - timedelta(7 * week) for week in range(1, LAG_WEEKS + 1)]


def _comparable_lags(day: date, calendar: OperatingCalendar) -> list[date]:
    return calendar.comparable_dates(day, FIRST_LAG_DAYS, LAST_LAG_DAYS)


def _class_lags(day: date, calendar: OperatingCalendar) -> list[date]:
    return calendar.dates_of_class(day, FIRST_LAG_DAYS, LAST_LAG_DAYS)


def _plan_features() -> list[pl.Expr]:
    departure = pl.col("scheduled_departure_time")
    before = departure.shift(1).over(keys.line_and_stop(), order_by=departure)
    first, last = (getattr(pl.col("stop_sequence"), end)().over("trip_id") for end in ("min", "max"))
    return [
        ((pl.col("stop_sequence") - first) / (last - first).clip(1)).cast(pl.Float64).alias("journey_position"),
        ((departure - before).dt.total_seconds() / 60).cast(pl.Float64).alias("headway_minutes"),
        pl.len().over("slot").cast(pl.Int32).alias("departures_in_slot"),
    ]  # fmt: skip


def _neighbours(history: pl.LazyFrame) -> pl.LazyFrame:
    """The usual load and last week's load of the hours before and after a slot."""

    def shifted(hours: int, name: str) -> pl.LazyFrame:
        return history.select(
            pl.col("slot") + hours,
            pl.col("usual").alias(f"usual_{name}_hour"), pl.col("lag_1").alias(f"last_week_{name}_hour"),
        )  # fmt: skip

    return shifted(1, "previous").join(shifted(-1, "next"), on="slot", how="full", coalesce=True)


def _line_hours(history: pl.LazyFrame) -> pl.LazyFrame:
    return history.group_by(keys.line_hour()).agg(
        exact_mean(pl.col("usual")).alias("usual_line_hour"),
        _last_week_over_usual().alias("last_week_line_hour_ratio"),
    )


def _last_week_ratio(history: pl.DataFrame) -> pl.Expr:
    return pl.lit(history.select(_last_week_over_usual()).item(), pl.Float64)


def _last_week_over_usual() -> pl.Expr:
    """Load a week before over the usual load, over rows that have both; null if nobody usually travels."""
    both = pl.col("lag_1").is_not_null() & pl.col("usual").is_not_null()
    usual = exact_sum(pl.col("usual").filter(both))
    return pl.when(usual > 0).then(exact_sum(pl.col("lag_1").filter(both)) / usual).round(DECIMALS)


def _grouped(sums: pl.LazyFrame, key: str, name: str) -> pl.LazyFrame:
    return sums.group_by(key).agg(pl.col("value", "total").sum()).select(key, *_means(name))


def _means(name: str, *suffixes: str) -> list[pl.Expr]:
    return [mean_of_sums(name, suffix) for suffix in suffixes or ("",)]
