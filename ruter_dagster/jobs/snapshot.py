"""Copies a raw table of the source: whole dates, checked against the contract before anything is kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import polars as pl

from ruter_dagster.contracts.jobs import Snapshot
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS, WEATHER_FORECASTS
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import json_value
from ruter_dagster.sources.base import DateAbsent, Source

TABLES = {table.name: table for table in (STOP_VISITS, PLANNED_DEPARTURES, WEATHER_FORECASTS)}


def run(parameters: Snapshot, context: JobContext) -> None:
    table = TABLES[parameters.table]
    read = _reader(context.source, table.name)
    frames, absent = [], []
    for day in context.track(parameters.dates, f"Reading {table.name}"):
        try:
            frames.append(read(day))
        except DateAbsent:
            if not parameters.of_range:
                raise
            absent.append(day)
    kept = [day for day in parameters.dates if day not in absent]
    if not kept:
        raise DateAbsent(
            f"{table.name}: the source has none of {parameters.dates[0]} to {parameters.dates[-1]}; nothing was written"
        )
    frame = pl.concat(frames)
    context.write(
        table, frame, kept, dates_absent=json_value([day.isoformat() for day in absent]) if absent else None
    )


def _reader(source: Source, name: str) -> Callable[[date], pl.DataFrame]:
    return {
        STOP_VISITS.name: source.stop_visits,
        PLANNED_DEPARTURES.name: source.planned_departures,
        WEATHER_FORECASTS.name: source.weather_forecasts,
    }[name]
