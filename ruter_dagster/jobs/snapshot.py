"""Copies a raw table of the source: whole dates, checked against the contract before anything is kept.

Rows of stop visits that were set aside go to `raw.rejected_visits` in the same step, as a second output of the asset
`raw/stop_visits`: an asset of their own would read the source twice, or show a partition that nothing can make again alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from ruter_dagster.contracts.checks import NO_DATE_BLOCKED
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
from ruter_dagster.quality.rejects import Blocked, RejectSummary, blocked_dates
from ruter_dagster.sources.base import (
    DateAbsent,
    FeedUse,
    PlanUnreadable,
    Reading,
    SourceQuery,
    batches_of,
    read_apart,
    read_dates,
)
from ruter_dagster.sources.file_versions import file_versions
from ruter_dagster.sources.matching import BY_ID, BY_PATTERN, UNMATCHED

TABLES = {table.name: table for table in (STOP_VISITS, PLANNED_DEPARTURES, WEATHER_FORECASTS)}
BATCH_DATES = 28
"""Dates read in one pass at most: a source's files are opened once for them, and no more than four weeks are joined at a time."""
BATCH_BYTES = 64 * 2**20
"""Stop visits read in one pass at most, in CSV: some 400,000."""
ROWS_HELD = 300_000
"""Rows of former passes, rejects among them, that are kept for one commit; beyond it they are written before the next pass."""


class DatesBlocked(NoDataForDates):
    """Every date that the source has was blocked: too many of its rows were set aside, or it cannot be read."""


@dataclass
class _Snapshot:
    """What was read of a table on all dates. `blocked`: too much was set aside; `refused`: nothing could be read.

    `frames` and `rejected` are the rows that are not written yet.
    """

    table: Table
    frames: list[pl.DataFrame] = field(default_factory=list)
    rejected: list[pl.DataFrame] = field(default_factory=list)
    rejects: RejectSummary = field(default_factory=RejectSummary)
    absent: list[date] = field(default_factory=list)
    blocked: dict[date, Blocked] = field(default_factory=dict)
    refused: dict[date, BadInput] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    matched: dict[date, Mapping[str, int]] = field(default_factory=dict)
    queries: list[SourceQuery] = field(default_factory=list)
    feeds: list[FeedUse] = field(default_factory=list)
    written: dict[date, str] = field(default_factory=dict)
    """Content hashes of the dates that were written before the last pass."""
    settled: set[date] = field(default_factory=set)
    """Dates whose rejects were written before the last pass: those of `written`, and blocked ones."""

    def add(self, reading: Reading, blocked: Mapping[date, Blocked]) -> None:
        refused = pl.lit(reading.rejected["service_date"].is_in(list(blocked)))
        self.frames.append(_without(reading.rows, blocked) if blocked else reading.rows)
        self.rejects.add(reading.rejected)
        if self.table is STOP_VISITS:
            self.rejected.append(reading.rejected.with_columns(refused.alias("date_blocked")))
        self.absent += reading.absent
        self.blocked.update(blocked)
        self.counts.update(reading.counts)
        self.matched.update(reading.matched)
        self.queries += reading.queries
        self.feeds += reading.feeds

    @property
    def rows_held(self) -> int:
        return sum(frame.height for frame in (*self.frames, *self.rejected))

    @property
    def left_out(self) -> list[date]:
        """Dates of which nothing is kept, whatever the reason."""
        return sorted({*self.blocked, *self.refused})

    @property
    def reasons(self) -> list[str]:
        """A paragraph for each date that is blocked; dates that cannot be read for the same reason share one."""
        dates: dict[str, list[str]] = {}
        for day, fault in self.refused.items():
            dates.setdefault(str(fault), []).append(str(day))
        refused = [
            f"{self.table.name}: {self.table.partition} {', '.join(days)} blocked, cannot be read: {reason}"
            for reason, days in dates.items()
        ]
        return [*(one.message for one in self.blocked.values()), *refused]


def run(parameters: Snapshot, context: JobContext) -> None:
    table = TABLES[parameters.table]
    # Before the rows are read: a file that changes meanwhile is another one afterwards.
    versions = _source_versions(table, parameters, context)
    found = _read(table, parameters, context)
    versions |= {day: UNREAD for day, fault in found.refused.items() if isinstance(fault, PlanUnreadable)}
    read = [day for day in parameters.dates if day not in found.absent and day not in found.refused]
    # First, so that a blocked date's can be listed, and a failure between the two leaves a step that runs again.
    _write_rejected(found, read, context)
    for reason in found.reasons:
        log.error("%s", reason)
    kept = [day for day in read if day not in found.blocked]
    if not kept and not (parameters.part_of_range and context.store.dates(table)):
        raise _nothing_kept(found, parameters)
    context.write(
        table,
        pl.concat([empty_frame(table), *found.frames]),
        [day for day in kept if day not in found.written],
        stored=found.written,
        numbers={day: {"matched_share": _matched_share(trips)} for day, trips in found.matched.items()},
        dates_absent=days_value(found.absent),
        dates_blocked=days_value(found.left_out),
        blocked=markdown("\n\n".join(found.reasons)) if found.left_out else None,
        rows_of_source=json_value(dict(found.counts)) if found.counts else None,
        rows_set_aside=json_value(found.rejects.by_reason()) if found.rejects.rows else None,
        set_aside_examples=_examples(found.rejects) if table is PLANNED_DEPARTURES else None,
        source_versions=json_value({str(day): version for day, version in versions.items()})
        if versions
        else None,
        matched_share=_matched_share(found.counts),
        **_feeds(found.feeds),
        **_cost(found.queries),
    )
    if table is STOP_VISITS:
        _report_check(found, context)


def _nothing_kept(found: _Snapshot, parameters: Snapshot) -> NoDataForDates:
    if found.left_out:
        return DatesBlocked("\n".join(found.reasons))
    first, last = parameters.dates[0], parameters.dates[-1]
    return NoDataForDates(
        f"{found.table.name}: the source has none of {first} to {last}; nothing was written"
    )


def _source_versions(table: Table, parameters: Snapshot, context: JobContext) -> dict[date, str]:
    """By date the files that it is read from: of dates that will be left out too, which a correction may bring."""
    versions = file_versions(context.settings, table.name, parameters.dates)
    return {day: files.recorded() for day, files in versions.items()}


def _read(table: Table, parameters: Snapshot, context: JobContext) -> _Snapshot:
    """All dates, a batch at a time. Raises `BadInput` where a date asked for by itself is not there or cannot be read."""
    found = _Snapshot(table)
    if not parameters.of_range:
        reading = read_dates(context.source, table, parameters.dates)
        found.add(reading, blocked_dates(reading.rows, reading.rejected, context.operator.rejects, table))
        return found
    batches = batches_of(context.source, parameters.dates, BATCH_DATES, BATCH_BYTES)
    for days in context.track(batches, f"Reading {table.name}, at most {BATCH_DATES} dates at a time"):
        if found.rows_held > ROWS_HELD:
            _write_so_far(found, parameters.dates[: parameters.dates.index(days[0])], context)
        try:
            readings, refused = read_apart(context.source, table, days)
        except DateAbsent:
            found.absent += days
            continue
        found.refused |= refused
        for reading in readings:
            found.add(reading, blocked_dates(reading.rows, reading.rejected, context.operator.rejects, table))
    return found


def _write_so_far(found: _Snapshot, dates: Sequence[date], context: JobContext) -> None:
    """Writes what was read of `dates`, so that memory does not grow with the length of a range. Rejects first, as in `run`."""
    left = {*found.absent, *found.refused, *found.settled}
    read = [day for day in dates if day not in left]
    _write_rejected(found, read, context)
    kept = [day for day in read if day not in found.blocked]
    rows = pl.concat(found.frames)
    found.frames.clear()
    if not kept:
        return
    found.written |= context.write_part(found.table, rows, kept)


def _write_rejected(found: _Snapshot, dates: Sequence[date], context: JobContext) -> None:
    """Replaces the rejects of those `dates` that are not settled; where there are none and were none, nothing is to be done."""
    if found.table is not STOP_VISITS:
        return
    rejected = pl.concat([empty_frame(REJECTED_VISITS), *found.rejected])
    found.rejected.clear()
    open_dates = [day for day in dates if day not in found.settled]
    former = context.store.snapshot(REJECTED_VISITS).versions(open_dates)
    concerned = sorted({*former, *rejected["service_date"].unique()})
    if concerned:
        context.store.write(
            REJECTED_VISITS, rejected, concerned, code_version=context.parameters.code_version
        )
    found.settled.update(dates)


def _report_check(found: _Snapshot, context: JobContext) -> None:
    context.report.checked(
        asset_of(STOP_VISITS.name),
        NO_DATE_BLOCKED.name,
        not found.left_out,
        NO_DATE_BLOCKED.severity,
        dates_blocked=days_value(found.left_out),
        observed="\n".join(found.reasons) or "no date blocked",
        expected=NO_DATE_BLOCKED.expected,
        measured=len(found.left_out),
        maximum=NO_DATE_BLOCKED.maximum,
    )


def _without(rows: pl.DataFrame, blocked: Mapping[date, Blocked]) -> pl.DataFrame:
    return rows.filter(~pl.col("service_date").is_in(list(blocked)))


def _examples(rejects: RejectSummary) -> dict[str, Any] | None:
    """One row of each reason; rows of visits have a table of their own."""
    return as_table(rejects.examples()) if rejects.rows else None


def _matched_share(counts: Mapping[str, int]) -> float | None:
    """Share of performed trips whose planned journey is known; None without a timetable."""
    trips = sum(counts.get(name, 0) for name in (BY_ID, BY_PATTERN, UNMATCHED))
    return round(1 - counts.get(UNMATCHED, 0) / trips, 4) if trips else None


def _feeds(feeds: Sequence[FeedUse]) -> dict[str, Any]:
    """The GTFS feeds by name: version, validity, how many of the dates each plans, and remarks; the last of which are newest."""
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
    """What a warehouse's queries scanned and cost, and where people see them."""
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
