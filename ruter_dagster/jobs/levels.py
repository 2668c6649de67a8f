"""Computes the levels of issue dates: recent loads over the loads that were expected a week ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import Levels
from ruter_dagster.contracts.tables import STOP_LOADS
from ruter_dagster.forecasting.levels import (
    EXPECTED_COLUMNS,
    LOAD_COLUMNS,
    level_dates,
    levels_of_parts,
)
from ruter_dagster.jobs.context import JobContext


def run(parameters: Levels, context: JobContext) -> None:
    day = timedelta(1)
    days_before = [issue_date - day for issue_date in parameters.dates]
    counted = context.tables.versions(STOP_LOADS, days_before, missing=parameters.missing)
    issue_dates = [counted_date + day for counted_date in counted]
    dates = sorted({used for issue_date in issue_dates for used in level_dates(issue_date)})
    context.write(LEVELS, levels_of_parts(_parts(dates, context), issue_dates, context.calendar), issue_dates)


def _parts(dates: Sequence[date], context: JobContext) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """The loads and departure features of each date, one date at a time to limit memory."""
    for day in dates:
        loads, features = (
            context.tables.read(table, [day], columns, missing="skip", verdict="skip", ordered=False)
            for table, columns in ((STOP_LOADS, LOAD_COLUMNS), (DEPARTURE_FEATURES, EXPECTED_COLUMNS))
        )
        yield loads, features
