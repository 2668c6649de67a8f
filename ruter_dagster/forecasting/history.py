"""What a slot's past loads say: one load for each slot and date, and means over earlier dates. No calendar, no plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

SLOT = ("line_id", "direction_id", "stop_id", "slot_hour")
"""The columns of a slot: departures of one date that share them are averaged."""
DEPARTURE = ("line_id", "direction_id", "stop_id", "departure_minute")
"""The columns that tell a departure from others of its slot, and find it again on other dates of the same timetable."""
LINE_HOUR = ("line_id", "direction_id", "slot_hour")
DECAY_A_WEEK = 0.9
DECIMALS = 6
MICRO = 10**DECIMALS
"""Sums of floats differ in their last bits with the order of adding, so with threads and with the dates asked beside
them. Numbers are added as whole millionths: exactly, in any order."""


def exact_sum(value: pl.Expr) -> pl.Expr:
    """The sum of values, each rounded to a millionth; 0 where there is none."""
    return (value * MICRO).round().cast(pl.Int64).sum() / MICRO


def exact_mean(value: pl.Expr) -> pl.Expr:
    """The mean of values, each rounded to a millionth; null where there is none."""
    return pl.when(value.count() > 0).then(exact_sum(value) / value.count()).round(DECIMALS)


def slot_loads(loads: pl.DataFrame, key: Sequence[str] = SLOT) -> pl.DataFrame:
    """One row a slot and service date: `load`, the plain mean of its departures, and `trusted`, the mean by weight of
    those that no event touched (null where events touched all).

    `loads` has the columns of contract `loads.stop_loads` used here (service_date, the slot's, load, weight) and
    `events`, the count of `OperatingCalendar.event_count`. `key` may be finer than a slot.
    """
    ordinary = pl.col("events") == 0
    load, weight = pl.col("load").filter(ordinary), pl.col("weight").filter(ordinary)
    weights = exact_sum(weight)
    weighted = (exact_sum(load * weight) / weights).round(DECIMALS)
    return (
        loads.lazy()
        .group_by("service_date", *key)
        .agg(
            exact_mean(pl.col("load")).alias("load"),
            pl.when(weights > 0).then(weighted).otherwise(exact_mean(load)).alias("trusted"),
        )
        .collect()
    )  # fmt: skip


def pairs(dates_before: Mapping[date, Sequence[date]]) -> pl.DataFrame:
    """One row for a date and each of its earlier dates: `service_date`, `lag_date`, `age` in days."""
    rows = [(day, lag, (day - lag).days) for day, lags in dates_before.items() for lag in lags]
    schema = {"service_date": pl.Date, "lag_date": pl.Date, "age": pl.Int32}
    return pl.DataFrame(rows, schema=schema, orient="row")


def at_lags(slots: pl.DataFrame, lags: pl.DataFrame) -> pl.LazyFrame:
    """The loads of `slots` at every pair of `lags`: service_date is the later date's."""
    return (
        slots.lazy()
        .rename({"service_date": "lag_date"})
        .join(lags.lazy(), on="lag_date", how="inner")
    )  # fmt: skip


def decayed_mean(value: str, within: int | None = None) -> pl.Expr:
    """Mean by `age` (days) in which a week counts `DECAY_A_WEEK` of the week after it; null where there is no value."""
    used = pl.col(value).is_not_null()
    if within is not None:
        used &= pl.col("age") < within
    weight = pl.lit(DECAY_A_WEEK).pow(pl.col("age") / 7.0)
    total = exact_sum(weight.filter(used))
    return pl.when(total > 0).then(exact_sum((weight * pl.col(value)).filter(used)) / total).round(DECIMALS)


def usual_loads(slots: pl.DataFrame, comparable: pl.DataFrame) -> pl.DataFrame:
    """One row a date and slot: `usual`, `usual_recent`, `usual_median`, `usual_deviation` over its comparable dates."""
    return (
        at_lags(slots, comparable)
        .group_by("service_date", *SLOT)
        .agg(
            exact_mean(pl.col("trusted")).alias("usual"),
            decayed_mean("trusted").alias("usual_recent"),
            pl.col("trusted").median().round(DECIMALS).alias("usual_median"),
            _deviation(pl.col("trusted")).alias("usual_deviation"),
        )
        .collect()
    )


def _deviation(value: pl.Expr) -> pl.Expr:
    """Standard deviation around the mean (ddof 0), passengers; null where there is no value."""
    square = exact_sum(value * value) / value.count()
    deviation = (square - (exact_sum(value) / value.count()) ** 2).clip(0).sqrt().round(DECIMALS)
    return pl.when(value.count() > 0).then(deviation)
