"""Copies dates of a raw table from the source, checked against the table's contract.

Rejected stop visits are written to `raw.rejected_visits` in the same step. They have no asset of their own, which would have
to read the source a second time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from ruter_dagster.contracts.checks import NO_DATE_BLOCKED
from ruter_dagster.contracts.dates import date_spans
from ruter_dagster.contracts.errors import BadInput, NoDataForDates
from ruter_dagster.contracts.file_versions import UNREAD
from ruter_dagster.contracts.jobs import Snapshot, asset_of
from ruter_dagster.contracts.tables import (
    PLANNED_DEPARTURES,
    REJECTED_VISITS,
    STOP_VISITS,
    WEATHER_FORECASTS,
    Table,
)
from ruter_dagster.contracts.validation import empty_frame
from ruter_dagster.jobs.context import JobContext, log
from ruter_dagster.jobs.pipes import days_value, json_value, link, markdown
from ruter_dagster.jobs.pipes import table as as_table
from ruter_dagster.quality.rejects import BlockedDate, RejectSummary, blocked_dates
from ruter_dagster.sources.base import (
    DateAbsent,
    FeedUse,
    PlanUnreadable,
    Reading,
    SourceQuery,
    date_batches,
    read_dates,
    read_readable_dates,
)
from ruter_dagster.sources.file_versions import file_versions
from ruter_dagster.sources.matching import BY_ID, BY_PATTERN, UNMATCHED

TABLES = {table.name: table for table in (STOP_VISITS, PLANNED_DEPARTURES, WEATHER_FORECASTS)}
BATCH_DATES = 28
"""Maximum number of dates in one pass, which opens the source's files once and limits memory."""
BATCH_BYTES = 64 * 2**20
"""Maximum size of a pass in CSV, about 400,000 stop visits."""
MAX_ROWS = 300_000
"""Rows in memory, rejected ones included, beyond which they are written before the next pass."""


class DatesBlocked(NoDataForDates):
    """All dates were blocked: too many of their rows were rejected, or they cannot be read."""


@dataclass
class _Copy:
    """The dates of a table that were read so far. `blocked`: too many rows were rejected; `unreadable`: cannot be read.

    `frames` and `rejected` are the rows that are not written yet.
    """

    table: Table
    frames: list[pl.DataFrame] = field(default_factory=list)
    rejected: list[pl.DataFrame] = field(default_factory=list)
    reject_summary: RejectSummary = field(default_factory=RejectSummary)
    absent: list[date] = field(default_factory=list)
    blocked: dict[date, BlockedDate] = field(default_factory=dict)
    unreadable: dict[date, BadInput] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    matched: dict[date, Mapping[str, int]] = field(default_factory=dict)
    queries: list[SourceQuery] = field(default_factory=list)
    feeds: list[FeedUse] = field(default_factory=list)
    written: dict[date, str] = field(default_factory=dict)
    """Content versions of the dates that were written before the last pass."""
    with_written_rejects: set[date] = field(default_factory=set)
    """Dates whose rejected rows were written before the last pass: those of `written`, and blocked dates."""

    def add(self, reading: Reading, blocked: Mapping[date, BlockedDate]) -> None:
        is_blocked = pl.lit(reading.rejected["service_date"].is_in(list(blocked)))
        self.frames.append(_without(reading.rows, blocked) if blocked else reading.rows)
        self.reject_summary.add(reading.rejected)
        if self.table is STOP_VISITS:
            self.rejected.append(reading.rejected.with_columns(is_blocked.alias("date_blocked")))
        self.absent += reading.absent
        self.blocked.update(blocked)
        self.counts.update(reading.counts)
        self.matched.update(reading.matched)
        self.queries += reading.queries
        self.feeds += reading.feeds

    @property
    def rows_in_memory(self) -> int:
        return sum(frame.height for frame in (*self.frames, *self.rejected))

    @property
    def blocked_dates(self) -> list[date]:
        """Dates that are blocked or unreadable."""
        return sorted({*self.blocked, *self.unreadable})

    @property
    def reasons(self) -> list[str]:
        """A paragraph for each blocked date. Dates that cannot be read for the same reason share one."""
        dates: dict[str, list[date]] = {}
        for day, error in self.unreadable.items():
            dates.setdefault(str(error), []).append(day)
        unreadable = [
            f"{self.table.name}: {self.table.partition} {date_spans(days)} cannot be read: {reason}"
            for reason, days in dates.items()
        ]
        return [*(blocked.message for blocked in self.blocked.values()), *unreadable]


def run(parameters: Snapshot, context: JobContext) -> None:
    table = TABLES[parameters.table]
    # Recorded before the rows are read, so that a file that changes meanwhile counts as changed.
    versions = _source_versions(table, parameters, context)
    copied = _read(table, parameters, context)
    versions |= {day: UNREAD for day, error in copied.unreadable.items() if isinstance(error, PlanUnreadable)}
    read = [day for day in parameters.dates if day not in copied.absent and day not in copied.unreadable]
    # Rejected rows are written first: they are needed for blocked dates, and a failure in between repeats the step.
    _write_rejected(copied, read, context)
    for reason in copied.reasons:
        log.error("%s", reason)
    kept = [day for day in read if day not in copied.blocked]
    if not kept and not (parameters.part_of_range and context.store.dates(table)):
        raise _no_data(copied, parameters)
    context.write(
        table,
        pl.concat([empty_frame(table), *copied.frames]),
        [day for day in kept if day not in copied.written],
        stored=copied.written,
        numbers={day: {"matched_share": _matched_share(trips)} for day, trips in copied.matched.items()},
        **_metadata(copied, versions),
    )
    if table is STOP_VISITS:
        _report_check(copied, context)


def _metadata(copied: _Copy, source_versions: Mapping[date, str]) -> dict[str, Any]:
    """Metadata of the materialisation: dates left out, counts of source rows, rejected rows, feeds and costs."""
    rejects, versions = copied.reject_summary, {str(day): one for day, one in source_versions.items()}
    return {
        "dates_absent": days_value(copied.absent),
        "dates_blocked": days_value(copied.blocked_dates),
        "blocked": markdown("\n\n".join(copied.reasons)) if copied.blocked_dates else None,
        "rows_of_source": json_value(dict(copied.counts)) if copied.counts else None,
        "rejected_by_reason": json_value(rejects.by_reason()) if rejects.rows else None,
        "rejected_examples": _examples(rejects) if copied.table is PLANNED_DEPARTURES else None,
        "source_versions": json_value(versions) if versions else None,
        "matched_share": _matched_share(copied.counts),
        **_feeds(copied.feeds),
        **_cost(copied.queries),
    }


def _no_data(copied: _Copy, parameters: Snapshot) -> NoDataForDates:
    if copied.blocked_dates:
        return DatesBlocked("\n".join(copied.reasons))
    first, last = parameters.dates[0], parameters.dates[-1]
    return NoDataForDates(
        f"{copied.table.name}: the source has no data from {first} to {last}; nothing was written"
    )


def _source_versions(table: Table, parameters: Snapshot, context: JobContext) -> dict[date, str]:
    """The versions of the source files by date. Dates that are left out have them too, because a correction may add data."""
    versions = file_versions(context.settings, table.name, parameters.dates)
    return {day: files.recorded() for day, files in versions.items()}


def _read(table: Table, parameters: Snapshot, context: JobContext) -> _Copy:
    """Reads all dates, in batches if it is a range. Raises `BadInput` if a single date is missing or cannot be read."""
    copied = _Copy(table)
    if not parameters.of_range:
        reading = read_dates(context.source, table, parameters.dates)
        copied.add(reading, blocked_dates(reading.rows, reading.rejected, context.operator.rejects, table))
        return copied
    batches = date_batches(context.source, parameters.dates, BATCH_DATES, BATCH_BYTES)
    for days in context.track(batches, f"Reading {table.name}, at most {BATCH_DATES} dates at a time"):
        if copied.rows_in_memory > MAX_ROWS:
            _write_so_far(copied, parameters.dates[: parameters.dates.index(days[0])], context)
        try:
            readings, unreadable = read_readable_dates(context.source, table, days)
        except DateAbsent:
            copied.absent += days
            continue
        copied.unreadable |= unreadable
        for reading in readings:
            copied.add(
                reading, blocked_dates(reading.rows, reading.rejected, context.operator.rejects, table)
            )
    return copied


def _write_so_far(copied: _Copy, dates: Sequence[date], context: JobContext) -> None:
    """Writes the rows of `dates`, so that memory does not grow with the length of a range. Rejected rows first, as in `run`."""
    done = {*copied.absent, *copied.unreadable, *copied.with_written_rejects}
    read = [day for day in dates if day not in done]
    _write_rejected(copied, read, context)
    kept = [day for day in read if day not in copied.blocked]
    rows = pl.concat(copied.frames)
    copied.frames.clear()
    if not kept:
        return
    copied.written |= context.write_part(copied.table, rows, kept)


def _write_rejected(copied: _Copy, dates: Sequence[date], context: JobContext) -> None:
    """Replaces the rejected rows of `dates`, except those written before. Writes nothing if there are and were none."""
    if copied.table is not STOP_VISITS:
        return
    rejected = pl.concat([empty_frame(REJECTED_VISITS), *copied.rejected])
    copied.rejected.clear()
    remaining = [day for day in dates if day not in copied.with_written_rejects]
    stored = context.store.snapshot(REJECTED_VISITS).versions(remaining)
    changed = sorted({*stored, *rejected["service_date"].unique()})
    if changed:
        context.store.write(REJECTED_VISITS, rejected, changed, code_version=context.parameters.code_version)
    copied.with_written_rejects.update(dates)


def _report_check(copied: _Copy, context: JobContext) -> None:
    context.report.checked(
        asset_of(STOP_VISITS.name),
        NO_DATE_BLOCKED.name,
        not copied.blocked_dates,
        NO_DATE_BLOCKED.severity,
        dates_blocked=days_value(copied.blocked_dates),
        observed="\n".join(copied.reasons) or "no date blocked",
        expected=NO_DATE_BLOCKED.expected,
        measured=len(copied.blocked_dates),
        maximum=NO_DATE_BLOCKED.maximum,
    )


def _without(rows: pl.DataFrame, blocked: Mapping[date, BlockedDate]) -> pl.DataFrame:
    return rows.filter(~pl.col("service_date").is_in(list(blocked)))


def _examples(rejects: RejectSummary) -> dict[str, Any] | None:
    """A table with one rejected row of each reason."""
    return as_table(rejects.examples()) if rejects.rows else None


def _matched_share(counts: Mapping[str, int]) -> float | None:
    """Share of performed trips whose planned journey is known; None without a timetable."""
    trips = sum(counts.get(name, 0) for name in (BY_ID, BY_PATTERN, UNMATCHED))
    return round(1 - counts.get(UNMATCHED, 0) / trips, 4) if trips else None


def _feeds(feeds: Sequence[FeedUse]) -> dict[str, Any]:
    """Metadata of the GTFS feeds by name: version, validity, number of planned dates, and the newest remarks."""
    if not feeds:
        return {}
    planned: Counter[str] = Counter()
    for feed in feeds:
        planned[feed.name] += len(feed.dates)
    described = {
        feed.name: {
            "version": feed.version,
            "valid_from": feed.first.isoformat() if feed.first else None,
            "valid_to": feed.last.isoformat() if feed.last else None,
            "dates_planned": planned[feed.name],
            "remarks": list(feed.remarks),
        }
        for feed in feeds
    }
    warnings = [f"{name}: {remark}" for name, feed in described.items() for remark in feed["remarks"]]
    for warning in warnings:
        log.warning("GTFS feed %s", warning)
    return {"feeds": json_value(described)}


def _cost(queries: Sequence[SourceQuery]) -> dict[str, Any]:
    """Metadata of a warehouse's queries: links, scanned bytes and cost."""
    if not queries:
        return {}
    return {
        "query": link(queries[-1].link),
        "queries": json_value(
            {
                query.date.isoformat(): {"id": query.query_id, "link": query.link, "seconds": query.seconds}
                for query in queries
            }
        ),
        "scanned_bytes": sum(query.scanned_bytes for query in queries),
        "query_cost_usd": round(sum(query.cost for query in queries), 6),
    }
