"""What a slot's past loads say: one load for each slot and date, and means over earlier dates. No calendar, no plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

SLOT = ("line_id", "direction_id", "stop_id", "slot_hour")
"""The columns of a slot: departures of one date that share them are averaged."""
LINE_HOUR = ("line_id", "direction_id", "slot_hour")
DECAY_A_WEEK = 0.9
DECIMALS = 6
"""Sums of many numbers differ in their last bits with the order of adding, so with threads and chunks: rounded, they agree."""


def slot_loads(loads: pl.DataFrame) -> pl.DataFrame:
    """One row a slot and service date: `load`, the plain mean of its departures, and `trusted`, the mean by weight.

    `loads` has the columns of contract `loads.stop_loads` used here: service_date, the slot's, load, weight.
    """
    weighted = (pl.col("load") * pl.col("weight")).sum() / pl.col("weight").sum()
    return (
        loads.lazy()
        .group_by("service_date", *SLOT)
        .agg(
            pl.col("load").mean().round(DECIMALS),
            pl.when(pl.col("weight").sum() > 0).then(weighted).otherwise(pl.col("load").mean()).round(DECIMALS).alias("trusted"),
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
    total = weight.filter(used).sum()
    return pl.when(total > 0).then((weight * pl.col(value)).filter(used).sum() / total).round(DECIMALS)


def usual_loads(slots: pl.DataFrame, comparable: pl.DataFrame) -> pl.DataFrame:
    """One row a date and slot: `usual`, `usual_recent`, `usual_median`, `usual_deviation` over its comparable dates."""
    return (
        at_lags(slots, comparable)
        .group_by("service_date", *SLOT)
        .agg(
            pl.col("trusted").mean().round(DECIMALS).alias("usual"),
            decayed_mean("trusted").alias("usual_recent"),
            pl.col("trusted").median().round(DECIMALS).alias("usual_median"),
            pl.col("trusted").std(ddof=0).round(DECIMALS).alias("usual_deviation"),
        )
        .collect()
    )
