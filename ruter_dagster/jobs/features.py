"""Computes departure features of operating dates, from the plan and the loads one to eight weeks before."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from datetime import date

import polars as pl

from ruter_dagster.contracts.features import DEPARTURE_FEATURES
from ruter_dagster.contracts.jobs import Features
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_LOADS
from ruter_dagster.contracts.validation import empty_frame
from ruter_dagster.forecasting.features import LOAD_COLUMNS, calendar_facts, departure_features, lag_dates
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.provenance import code_hash

log = logging.getLogger("ruter_dagster.jobs")

_PLAN_COLUMNS = tuple(
    name for name in PLANNED_DEPARTURES.column_names if name in DEPARTURE_FEATURES.column_names
)
"""Without the names and coordinates of stops and lines, which only displays use."""
MAX_LOADS = 12_000_000
"""Maximum loads in memory, 0.1 GB a million. Dates of a small network are computed together, those of a large one singly."""
MAX_FEATURES = 1_000_000
"""Features in memory after which they are written, 0.7 GB a million while writing: two dates of a large network."""


def run(parameters: Features, context: JobContext) -> None:
    dates = list(context.tables.versions(PLANNED_DEPARTURES, parameters.dates, missing=parameters.missing))
    hashes = {day: _input_hash(day, context) for day in dates}
    features = context.store.snapshot(DEPARTURE_FEATURES)
    unchanged = {} if parameters.force else features.unchanged_dates(hashes)
    log.info("%d of %d dates have unchanged inputs and are not computed again", len(unchanged), len(dates))
    changed = [day for day in dates if day not in unchanged]
    stored, frames, without_history = dict(unchanged), [], []
    for block in context.track(list(_blocks(changed, context)), "Departure features"):
        if sum(frame.height for frame in frames) > MAX_FEATURES:
            part = {day: hashes[day] for day in changed if day < block[0] and day not in stored}
            stored |= context.write_part(DEPARTURE_FEATURES, pl.concat(frames), list(part), part)
            frames.clear()
        frames.append(_features(block, context))
        without_history.append(frames[-1]["history_count"] == 0)
    remaining = [day for day in changed if day not in stored]
    context.write(
        DEPARTURE_FEATURES,
        pl.concat([empty_frame(DEPARTURE_FEATURES), *frames]),
        remaining,
        input_hashes={day: hashes[day] for day in remaining},
        stored=stored,
        share_without_history=pl.concat(without_history).mean() if without_history else None,
    )


def _features(dates: list[date], context: JobContext) -> pl.DataFrame:
    plan = context.tables.read(PLANNED_DEPARTURES, dates, _PLAN_COLUMNS)
    loads = context.tables.read(
        STOP_LOADS, _lags(dates, context), LOAD_COLUMNS, missing="skip", verdict="skip", ordered=False
    )
    return departure_features(plan, loads, context.calendar)


def _input_hash(day: date, context: JobContext) -> str:
    """Hash of everything that a date's features depend on: plan, loads, calendar and code. Records plan and loads as used."""
    plan = context.tables.versions(PLANNED_DEPARTURES, [day], verdict="ignore")
    loads = context.tables.versions(STOP_LOADS, _lags([day], context), missing="skip", verdict="skip")
    context.tables.record(PLANNED_DEPARTURES, plan)
    context.tables.record(STOP_LOADS, loads)
    versions = [{f"{lag}": version for lag, version in used.items()} for used in (plan, loads)]
    inputs = [code_hash(__file__), calendar_facts(day, context.calendar), *versions]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _blocks(dates: Sequence[date], context: JobContext) -> Iterator[list[date]]:
    """The dates in blocks, each as large as `MAX_LOADS` allows and at least one date."""
    rows = context.tables.snapshot(STOP_LOADS).rows_by_date(_lags(dates, context))
    block: list[date] = []
    for day in dates:
        if block and sum(rows.get(lag, 0) for lag in _lags([*block, day], context)) > MAX_LOADS:
            yield block
            block = []
        block.append(day)
    if block:
        yield block


def _lags(dates: Sequence[date], context: JobContext) -> list[date]:
    return sorted({lag for day in dates for lag in lag_dates(day, context.calendar)})
