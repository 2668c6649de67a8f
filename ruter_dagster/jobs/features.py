"""Departure features of operating dates, from the plan and the loads one to eight weeks before."""

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
"""Names and places of stops and lines are for those who show them."""
MOST_ROWS = 12_000_000
"""Loads held at once, 0.1 GB a million: a small network's dates share one reading, a large one's are made one by one."""
MOST_WRITTEN = 1_000_000
"""Features held at once, 0.7 GB a million with what writing them takes: two of a large network's dates, written before the next."""


def run(parameters: Features, context: JobContext) -> None:
    dates = list(context.tables.versions(PLANNED_DEPARTURES, parameters.dates, missing=parameters.missing))
    made_from = {day: _made_from(day, context) for day in dates}
    standing = {} if parameters.make_again else context.store.snapshot(DEPARTURE_FEATURES).standing(made_from)
    log.info(
        "%d of %d dates follow from the same plan and loads as before, and stand", len(standing), len(dates)
    )
    changed = [day for day in dates if day not in standing]
    written, frames, without_history = dict(standing), [], []
    for block in context.track(list(_blocks(changed, context)), "Departure features"):
        if sum(frame.height for frame in frames) > MOST_WRITTEN:
            made = {day: made_from[day] for day in changed if day < block[0] and day not in written}
            written |= context.write_part(DEPARTURE_FEATURES, pl.concat(frames), list(made), made)
            frames.clear()
        frames.append(_features(block, context))
        without_history.append(frames[-1]["history_count"] == 0)
    left = [day for day in changed if day not in written]
    context.write(
        DEPARTURE_FEATURES,
        pl.concat([empty_frame(DEPARTURE_FEATURES), *frames]),
        left,
        made_from={day: made_from[day] for day in left},
        standing=written,
        share_without_history=pl.concat(without_history).mean() if without_history else None,
    )


def _features(dates: list[date], context: JobContext) -> pl.DataFrame:
    plan = context.tables.read(PLANNED_DEPARTURES, dates, _PLAN_COLUMNS)
    loads = context.tables.read(
        STOP_LOADS, _lags(dates, context), LOAD_COLUMNS, missing="skip", verdict="skip", ordered=False
    )
    return departure_features(plan, loads, context.calendar)


def _made_from(day: date, context: JobContext) -> str:
    """Hash of all that the features of a date follow from; what they follow from is noted as used."""
    plan = context.tables.versions(PLANNED_DEPARTURES, [day], verdict="ignore")
    loads = context.tables.versions(STOP_LOADS, _lags([day], context), missing="skip", verdict="skip")
    context.tables.record(PLANNED_DEPARTURES, plan)
    context.tables.record(STOP_LOADS, loads)
    calendar = calendar_facts(day, context.calendar)
    facts = [
        code_hash(),
        calendar,
        *({f"{lag}": version for lag, version in used.items()} for used in (plan, loads)),
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _blocks(dates: Sequence[date], context: JobContext) -> Iterator[list[date]]:
    """The dates, as many together as their lag dates have room for, at least one."""
    rows = context.tables.snapshot(STOP_LOADS).rows_by_date(_lags(dates, context))
    block: list[date] = []
    for day in dates:
        if block and sum(rows.get(lag, 0) for lag in _lags([*block, day], context)) > MOST_ROWS:
            yield block
            block = []
        block.append(day)
    if block:
        yield block


def _lags(dates: Sequence[date], context: JobContext) -> list[date]:
    return sorted({lag for day in dates for lag in lag_dates(day, context.calendar)})
