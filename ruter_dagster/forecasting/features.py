"""Departure features: what is known of a planned departure a week ahead. What is recent belongs in levels.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.features import DEPARTURE_FEATURES, FIRST_LAG_DAYS, LAG_WEEKS, LAST_LAG_DAYS
from ruter_dagster.contracts.frames import conform
from ruter_dagster.forecasting.calendar import OperatingCalendar
from ruter_dagster.forecasting.history import (
    DECIMALS,
    LINE_HOUR,
    SLOT,
    at_lags,
    exact_mean,
    exact_sum,
    pairs,
    slot_loads,
    usual_loads,
)
from ruter_dagster.forecasting.slots import departure_minute, slot_hour

_DATED_SLOT = ("service_date", *SLOT)


def lag_dates(service_date: date, calendar: OperatingCalendar) -> list[date]:
    """The service dates whose loads the features of `service_date` read: its weekly lags and comparable days."""
    return sorted({*_weekly(service_date), *_comparable(service_date, calendar)})


def departure_features(plan: pl.DataFrame, loads: pl.DataFrame, calendar: OperatingCalendar) -> pl.DataFrame:
    """Features of every planned departure: contract `features.departure_features`, a row a row of `plan`.

    `plan` is contract `raw.planned_departures` of any dates. `loads` is contract `loads.stop_loads` (more dates than
    `lag_dates` do no harm: they are not read; missing ones are missing lags).
    """
    dates: list[date] = plan["service_date"].unique().sort().to_list()
    wanted = sorted({lag for day in dates for lag in lag_dates(day, calendar)})
    read = loads.filter(pl.col("service_date").is_in(wanted)).with_columns(calendar.event_count(wanted))
    slots = slot_loads(read)
    history = _history(slots, dates, calendar)
    rows = (
        plan.with_columns(
            clock("scheduled_departure_time", "service_date", calendar.time_zone).alias(name)
            for name, clock in (("slot_hour", slot_hour), ("departure_minute", departure_minute))
        )
        .join(calendar.days(dates), on="service_date", how="left")
        .with_columns(
            calendar.event_count(dates), calendar.event_count(dates, 7).alias("events_last_week"), *_plan_features())
        .join(history, on=_DATED_SLOT, how="left")
        .join(_neighbours(history), on=_DATED_SLOT, how="left")
        .join(_line_hours(history), on=("service_date", *LINE_HOUR), how="left")
        .join(_network(history), on="service_date", how="left")
        .sort("service_date", "trip_id", "stop_sequence")
        .with_columns(
            pl.col("usual").shift(1).over("service_date", "trip_id").alias("usual_previous_stop"),
            pl.col("history_count").fill_null(0),
        )
    )  # fmt: skip
    return conform(rows.select(DEPARTURE_FEATURES.column_names), DEPARTURE_FEATURES)


def _weekly(day: date) -> list[date]:
    return [day - timedelta(7 * week) for week in range(1, LAG_WEEKS + 1)]


def _comparable(day: date, calendar: OperatingCalendar) -> list[date]:
    return calendar.comparable_dates(day, FIRST_LAG_DAYS, LAST_LAG_DAYS)


def _plan_features() -> list[pl.Expr]:
    departure = pl.col("scheduled_departure_time")
    before = departure.shift(1).over("service_date", "line_id", "direction_id", "stop_id", order_by=departure)
    first, last = (
        getattr(pl.col("stop_sequence"), end)().over("service_date", "trip_id") for end in ("min", "max")
    )
    return [
        ((pl.col("stop_sequence") - first) / (last - first).clip(1)).cast(pl.Float64).alias("journey_position"),
        ((departure - before).dt.total_seconds() / 60).cast(pl.Float64).alias("headway_minutes"),
        pl.len().over(_DATED_SLOT).cast(pl.Int32).alias("departures_in_slot"),
    ]  # fmt: skip


def _history(slots: pl.DataFrame, dates: Sequence[date], calendar: OperatingCalendar) -> pl.DataFrame:
    """Weekly lags, their means and the usual loads of every slot that has any, for each of `dates`."""
    week, load = pl.col("age") // 7, pl.col("load")
    weekly = (
        at_lags(slots, pairs({day: _weekly(day) for day in dates}))
        .group_by(_DATED_SLOT)
        .agg(
            *(load.filter(week == number).first().alias(f"lag_{number}") for number in range(1, LAG_WEEKS + 1)),
            exact_mean(load.filter(week <= 4)).alias("ha4"),
            exact_mean(load).alias("ha8"),
            pl.len().cast(pl.Int32).alias("history_count"),
        )
        .collect()
    )  # fmt: skip
    usual = usual_loads(slots, pairs({day: _comparable(day, calendar) for day in dates}))
    return weekly.join(usual, on=_DATED_SLOT, how="full", coalesce=True)


def _neighbours(history: pl.DataFrame) -> pl.DataFrame:
    """The slot's hours before and after: their usual load and that of last week."""

    def moved(hours: int, name: str) -> pl.DataFrame:
        return history.select(
            "service_date", "line_id", "direction_id", "stop_id", pl.col("slot_hour") + hours,
            pl.col("usual").alias(f"usual_{name}_hour"), pl.col("lag_1").alias(f"last_week_{name}_hour"),
        )  # fmt: skip

    return moved(1, "previous").join(moved(-1, "next"), on=_DATED_SLOT, how="full", coalesce=True)


def _line_hours(history: pl.DataFrame) -> pl.DataFrame:
    return history.group_by("service_date", *LINE_HOUR).agg(
        exact_mean(pl.col("usual")).alias("usual_line_hour"),
        _last_week_ratio().alias("last_week_line_hour_ratio"),
    )


def _network(history: pl.DataFrame) -> pl.DataFrame:
    return history.group_by("service_date").agg(_last_week_ratio().alias("last_week_network_ratio"))


def _last_week_ratio() -> pl.Expr:
    """Load a week before over the usual, where both are known; null where nobody usually travels."""
    both = pl.col("lag_1").is_not_null() & pl.col("usual").is_not_null()
    usual = exact_sum(pl.col("usual").filter(both))
    return pl.when(usual > 0).then(exact_sum(pl.col("lag_1").filter(both)) / usual).round(DECIMALS)
