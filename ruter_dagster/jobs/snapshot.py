"""Copies a raw table of the source: whole dates, checked against the contract before anything is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl

from ruter_dagster.contracts.errors import NoDateThere
from ruter_dagster.contracts.jobs import Snapshot
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS, WEATHER_FORECASTS
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import json_value, link
from ruter_dagster.sources.base import DateAbsent, SourceQuery, read_dates

TABLES = {table.name: table for table in (STOP_VISITS, PLANNED_DEPARTURES, WEATHER_FORECASTS)}
BATCH_DATES = 28
"""Dates read in one pass: a source's files are opened once for them, and no more than four weeks are joined at a time."""


def run(parameters: Snapshot, context: JobContext) -> None:
    table = TABLES[parameters.table]
    frames: list[pl.DataFrame] = []
    absent: list[date] = []
    counts: Counter[str] = Counter()
    queries: list[SourceQuery] = []
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
        **_cost(queries),
    )


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
