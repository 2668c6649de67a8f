"""Levels: what is recent as of a cut-off date, from loads up to it. Keyed by cut-off date, scope and scope id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    slot_loads,
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
_OF_DEPARTURES = "departure_of_day_class"
_COMPARED = ("network", "line", "stop", "line_hour")
"""The scopes with ratios: a class of day would cut them short."""
_CUTOFFS_AT_ONCE = 28
"""A bound on the dates that are held as matrices together, whatever the number of cut-offs."""
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
    slots, departures = (
        slot_loads(known, key).filter(pl.col("trusted").is_not_null()) for key in (SLOT, DEPARTURE)
    )
    if slots.is_empty():
        return empty_frame(LEVELS)
    classes = calendar.days(read).select("service_date", "day_class")
    departures = departures.join(classes, on="service_date")
    sums = _daily_sums(slots.join(classes, on="service_date"), departures)
    blocks = [wanted[first : first + _CUTOFFS_AT_ONCE] for first in range(0, len(wanted), _CUTOFFS_AT_ONCE)]
    frames = [frame for block in blocks for frame in _of_cutoffs(block, sums, _scopes_of(departures))]
    return conform(pl.concat(frames), LEVELS).sort("cutoff_date", "scope", "scope_id")


def _daily_sums(slots: pl.DataFrame, departures: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """For each scope its ids and service dates, with their mean load and their count of slots (or departures)."""
    frames = [
        (departures if scope == _OF_DEPARTURES else slots)
        .lazy()
        .group_by("service_date", scope_id(scope).alias("scope_id"))
        .agg(exact_sum(pl.col("trusted")).alias("load"), pl.len().alias("slot_count"))
        .with_columns(mean=pl.col("load") / pl.col("slot_count"))
        for scope in SCOPES
    ]
    return dict(zip(SCOPES, pl.collect_all(frames), strict=True))


def _scopes_of(departures: pl.DataFrame) -> pl.DataFrame:
    """Each departure of a class of day (`scope_id`, in order) and its id in every scope that has ratios."""
    known = departures.select(*DEPARTURE, "day_class").unique()
    return (
        known.with_columns((pl.col("departure_minute") // 60).alias("slot_hour"))
        .select(
            scope_id(_OF_DEPARTURES).alias("scope_id"), *(scope_id(scope).alias(scope) for scope in _COMPARED)
        )
        .sort("scope_id")
    )


@dataclass(frozen=True)
class _Windows:
    """Daily values of a scope as matrices, a row an id and a column a date, 0 where nothing is known: a cut-off is a slice.

    Means are whole millionths of a passenger: numpy adds floats in an order that depends on their layout, integers exactly.
    """

    ids: pl.Series
    first: date
    means: NDArray[np.int64]
    counts: NDArray[np.int64]
    known: NDArray[np.int64]

    @classmethod
    def of(cls, sums: pl.DataFrame, cutoffs: Sequence[date]) -> _Windows:
        first = cutoffs[0] - timedelta(LEVEL_WINDOW_DAYS - 1)
        ids = sums["scope_id"].unique().sort()
        used = sums.filter(pl.col("service_date").is_between(first, cutoffs[-1]))
        row = ids.search_sorted(used["scope_id"]).to_numpy()
        column = used.select((pl.col("service_date") - first).dt.total_days()).to_series().to_numpy()
        means, counts = (np.zeros((len(ids), (cutoffs[-1] - first).days + 1), np.int64) for _ in range(2))
        means[row, column] = np.rint(used["mean"].to_numpy() * MICRO)
        counts[row, column] = used["slot_count"].to_numpy()
        return cls(ids, first, means, counts, (counts > 0).astype(np.int64))

    def last(self, matrix: NDArray[np.int64], cutoff: date, days: int) -> NDArray[np.int64]:
        """The `days` columns that end with the cut-off."""
        end = (cutoff - self.first).days + 1
        return matrix[:, end - days : end]

    def decayed_mean(self, cutoff: date, days: int) -> NDArray[np.float64]:
        """Mean load in the last `days`, a week counting `DECAY_A_WEEK` of the week after it; NaN where there is none."""
        decay = DECAY_A_WEEK ** (np.arange(days - 1, -1, -1) / 7.0)
        weight = np.rint(decay * MICRO).astype(np.int64)
        total = self.last(self.known, cutoff, days) @ weight
        value = self.last(self.means, cutoff, days) @ weight
        return np.divide(value, total, out=np.full(len(total), np.nan), where=total > 0) / MICRO


_Compared = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _of_cutoffs(
    cutoffs: Sequence[date], sums: dict[str, pl.DataFrame], scopes_of: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    """Levels of every scope as of each cut-off."""
    windows = {scope: _Windows.of(sums[scope], cutoffs) for scope in SCOPES}
    rows = {scope: windows[scope].ids.search_sorted(scopes_of[scope]).to_numpy() for scope in _COMPARED}
    for cutoff in cutoffs:
        usual = np.nan_to_num(windows[_OF_DEPARTURES].decayed_mean(cutoff, LEVEL_WINDOW_DAYS))
        recent = {days: _recent(windows[_OF_DEPARTURES], usual, cutoff, days) for days in LEVEL_RATIO_DAYS}
        for scope, window in windows.items():
            columns: dict[str, NDArray | None] = {
                f"ratio_{days}": _ratio(recent[days], rows[scope], len(window.ids))
                if scope in _COMPARED
                else None
                for days in LEVEL_RATIO_DAYS
            }
            columns |= {f"mean_{days}": window.decayed_mean(cutoff, days) for days in LEVEL_MEAN_DAYS}
            columns["slot_count"] = (
                window.last(window.counts, cutoff, LEVEL_WINDOW_DAYS).sum(axis=1).astype(np.int32)
            )
            yield _frame(cutoff, scope, window.ids, columns)


def _frame(cutoff: date, scope: str, ids: pl.Series, columns: dict[str, NDArray | None]) -> pl.DataFrame:
    rounded = [
        pl.col(name).cast(pl.Float64).fill_nan(None).round(DECIMALS)
        for name in columns
        if name != "slot_count"
    ]
    return (
        pl.DataFrame({"cutoff_date": [cutoff], "scope": [scope]})
        .join(pl.DataFrame({"scope_id": ids, **columns}), how="cross")
        .filter(pl.col("slot_count") > 0)
        .with_columns(rounded)
    )


def _recent(windows: _Windows, usual: NDArray[np.float64], cutoff: date, days: int) -> _Compared:
    """Of each departure of a class of day in the last `days`: its loads, as many times its mean load, the count of them.

    `usual`, its own mean over the window, that of these days included, is what a forecast starts from; so their ratio is
    what that start is to be corrected by, also where the timetable has just changed and nothing older compares.
    """
    count = windows.last(windows.known, cutoff, days).sum(axis=1).astype(float)
    return windows.last(windows.means, cutoff, days).sum(axis=1) / MICRO, usual * count, count


def _ratio(compared: _Compared, rows: NDArray, size: int) -> NDArray[np.float64]:
    """Load over usual of the departures in each row of a scope; NaN without any."""
    load, usual, count = compared
    loads, usuals = (
        np.bincount(rows, np.rint(value * MICRO), minlength=size) / MICRO for value in (load, usual)
    )
    known = np.bincount(rows, count, minlength=size) > 0
    return np.where(known, (loads + _STEADYING_LOAD) / (usuals + _STEADYING_LOAD), np.nan)
