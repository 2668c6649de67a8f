"""Levels: what is recent as of a cut-off date, from loads up to it. Keyed by cut-off date, scope and scope id."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.features import LEVEL_MEAN_DAYS, LEVEL_RATIO_DAYS, LEVEL_WINDOW_DAYS, LEVELS
from ruter_dagster.contracts.frames import conform, empty_frame
from ruter_dagster.forecasting.calendar import OperatingCalendar
from ruter_dagster.forecasting.history import DECIMALS, SLOT, decayed_mean, pairs, slot_loads, usual_loads

SCOPES: dict[str, tuple[str, ...]] = {
    "network": (),
    "line": ("line_id",),
    "stop": ("stop_id",),
    "line_hour": ("line_id", "direction_id", "slot_hour"),
    "line_hour_of_day_class": ("line_id", "direction_id", "slot_hour", "day_class"),
    "slot_of_day_class": (*SLOT, "day_class"),
}
"""The columns that make a scope's id, in their order."""
_FIRST_USUAL_DAYS, _LAST_USUAL_DAYS = 7, 28
_STEADYING_LOAD = 10.0
"""Passengers added to both sides of a ratio, so that a nearly empty line does not swing it."""


def scope_id(scope: str) -> pl.Expr:
    """The id of a row in `scope`; needs the scope's columns."""
    parts = SCOPES[scope]
    return pl.concat_str(parts, separator="|") if parts else pl.lit("all")


def level_dates(cutoff: date) -> list[date]:
    """The service dates whose loads the levels of `cutoff` read."""
    return [cutoff - timedelta(days) for days in range(LEVEL_WINDOW_DAYS)]


def levels(loads: pl.DataFrame, cutoffs: Iterable[date], calendar: OperatingCalendar) -> pl.DataFrame:
    """Contract `features.levels` for each cut-off date; a cut-off without any load in its window has no rows.

    `loads` is contract `loads.stop_loads`; of each cut-off only the dates of `level_dates` are read.
    """
    wanted = sorted(set(cutoffs))
    read = sorted({day for cutoff in wanted for day in level_dates(cutoff)})
    slots = slot_loads(loads.filter(pl.col("service_date").is_in(read)))
    if slots.is_empty():
        return empty_frame(LEVELS)
    sums = _daily_sums(_against_usual(slots, calendar))
    frames = [_of_cutoff(sums, cutoff) for cutoff in wanted]
    return conform(pl.concat(frames), LEVELS).sort("cutoff_date", "scope", "scope_id")


def _against_usual(slots: pl.DataFrame, calendar: OperatingCalendar) -> pl.DataFrame:
    """Each slot and date with its class of day and its usual load over the comparable days of the 4 weeks before."""
    dates: list[date] = slots["service_date"].unique().to_list()
    comparable = pairs(
        {day: calendar.comparable_dates(day, _FIRST_USUAL_DAYS, _LAST_USUAL_DAYS) for day in dates}
    )
    classes = calendar.days(dates).select("service_date", "day_class")
    usual = usual_loads(slots, comparable).select("service_date", *SLOT, "usual")
    return slots.join(usual, on=("service_date", *SLOT), how="left").join(classes, on="service_date")


def _daily_sums(slots: pl.DataFrame) -> pl.DataFrame:
    """For each scope and service date: sums of loads, of loads whose usual is known and of that usual; the count of slots."""
    known = pl.col("usual").is_not_null()
    frames = [
        slots.lazy()
        .with_columns(pl.lit(scope).alias("scope"), scope_id(scope).alias("scope_id"))
        .group_by("service_date", "scope", "scope_id")
        .agg(
            pl.col("trusted").sum().round(DECIMALS).alias("load"),
            pl.col("trusted").filter(known).sum().round(DECIMALS).alias("compared"),
            pl.col("usual").sum().round(DECIMALS),
            known.sum().alias("compared_count"),
            pl.len().alias("slot_count"),
        )
        for scope in SCOPES
    ]
    return pl.concat(pl.collect_all(frames)).sort("service_date", "scope", "scope_id")


def _of_cutoff(sums: pl.DataFrame, cutoff: date) -> pl.DataFrame:
    age = (pl.lit(cutoff) - pl.col("service_date")).dt.total_days().cast(pl.Int32)
    return (
        sums.lazy()
        .with_columns(age.alias("age"), (pl.col("load") / pl.col("slot_count")).alias("mean"))
        .filter(pl.col("age").is_between(0, LEVEL_WINDOW_DAYS - 1))
        .group_by("scope", "scope_id")
        .agg(
            *(_ratio(days) for days in LEVEL_RATIO_DAYS),
            *(decayed_mean("mean", within=days).alias(f"mean_{days}") for days in LEVEL_MEAN_DAYS),
            pl.col("slot_count").sum().cast(pl.Int32),
        )
        .with_columns(pl.lit(cutoff).alias("cutoff_date"))
        .select(LEVELS.column_names)
        .collect()
    )


def _ratio(days: int) -> pl.Expr:
    """Load over usual in the last `days`: null without a comparison and in a scope that a class of day cuts short."""
    recent = pl.col("age") < days
    load, usual = (pl.col(name).filter(recent).sum() + _STEADYING_LOAD for name in ("compared", "usual"))
    compared = (pl.col("compared_count").filter(recent).sum() > 0) & ~pl.col("scope").first().str.ends_with(
        "day_class"
    )
    return pl.when(compared).then(load / usual).round(DECIMALS).alias(f"ratio_{days}")
