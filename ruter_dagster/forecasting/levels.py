"""Levels: recent loads compared with the loads that were expected a week ahead, on an issue date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.date_windows import HORIZON_DAYS, LEVEL_WINDOW_DAYS
from ruter_dagster.contracts.features import LEVEL_RATIO_DAYS, LEVELS
from ruter_dagster.contracts.validation import conform, empty_frame
from ruter_dagster.forecasting.calendar import OperatingCalendar
from ruter_dagster.forecasting.history import DECIMALS, exact_sum
from ruter_dagster.forecasting.tiers import has_basis

SCOPES: dict[str, tuple[str, ...]] = {
    "network": (),
    "line": ("line_id",),
    "stop": ("stop_id",),
    "line_hour": ("line_id", "direction_id", "slot_hour"),
}
"""The columns that form a scope's id, in order."""
EXPECTED_COLUMNS = (
    "service_date", "trip_id", "stop_sequence", "line_id", "direction_id", "stop_id", "slot_hour", "events", "expected",
    "expected_tier",
)  # fmt: skip
"""The columns of departure features that levels read."""
LOAD_COLUMNS = ("service_date", "trip_id", "stop_sequence", "load", "weight")
"""The columns of loads that levels read."""
_KEY = ("service_date", "trip_id", "stop_sequence")
_SMOOTHING_LOAD = 10.0
"""Passengers added to both sides of a ratio, so that a nearly empty line does not dominate it."""


def scope_id(scope: str) -> pl.Expr:
    """The id of a row in `scope`; needs the scope's columns."""
    parts = SCOPES[scope]
    return pl.concat_str(parts, separator="|") if parts else pl.lit("all")


def level_dates(issue_date: date) -> list[date]:
    """The service dates whose loads and departure features the levels of an issue date read."""
    return [issue_date - timedelta(days) for days in range(1, LEVEL_WINDOW_DAYS + 1)]


def levels(loads: pl.DataFrame, features: pl.DataFrame, issue_dates: Iterable[date]) -> pl.DataFrame:
    """Contract `features.levels` for each issue date; an issue date without comparable loads in its window has no rows.

    `loads` is contract `loads.stop_loads` and `features` contract `features.departure_features`, or their `LOAD_COLUMNS`
    and `EXPECTED_COLUMNS`. Only the dates of `level_dates` are read. Loads without weight, loads on the day of an event,
    and departures without an expected load do not count.
    """
    return _of_sums([_sums(loads, features)], issue_dates)


def levels_with_renamed_ids(
    loads: pl.DataFrame, features: pl.DataFrame, issue_dates: Iterable[date], calendar: OperatingCalendar
) -> pl.DataFrame:
    """`levels`, which a line or stop that `calendar` renames later also has under its later ids.

    Forecasts look up levels by the ids of their service date: of the issue date in the weeks after a rename, and of the
    year before for a year. If the new id belonged to another line, that line keeps its levels until the rename.
    """
    return levels_of_parts([(loads, features)], issue_dates, calendar)


def levels_of_parts(
    parts: Iterable[tuple[pl.DataFrame, pl.DataFrame]],
    issue_dates: Iterable[date],
    calendar: OperatingCalendar,
) -> pl.DataFrame:
    """`levels_with_renamed_ids` of loads and features in parts without a common service date, to limit memory."""
    wanted = sorted(set(issue_dates))
    firsts = [
        first
        for first in sorted({rename.first for rename in calendar.renames})
        if any(level_dates(issued)[-1] < first for issued in wanted)
    ]
    present: list[_Sums] = []
    renamed: dict[date, list[_Sums]] = {first: [] for first in firsts}
    for loads, features in parts:
        present.append(_sums(loads, features))
        for first, sums in renamed.items():
            sums.append(_sums(loads, _with_ids_on(first, features, calendar)))
    known = _of_sums(present, wanted)
    for first, sums in renamed.items():
        later = _of_sums(sums, [issued for issued in wanted if level_dates(issued)[-1] < first])
        reaches = pl.col("issue_date") + timedelta(HORIZON_DAYS) >= first
        frames = [later.filter(reaches), known, later.filter(~reaches)]
        known = pl.concat(frames).unique(("issue_date", "scope", "scope_id"), keep="first")
    return known.sort("issue_date", "scope", "scope_id")


def _with_ids_on(day: date, features: pl.DataFrame, calendar: OperatingCalendar) -> pl.DataFrame:
    """The features with the ids that lines and stops have on `day`."""
    then = replace(calendar, renames=tuple(item for item in calendar.renames if item.first <= day))
    return features.with_columns(then.present_id(name) for name in ("line_id", "stop_id"))


_Sums = dict[str, pl.DataFrame]
"""The daily sums of each scope."""


def _sums(loads: pl.DataFrame, features: pl.DataFrame) -> _Sums:
    compared = (
        features.lazy()
        .filter((pl.col("events") == 0) & has_basis())
        .select(EXPECTED_COLUMNS)
        .join(loads.lazy().filter(pl.col("weight") > 0).select(LOAD_COLUMNS), on=_KEY)
    )
    return dict(zip(SCOPES, pl.collect_all([_daily_sums(compared, scope) for scope in SCOPES]), strict=True))


def _of_sums(parts: Sequence[_Sums], issue_dates: Iterable[date]) -> pl.DataFrame:
    """Contract `features.levels` of parts without a common service date."""
    if not parts:
        return empty_frame(LEVELS)
    daily = {scope: pl.concat(part[scope] for part in parts) for scope in SCOPES}
    frames = [
        _of_issue_date(sums, issue_date, scope)
        for scope, sums in daily.items()
        for issue_date in sorted(set(issue_dates))
    ]
    if not frames:
        return empty_frame(LEVELS)
    return conform(pl.concat(frames), LEVELS).sort("issue_date", "scope", "scope_id")


def _daily_sums(compared: pl.LazyFrame, scope: str) -> pl.LazyFrame:
    """For each id of a scope and service date: weighted loads, weighted expected loads, and the number of departures."""
    load, expected = (pl.col(name) * pl.col("weight") for name in ("load", "expected"))
    return (
        compared.group_by("service_date", *SCOPES[scope])
        .agg(exact_sum(load).alias("load"), exact_sum(expected).alias("expected"), pl.len().alias("departure_count"))
        .with_columns(scope_id(scope).alias("scope_id"))
    )  # fmt: skip


def _of_issue_date(daily: pl.DataFrame, issue_date: date, scope: str) -> pl.DataFrame:
    return (
        daily.filter(pl.col("service_date").is_in(level_dates(issue_date)))
        .group_by("scope_id")
        .agg(
            *(_ratio(issue_date - timedelta(days)).alias(f"ratio_{days}") for days in LEVEL_RATIO_DAYS),
            pl.col("departure_count").sum().cast(pl.Int32),
        )
        .select(pl.lit(issue_date).alias("issue_date"), pl.lit(scope).alias("scope"), pl.all())
    )


def _ratio(first: date) -> pl.Expr:
    """Load over expected load on the service dates since `first`; null if there are none."""
    recent = pl.col("service_date") >= first
    load, expected = (
        exact_sum(pl.col(name).filter(recent)) + _SMOOTHING_LOAD for name in ("load", "expected")
    )
    return pl.when(recent.any()).then(load / expected).round(DECIMALS)
