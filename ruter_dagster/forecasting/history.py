"""What past loads say: one load for each slot and date, and means over earlier dates. No calendar, no plan."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from ruter_dagster.contracts.features import LAG_WEEKS, RECENT_LAG_DAYS

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


def loads_before(loads: pl.DataFrame, service_date: date, dates: Sequence[date]) -> pl.LazyFrame:
    """The loads of `dates`, with their `age` in days on `service_date`."""
    age = (pl.lit(service_date) - pl.col("service_date")).dt.total_days().cast(pl.Int32)
    return loads.lazy().filter(pl.col("service_date").is_in(dates)).with_columns(age.alias("age"))


def slot_loads(loads: pl.LazyFrame) -> pl.LazyFrame:
    """One row a slot and `age`: `load`, the plain mean of its departures, and `trusted`, the mean by weight of those
    that no event touched (null where events touched all).

    `loads` has the columns of contract `loads.stop_loads` used here (the slot's, load, weight), `age` and `events`, the
    count of `OperatingCalendar.event_count`.
    """
    ordinary = pl.col("events") == 0
    load, weight = pl.col("load").filter(ordinary), pl.col("weight").filter(ordinary)
    weights = exact_sum(weight)
    weighted = (exact_sum(load * weight) / weights).round(DECIMALS)
    return loads.group_by("age", *SLOT).agg(
        exact_mean(pl.col("load")).alias("load"),
        pl.when(weights > 0).then(weighted).otherwise(exact_mean(load)).alias("trusted"),
    )


def slot_history(slots: pl.LazyFrame, comparable_ages: Sequence[int]) -> pl.LazyFrame:
    """One row a slot of `slot_loads`: its weekly lags, HA4, HA8, `history_count`, and `usual`, `usual_recent`,
    `usual_median`, `usual_deviation` over the ages that compare."""
    age, load, trusted = pl.col("age"), pl.col("load"), pl.col("trusted")
    weekly, compares = age % 7 == 0, age.is_in(comparable_ages)
    usual = trusted.filter(compares)
    return slots.group_by(SLOT).agg(
        *(load.filter(age == 7 * week).first().alias(f"lag_{week}") for week in range(1, LAG_WEEKS + 1)),
        exact_mean(load.filter(weekly & (age <= 28))).alias("ha4"),
        exact_mean(load.filter(weekly)).alias("ha8"),
        load.filter(weekly).count().cast(pl.Int32).alias("history_count"),
        exact_mean(usual).alias("usual"),
        _decayed_mean(trusted, age, compares & trusted.is_not_null()).alias("usual_recent"),
        usual.median().round(DECIMALS).alias("usual_median"),
        _deviation(usual).alias("usual_deviation"),
    )


def departure_sums(loads: pl.LazyFrame) -> pl.LazyFrame:
    """One row a departure (its slot too): the sums from which `mean_of_sums` makes means that decay with `age`.

    Loads without a weight and those that an event touched are left out.
    """
    weight = (_decay(pl.col("age")) * pl.col("weight") * MICRO).round().cast(pl.Int64)
    recent = pl.col("age") <= RECENT_LAG_DAYS
    return (
        loads.filter((pl.col("events") == 0) & (pl.col("weight") > 0))
        .with_columns(weight.alias("total"), (weight * pl.col("load")).round().cast(pl.Int64).alias("value"))
        .group_by(*DEPARTURE, "slot_hour")
        .agg(
            pl.col("value", "total").sum(),
            pl.col("value", "total").filter(recent).sum().name.suffix("_recent"),
        )
    )


def mean_of_sums(name: str, suffix: str = "") -> pl.Expr:
    """`name` and `suffix`: the mean that the sums of `departure_sums` with that suffix make; null without any."""
    value, total = (pl.col(column + suffix).sum() for column in ("value", "total"))
    return pl.when(total > 0).then(value / total).round(DECIMALS).alias(name + suffix)


def _decay(age: pl.Expr) -> pl.Expr:
    return pl.lit(DECAY_A_WEEK).pow(age / 7.0)


def _decayed_mean(value: pl.Expr, age: pl.Expr, used: pl.Expr) -> pl.Expr:
    """Mean in which a week counts `DECAY_A_WEEK` of the week after it; null where there is no value."""
    weight = _decay(age).filter(used)
    total = exact_sum(weight)
    return pl.when(total > 0).then(exact_sum(weight * value.filter(used)) / total).round(DECIMALS)


def _deviation(value: pl.Expr) -> pl.Expr:
    """Standard deviation around the mean (ddof 0), passengers; null where there is no value."""
    square = exact_sum(value * value) / value.count()
    deviation = (square - (exact_sum(value) / value.count()) ** 2).clip(0).sqrt().round(DECIMALS)
    return pl.when(value.count() > 0).then(deviation)
