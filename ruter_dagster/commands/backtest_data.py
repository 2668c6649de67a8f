"""Reads the counts and the plan of a backtest from a source, without the dates that the chain would block or refuse.

It reads and writes no tables. The rules themselves belong in sources/visit_rules.py, quality/rejects.py and contracts/checks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from ruter_dagster.config.operator import RejectLimits
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS, Table
from ruter_dagster.contracts.validation import empty_frame
from ruter_dagster.quality.measures import failing_dates
from ruter_dagster.quality.rejects import blocked_dates
from ruter_dagster.sources.base import DateAbsent, Reading, Source, read_readable_dates

BATCH_DATES = 28
"""Number of dates that are read in one pass, as in the chain."""


@dataclass
class UsableDates:
    """Stop visits and planned departures (contracts) of usable dates. `left_out` has the reason of each other date."""

    visits: pl.DataFrame = field(default_factory=lambda: empty_frame(STOP_VISITS))
    plan: pl.DataFrame = field(default_factory=lambda: empty_frame(PLANNED_DEPARTURES))
    left_out: dict[date, str] = field(default_factory=dict)

    @property
    def dates(self) -> list[date]:
        return sorted(self.visits["service_date"].unique())


def read_usable_dates(
    source: Source,
    dates: Sequence[date],
    limits: RejectLimits,
    track: Callable[[Sequence[Sequence[date]]], Iterable[Sequence[date]]] = iter,
) -> UsableDates:
    """Reads both tables on `dates` in batches. `track` shows the progress.

    A date is left out if one of its files is unreadable, or too many rows are rejected. It is also left out if a blocking check
    of a table fails, or one of the tables has no rows.
    """
    batches = [dates[start : start + BATCH_DATES] for start in range(0, len(dates), BATCH_DATES)]
    parts = [_read_batch(source, batch, limits) for batch in track(batches)]
    if not parts:
        return UsableDates()
    left_out = {day: reason for part in parts for day, reason in part.left_out.items()}
    return UsableDates(
        pl.concat(part.visits for part in parts),
        pl.concat(part.plan for part in parts),
        dict(sorted(left_out.items())),
    )


def _read_batch(source: Source, dates: Sequence[date], limits: RejectLimits) -> UsableDates:
    left_out: dict[date, str] = {}
    readings = _read(source, STOP_VISITS, dates, left_out)
    plans = _read(source, PLANNED_DEPARTURES, dates, left_out)
    for table, parts in ((STOP_VISITS, readings), (PLANNED_DEPARTURES, plans)):
        for reading in parts:
            blocked = blocked_dates(reading.rows, reading.rejected, limits, table)
            left_out |= {day: block.message for day, block in blocked.items() if day not in left_out}
    visits, plan = _without(readings, STOP_VISITS, left_out), _without(plans, PLANNED_DEPARTURES, left_out)
    left_out |= _failing(STOP_VISITS, visits, limits, plan) | _failing(PLANNED_DEPARTURES, plan, limits, None)
    for table, rows in ((STOP_VISITS, visits), (PLANNED_DEPARTURES, plan)):
        dates_with_rows = set(rows["service_date"].unique())
        left_out |= {
            day: f"{table.name}: the source has no rows of {day}"
            for day in dates
            if day not in dates_with_rows and day not in left_out
        }
    kept = ~pl.col("service_date").is_in(list(left_out))
    return UsableDates(visits.filter(kept), plan.filter(kept), left_out)


def _read(
    source: Source, table: Table, dates: Sequence[date], left_out: dict[date, str]
) -> Sequence[Reading]:
    try:
        readings, errors = read_readable_dates(source, table, dates)
    except DateAbsent as error:
        left_out |= {day: str(error) for day in dates if day not in left_out}
        return ()
    left_out |= {day: str(error) for day, error in errors.items()}
    return readings


def _without(readings: Iterable[Reading], table: Table, left_out: Mapping[date, str]) -> pl.DataFrame:
    rows = pl.concat([empty_frame(table), *(reading.rows for reading in readings)])
    return rows.filter(~pl.col("service_date").is_in(list(left_out)))


def _failing(
    table: Table, rows: pl.DataFrame, limits: RejectLimits, plan: pl.DataFrame | None
) -> dict[date, str]:
    dates = rows["service_date"].unique().to_list()
    failing = failing_dates(table, rows, dates, limits, plan) if dates else {}
    return {
        day: f"{table.name}: service_date {day} does not pass {', '.join(checks)}"
        for day, checks in failing.items()
    }
