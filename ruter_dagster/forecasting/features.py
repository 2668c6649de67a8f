"""Departure features: what is known of a planned departure a week ahead. What is recent belongs in levels.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.features import DEPARTURE_FEATURES, FIRST_LAG_DAYS, LAG_WEEKS, LAST_LAG_DAYS
from ruter_dagster.contracts.frames import conform, empty_frame
from ruter_dagster.forecasting.calendar import OperatingCalendar
from ruter_dagster.forecasting.history import (
    DECIMALS,
    DEPARTURE,
    LINE_HOUR,
    SLOT,
    departure_sums,
    exact_mean,
    exact_sum,
    loads_before,
    mean_of_sums,
    slot_history,
    slot_loads,
)
from ruter_dagster.forecasting.slots import departure_minute, slot_hour

LOAD_COLUMNS = (
    "service_date", "line_id", "direction_id", "stop_id", "slot_hour", "scheduled_departure_time", "load", "weight",
)  # fmt: skip
"""The columns that features read of loads."""
_NAMES = ("line_id", "stop_id")
_GUESSES = (
    "departure_of_day_class", "usual", "ha8", "usual_line_hour", "slot_of_day_class", "line_hour_of_day_class", "of_stop",
    "of_line", "of_network",
)  # fmt: skip


def lag_dates(service_date: date, calendar: OperatingCalendar) -> list[date]:
    """The service dates whose loads the features of `service_date` read: weekly lags, comparable days and its class of day."""
    days = {*_weekly(service_date), *_comparable(service_date, calendar), *_of_class(service_date, calendar)}
    return sorted(days)


def departure_features(plan: pl.DataFrame, loads: pl.DataFrame, calendar: OperatingCalendar) -> pl.DataFrame:
    """Features of every planned departure: contract `features.departure_features`, a row a row of `plan`.

    `plan` is contract `raw.planned_departures` of any dates. `loads` is contract `loads.stop_loads`, or just `LOAD_COLUMNS`
    of it, in any order (more dates than `lag_dates` do no harm: they are not read; missing ones are missing lags).
    """
    dates: list[date] = plan["service_date"].unique().sort().to_list()
    lags = sorted({lag for day in dates for lag in lag_dates(day, calendar)})
    departure = "scheduled_departure_time"
    minute = departure_minute(departure, "slot_hour", calendar.time_zone).alias("departure_minute")
    known = _by_code(
        loads.lazy()
        .filter(pl.col("service_date").is_in(lags))
        .select(*LOAD_COLUMNS, calendar.event_count(lags), minute)
        .drop(departure)
    )
    planned = _by_code(
        plan.lazy()
        .with_columns(slot_hour(departure, "service_date", calendar.time_zone).alias("slot_hour"))
        .with_columns(minute)
    )
    frames = [
        _of_date(planned.filter(pl.col("service_date") == day), known, day, calendar).select(
            DEPARTURE_FEATURES.column_names
        )
        for day in dates
    ]
    return conform(pl.concat(frames), DEPARTURE_FEATURES) if frames else empty_frame(DEPARTURE_FEATURES)


def _of_date(plan: pl.DataFrame, loads: pl.DataFrame, day: date, calendar: OperatingCalendar) -> pl.DataFrame:
    comparable, of_class = _comparable(day, calendar), _of_class(day, calendar)
    slots = slot_loads(loads_before(loads, day, [*_weekly(day), *comparable]))
    history, sums = pl.collect_all(
        [
            slot_history(slots, [(day - other).days for other in comparable]),
            departure_sums(loads_before(loads, day, of_class)),
        ]
    )
    return (
        plan.lazy()
        .join(calendar.days([day]).lazy(), on="service_date")
        .with_columns(
            calendar.event_count([day]), calendar.event_count([day], 7).alias("events_last_week"), *_plan_features()
        )
        .join(history.lazy(), on=SLOT, how="left")
        .join(_neighbours(history.lazy()), on=SLOT, how="left")
        .join(_line_hours(history.lazy()), on=LINE_HOUR, how="left")
        .with_columns(_last_week_ratio(history).alias("last_week_network_ratio"))
        .pipe(_with_class_of_day, sums.lazy())
        .sort("trip_id", "stop_sequence")
        .with_columns(
            pl.col("usual").shift(1).over("trip_id").alias("usual_previous_stop"),
            pl.col("history_count").fill_null(0),
            pl.coalesce(*_GUESSES, pl.lit(0.0)).alias("expected"),
        )
        .collect()
    )  # fmt: skip


def _by_code(rows: pl.LazyFrame) -> pl.DataFrame:
    """Lines and stops as categories: millions of rows are grouped and joined by number, not by name."""
    return rows.with_columns(pl.col(_NAMES).cast(pl.Categorical)).collect()


def _weekly(day: date) -> list[date]:
    return [day - timedelta(7 * week) for week in range(1, LAG_WEEKS + 1)]


def _comparable(day: date, calendar: OperatingCalendar) -> list[date]:
    return calendar.comparable_dates(day, FIRST_LAG_DAYS, LAST_LAG_DAYS)


def _of_class(day: date, calendar: OperatingCalendar) -> list[date]:
    return calendar.dates_of_class(day, FIRST_LAG_DAYS, LAST_LAG_DAYS)


def _plan_features() -> list[pl.Expr]:
    departure = pl.col("scheduled_departure_time")
    before = departure.shift(1).over("line_id", "direction_id", "stop_id", order_by=departure)
    first, last = (getattr(pl.col("stop_sequence"), end)().over("trip_id") for end in ("min", "max"))
    return [
        ((pl.col("stop_sequence") - first) / (last - first).clip(1)).cast(pl.Float64).alias("journey_position"),
        ((departure - before).dt.total_seconds() / 60).cast(pl.Float64).alias("headway_minutes"),
        pl.len().over(SLOT).cast(pl.Int32).alias("departures_in_slot"),
    ]  # fmt: skip


def _neighbours(history: pl.LazyFrame) -> pl.LazyFrame:
    """The slot's hours before and after: their usual load and that of last week."""

    def moved(hours: int, name: str) -> pl.LazyFrame:
        return history.select(
            "line_id", "direction_id", "stop_id", pl.col("slot_hour") + hours,
            pl.col("usual").alias(f"usual_{name}_hour"), pl.col("lag_1").alias(f"last_week_{name}_hour"),
        )  # fmt: skip

    return moved(1, "previous").join(moved(-1, "next"), on=SLOT, how="full", coalesce=True)


def _line_hours(history: pl.LazyFrame) -> pl.LazyFrame:
    return history.group_by(LINE_HOUR).agg(
        exact_mean(pl.col("usual")).alias("usual_line_hour"),
        _last_week_over_usual().alias("last_week_line_hour_ratio"),
    )


def _last_week_ratio(history: pl.DataFrame) -> pl.Expr:
    return pl.lit(history.select(_last_week_over_usual()).item(), pl.Float64)


def _last_week_over_usual() -> pl.Expr:
    """Load a week before over the usual, where both are known; null where nobody usually travels."""
    both = pl.col("lag_1").is_not_null() & pl.col("usual").is_not_null()
    usual = exact_sum(pl.col("usual").filter(both))
    return pl.when(usual > 0).then(exact_sum(pl.col("lag_1").filter(both)) / usual).round(DECIMALS)


def _with_class_of_day(rows: pl.LazyFrame, sums: pl.LazyFrame) -> pl.LazyFrame:
    """Means over the class of day: of the departure itself, its slot, its line and hour, and what remains for a new line."""

    def means(key: Sequence[str], name: str, *suffixes: str) -> pl.LazyFrame:
        return sums.group_by(key).agg(mean_of_sums(name, suffix) for suffix in ("", *suffixes))

    return (
        rows.join(means(DEPARTURE, "departure_of_day_class", "_recent"), on=DEPARTURE, how="left")
        .join(means(SLOT, "slot_of_day_class", "_recent"), on=SLOT, how="left")
        .join(means(LINE_HOUR, "line_hour_of_day_class"), on=LINE_HOUR, how="left")
        .join(means(("stop_id",), "of_stop"), on="stop_id", how="left")
        .join(means(("line_id",), "of_line"), on="line_id", how="left")
        .join(sums.select(mean_of_sums("of_network")), how="cross")
    )
