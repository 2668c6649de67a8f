"""Levels: what is recent as of a cut-off date, from loads up to it. Keyed by cut-off date, scope and scope id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ruter_dagster.contracts.features import LEVEL_MEAN_DAYS, LEVEL_RATIO_DAYS, LEVEL_WINDOW_DAYS, LEVELS
from ruter_dagster.contracts.frames import conform, empty_frame
from ruter_dagster.forecasting.calendar import OperatingCalendar
from ruter_dagster.forecasting.history import (
    DECAY_A_WEEK,
    DECIMALS,
    DEPARTURE,
    MICRO,
    SLOT,
    exact_sum,
    pairs,
    slot_loads,
    usual_loads,
)
from ruter_dagster.forecasting.slots import departure_minute

SCOPES: dict[str, tuple[str, ...]] = {
    "network": (),
    "line": ("line_id",),
    "stop": ("stop_id",),
    "line_hour": ("line_id", "direction_id", "slot_hour"),
    "line_hour_of_day_class": ("line_id", "direction_id", "slot_hour", "day_class"),
    "slot_of_day_class": (*SLOT, "day_class"),
    "departure_of_day_class": (*DEPARTURE, "day_class"),
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
    known = loads.filter(pl.col("service_date").is_in(read)).with_columns(
        calendar.event_count(read),
        departure_minute("scheduled_departure_time", "service_date", calendar.time_zone).alias(
            "departure_minute"
        ),
    )
    slots = slot_loads(known).filter(pl.col("trusted").is_not_null())
    if slots.is_empty():
        return empty_frame(LEVELS)
    classes = calendar.days(read).select("service_date", "day_class")
    departures = slot_loads(known, DEPARTURE).filter(pl.col("trusted").is_not_null())
    sums = _daily_sums(
        _against_usual(slots, calendar).join(classes, on="service_date"),
        departures.join(classes, on="service_date"),
    )
    by_scope = sums.partition_by("scope", as_dict=True)
    frames = [_of_scope(scope, by_scope[(scope,)], wanted) for scope in SCOPES if (scope,) in by_scope]
    return conform(pl.concat(frames), LEVELS).sort("cutoff_date", "scope", "scope_id")


def _against_usual(slots: pl.DataFrame, calendar: OperatingCalendar) -> pl.DataFrame:
    """Each slot and date with its usual load over the comparable days of the 4 weeks before."""
    dates: list[date] = slots["service_date"].unique().to_list()
    comparable = pairs(
        {day: calendar.comparable_dates(day, _FIRST_USUAL_DAYS, _LAST_USUAL_DAYS) for day in dates}
    )
    usual = usual_loads(slots, comparable).select("service_date", *SLOT, "usual")
    return slots.join(usual, on=("service_date", *SLOT), how="left")


def _daily_sums(slots: pl.DataFrame, departures: pl.DataFrame) -> pl.DataFrame:
    """For each scope and service date: sums of loads, of loads whose usual is known and of that usual; the count of slots."""
    known = pl.col("usual").is_not_null()
    frames = [
        (departures.with_columns(usual=pl.lit(None, pl.Float64)) if scope.startswith("departure") else slots)
        .lazy()
        .with_columns(pl.lit(scope).alias("scope"), scope_id(scope).alias("scope_id"))
        .group_by("service_date", "scope", "scope_id")
        .agg(
            exact_sum(pl.col("trusted")).alias("load"),
            exact_sum(pl.col("trusted").filter(known)).alias("compared"),
            exact_sum(pl.col("usual")).alias("usual"),
            known.sum().alias("compared_count"),
            pl.len().alias("slot_count"),
        )
        for scope in SCOPES
    ]
    return pl.concat(pl.collect_all(frames)).sort("service_date", "scope", "scope_id")


@dataclass(frozen=True)
class _Windows:
    """Sums of a scope as matrices, a row an id and a column a date, 0 where nothing is known: a cut-off is a slice."""

    ids: pl.Series
    first: date
    matrices: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, sums: pl.DataFrame, names: Sequence[str], cutoffs: Sequence[date]) -> _Windows:
        first = cutoffs[0] - timedelta(LEVEL_WINDOW_DAYS - 1)
        ids = sums["scope_id"].unique().sort()
        width = (cutoffs[-1] - first).days + 1
        days = sums.select((pl.col("service_date") - first).dt.total_days()).to_series()
        used = sums.filter(days.is_between(0, width - 1))
        row = ids.search_sorted(used["scope_id"]).to_numpy()
        column = used.select((pl.col("service_date") - first).dt.total_days()).to_series().to_numpy()
        matrices = {}
        for name in names:
            matrices[name] = np.zeros((len(ids), width))
            matrices[name][row, column] = used[name].to_numpy()
        return cls(ids, first, matrices)

    def last(self, name: str, cutoff: date, days: int) -> NDArray[np.float64]:
        """The `days` columns that end with the cut-off."""
        end = (cutoff - self.first).days + 1
        return self.matrices[name][:, end - days : end]


def _of_scope(scope: str, sums: pl.DataFrame, cutoffs: Sequence[date]) -> pl.DataFrame:
    """Levels of one scope for every cut-off; ratios are null in a scope that a class of day cuts short."""
    compares = not scope.endswith("day_class")
    names = ["mean", "slot_count", *(("compared", "usual", "compared_count") if compares else ())]
    windows = _Windows.of(sums.with_columns(mean=pl.col("load") / pl.col("slot_count")), names, cutoffs)
    frames = []
    for cutoff in cutoffs:
        columns = {
            f"ratio_{days}": _ratio(windows, cutoff, days) if compares else None for days in LEVEL_RATIO_DAYS
        }
        columns |= {f"mean_{days}": _decayed_mean(windows, cutoff, days) for days in LEVEL_MEAN_DAYS}
        count = windows.last("slot_count", cutoff, LEVEL_WINDOW_DAYS).sum(axis=1).astype(np.int32)
        frame = pl.DataFrame({"cutoff_date": [cutoff], "scope": [scope]}).join(
            pl.DataFrame({"scope_id": windows.ids, **columns, "slot_count": count}), how="cross"
        )
        frames.append(frame.filter(pl.col("slot_count") > 0))
    return (
        pl.concat(frames)
        .with_columns(
            pl.col(f"ratio_{days}").cast(pl.Float64).fill_nan(None).round(DECIMALS)
            for days in LEVEL_RATIO_DAYS
        )
        .with_columns(pl.col(f"mean_{days}").fill_nan(None).round(DECIMALS) for days in LEVEL_MEAN_DAYS)
    )


def _ratio(windows: _Windows, cutoff: date, days: int) -> NDArray[np.float64]:
    """Load over usual in the last `days`; NaN without a comparison."""
    load, usual, count = (
        _row_sums(windows.last(name, cutoff, days)) for name in ("compared", "usual", "compared_count")
    )
    return np.where(count > 0, (load + _STEADYING_LOAD) / (usual + _STEADYING_LOAD), np.nan)


def _decayed_mean(windows: _Windows, cutoff: date, days: int) -> NDArray[np.float64]:
    """Mean load in the last `days`, a week counting `DECAY_A_WEEK` of the week after it; NaN where there is none."""
    weight = DECAY_A_WEEK ** (np.arange(days - 1, -1, -1) / 7.0)
    present = windows.last("slot_count", cutoff, days) > 0
    total = _row_sums(present * weight)
    value = _row_sums(windows.last("mean", cutoff, days) * weight)
    return np.divide(value, total, out=np.full(len(total), np.nan), where=total > 0)


def _row_sums(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exact sums of rows, as `history.exact_sum`: numpy too adds floats in an order that depends on their layout."""
    return np.rint(matrix * MICRO).astype(np.int64).sum(axis=1) / MICRO
