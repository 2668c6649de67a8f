"""Departure features of operating dates, from the plan and the loads one to eight weeks before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

import polars as pl

from ruter_dagster.contracts.features import DEPARTURE_FEATURES
from ruter_dagster.contracts.jobs import Features
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_LOADS
from ruter_dagster.forecasting.features import LOAD_COLUMNS, departure_features, lag_dates
from ruter_dagster.jobs.context import JobContext

MOST_ROWS = 12_000_000
"""Loads held at once, 0.1 GB a million: a small network's dates share one reading, a large one's are made one by one."""


def run(parameters: Features, context: JobContext) -> None:
    plan, dates = context.read_asked(PLANNED_DEPARTURES, parameters)
    frames = []
    for block in context.track(list(_blocks(dates, context)), "Departure features"):
        loads = context.read_history(STOP_LOADS, _lags(block, context), LOAD_COLUMNS, ordered=False)
        planned = plan.filter(pl.col("service_date").is_in(block))
        frames.append(departure_features(planned, loads, context.calendar))
    features = pl.concat(frames)
    without_history = (features["history_count"] == 0).mean()
    context.write(DEPARTURE_FEATURES, features, dates, share_without_history=without_history)


def _blocks(dates: Sequence[date], context: JobContext) -> Iterator[list[date]]:
    """The dates, as many together as their lag dates have room for, at least one."""
    rows = context.snapshot(STOP_LOADS).rows_by_date()
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
