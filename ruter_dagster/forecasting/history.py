"""Past loads: one load per slot and date, and means over earlier dates. No calendar, no plan."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from ruter_dagster.contracts.date_windows import HA4_DAYS, LAG_WEEKS, RECENT_LAG_DAYS

DECAY_PER_WEEK = 0.9
DECIMALS = 6
MICRO = 10**DECIMALS
"""Sums of floats depend on the order of addition, so on threads and on other dates in the frame. Numbers are added as whole
millionths instead: exact in any order."""
_AGES = 64
"""Greater than any age in days."""


def _to_millionths(value: pl.Expr) -> pl.Expr:
    return (value * MICRO).round().cast(pl.Int64)


def _mean(total: str, count: str) -> pl.Expr:
    """The mean of a sum of millionths; null if there are no values."""
    return pl.when(pl.col(count) > 0).then(pl.col(total) / MICRO / pl.col(count)).round(DECIMALS)


def _mean_by_weight(total: str, weight: str) -> pl.Expr:
    """The mean of a sum of millionths of weighted values; null if there is no weight."""
    weights = pl.col(weight) / MICRO
    return pl.when(weights > 0).then((pl.col(total) / MICRO / weights).round(DECIMALS))


def exact_sum(value: pl.Expr) -> pl.Expr:
    """The sum of values, each rounded to a millionth; 0 if there are none."""
    return _to_millionths(value).sum() / MICRO


def exact_mean(value: pl.Expr) -> pl.Expr:
    """The mean of values, each rounded to a millionth; null if there are none."""
    return pl.when(value.count() > 0).then(exact_sum(value) / value.count()).round(DECIMALS)


def loads_before(loads: pl.DataFrame, service_date: date, dates: Sequence[date]) -> pl.LazyFrame:
    """The loads of `dates` with their `age` in days on `service_date`; rows without weight have no load and are left out."""
    age = (pl.lit(service_date) - pl.col("service_date")).dt.total_days().cast(pl.Int32)
    known = pl.col("service_date").is_in(dates) & (pl.col("weight") > 0)
    return loads.lazy().filter(known).with_columns(age.alias("age"))


def slot_loads(loads: pl.LazyFrame) -> pl.LazyFrame:
    """One row per slot and `age`: the mean `load` of its departures, and their `trusted` load.

    `trusted` is the mean by weight of departures without an event (null if all had one). `loads` has `slot` (keys.py),
    seats, load and weight of contract `loads.stop_loads`, `age`, and `events` of `OperatingCalendar.event_count`. `seats` is
    the mean of the vehicles that ran.
    """
    ordinary, load, weight = pl.col("events") == 0, pl.col("load"), pl.col("weight")
    added = loads.select(
        (pl.col("slot") * _AGES + pl.col("age")).alias("slot"),
        _to_millionths(load).alias("load"),
        pl.when(ordinary).then(_to_millionths(load)).alias("ordinary"),
        pl.when(ordinary).then(_to_millionths(load * weight)).alias("weighted"),
        pl.when(ordinary).then(_to_millionths(weight)).alias("weight"),
        pl.col("seats").cast(pl.Int64),
    )
    sums = added.group_by("slot").agg(
        pl.all().sum(),
        pl.col("load").count().alias("count"),
        pl.col("ordinary").count().alias("ordinary_count"),
        pl.col("seats").count().alias("seats_count"),
    )
    ordinary_mean = _mean("ordinary", "ordinary_count")
    return sums.select(
        pl.col("slot") // _AGES,
        (pl.col("slot") % _AGES).cast(pl.Int32).alias("age"),
        _mean("load", "count").alias("load"),
        pl.coalesce(_mean_by_weight("weighted", "weight"), ordinary_mean).alias("trusted"),
        pl.when(pl.col("seats_count") > 0).then(pl.col("seats") / pl.col("seats_count")).alias("seats"),
    )


def slot_history(slots: pl.LazyFrame, comparable_ages: Sequence[int]) -> pl.LazyFrame:
    """One row per slot of `slot_loads`: its weekly lags, HA4, HA8 and `history_count`, and its usual load.

    `usual`, `usual_recent`, `usual_median`, `usual_deviation` and `usual_seats` are over the comparable ages.
    """
    age, load = pl.col("age"), pl.col("load")
    weekly = age % 7 == 0
    usual = pl.when(age.is_in(comparable_ages)).then(pl.col("trusted"))
    weight = pl.when(usual.is_not_null()).then(_decay(age))
    # Columns are computed before grouping, because filters within each group take twice as long (goal: features of one date).
    columns = slots.select(
        "slot",
        *(pl.when(age == 7 * week).then(load).alias(f"lag_{week}") for week in range(1, LAG_WEEKS + 1)),
        pl.when(weekly & (age <= HA4_DAYS)).then(_to_millionths(load)).alias("ha4"),
        pl.when(weekly).then(_to_millionths(load)).alias("ha8"),
        usual.alias("usual_median"),
        _to_millionths(usual).alias("usual"),
        _to_millionths(usual * usual).alias("square"),
        _to_millionths(weight).alias("weight"),
        _to_millionths(weight * usual).alias("weighted"),
        pl.when(age.is_in(comparable_ages)).then(_to_millionths(pl.col("seats"))).alias("usual_seats"),
    )
    sums = columns.group_by("slot").agg(
        pl.col("^lag_.*$").max(),
        pl.col("usual_median").median().round(DECIMALS),
        pl.col("ha4", "ha8", "usual", "square", "weight", "weighted", "usual_seats").sum(),
        pl.col("ha4", "ha8", "usual", "usual_seats").count().name.suffix("_count"),
    )
    return sums.select(
        "slot",
        "^lag_.*$",
        _mean("ha4", "ha4_count").alias("ha4"),
        _mean("ha8", "ha8_count").alias("ha8"),
        pl.col("ha8_count").cast(pl.Int32).alias("history_count"),
        _mean("usual", "usual_count").alias("usual"),
        _mean_by_weight("weighted", "weight").alias("usual_recent"),
        "usual_median",
        _deviation("usual", "square", "usual_count").alias("usual_deviation"),
        _mean("usual_seats", "usual_seats_count").alias("usual_seats"),
    )


def departure_sums(loads: pl.LazyFrame) -> pl.LazyFrame:
    """One row per `departure` (keys.py): the sums from which `mean_of_sums` computes means that decay with `age`.

    Loads without weight, and loads on the day of an event, add nothing.
    """
    counts = (pl.col("events") == 0) & (pl.col("weight") > 0)
    weight = pl.when(counts).then(_to_millionths(_decay(pl.col("age")) * pl.col("weight"))).otherwise(0)
    recent = pl.col("age") <= RECENT_LAG_DAYS
    return (
        loads.select(
            "departure",
            recent.alias("recent"),
            weight.alias("total"),
            (weight * pl.col("load")).round().cast(pl.Int64).alias("value"),
        )
        .with_columns(pl.when("recent").then(pl.col("value", "total")).otherwise(0).name.suffix("_recent"))
        .drop("recent")
        .group_by("departure")
        .agg(pl.all().sum())
    )


def mean_of_sums(name: str, suffix: str = "") -> pl.Expr:
    """Column `name` + `suffix`: the mean of the sums of `departure_sums` with this suffix; null if there are none."""
    value, total = (pl.col(column + suffix) for column in ("value", "total"))
    return pl.when(total > 0).then(value / total).round(DECIMALS).alias(name + suffix)


def _decay(age: pl.Expr) -> pl.Expr:
    """The weight of an age. It is looked up: computing a power for each of millions of rows takes as long as their sums."""
    decays = pl.select(pl.lit(DECAY_PER_WEEK).pow(pl.int_range(_AGES) / 7.0)).to_series()
    return pl.lit(decays).gather(age)


def _deviation(total: str, squares: str, count: str) -> pl.Expr:
    """Standard deviation around the mean (ddof 0), passengers, from sums of millionths; null if there are no values."""
    square, mean = (pl.col(name) / MICRO / pl.col(count) for name in (squares, total))
    deviation = (square - mean**2).clip(0).sqrt().round(DECIMALS)
    return pl.when(pl.col(count) > 0).then(deviation)
