"""Copies a raw table of the source: whole dates, checked against the contract before anything is kept."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from ruter_dagster.contracts.errors import NoDateThere
from ruter_dagster.contracts.jobs import Snapshot
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS, WEATHER_FORECASTS
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import json_value, link
from ruter_dagster.sources.base import DateAbsent, FeedUse, SourceQuery, read_dates
from ruter_dagster.sources.matching import BY_ID, BY_PATTERN, UNMATCHED

log = logging.getLogger("ruter_dagster.jobs")
TABLES = {table.name: table for table in (STOP_VISITS, PLANNED_DEPARTURES, WEATHER_FORECASTS)}
BATCH_DATES = 28
"""Dates read in one pass: a source's files are opened once for them, and no more than four weeks are joined at a time."""


def run(parameters: Snapshot, context: JobContext) -> None:
    table = TABLES[parameters.table]
    frames: list[pl.DataFrame] = []
    absent: list[date] = []
    counts: Counter[str] = Counter()
    queries: list[SourceQuery] = []
    feeds: list[FeedUse] = []
    batches = [
        parameters.dates[start : start + BATCH_DATES]
        for start in range(0, len(parameters.dates), BATCH_DATES)
    ]
    for days in context.track(batches, f"Reading {table.name}, {BATCH_DATES} dates at a time"):
        try:
            reading = read_dates(context.source, table, days)
        except DateAbsent:
            if not parameters.of_range:
                raise
            absent += days
            continue
        frames.append(reading.rows)
        absent += reading.absent
        counts.update(reading.counts)
        queries += reading.queries
        feeds += reading.feeds
    kept = [day for day in parameters.dates if day not in absent]
    if not kept:
        raise NoDateThere(
            f"{table.name}: the source has none of {parameters.dates[0]} to {parameters.dates[-1]}; nothing was written"
        )
    context.write(
        table,
        pl.concat(frames),
        kept,
        dates_absent=json_value([day.isoformat() for day in absent]) if absent else None,
        rows_of_source=json_value(dict(counts)) if counts else None,
        matched_share=_matched_share(counts),
        **_feeds(feeds),
        **_cost(queries),
    )


def _matched_share(counts: Mapping[str, int]) -> float | None:
    """Share of performed trips whose planned journey is known; None where no date has a timetable."""
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
            "valid_from": feed.first.isoformat(),
            "valid_to": feed.last.isoformat(),
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
