"""Computes the levels of issue dates: recent loads over the loads that were expected a week ahead."""

from __future__ import annotations

from datetime import timedelta

from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import Levels
from ruter_dagster.contracts.tables import STOP_LOADS
from ruter_dagster.forecasting.levels import (
    EXPECTED_COLUMNS,
    LOAD_COLUMNS,
    level_dates,
    levels_with_renamed_ids,
)
from ruter_dagster.jobs.context import JobContext


def run(parameters: Levels, context: JobContext) -> None:
    day = timedelta(1)
    days_before = [issue_date - day for issue_date in parameters.dates]
    counted = context.tables.versions(STOP_LOADS, days_before, missing=parameters.missing)
    issue_dates = [date + day for date in counted]
    dates = sorted({date for issue_date in issue_dates for date in level_dates(issue_date)})
    loads, features = (
        context.tables.read(table, dates, columns, missing="skip", verdict="skip", ordered=False)
        for table, columns in ((STOP_LOADS, LOAD_COLUMNS), (DEPARTURE_FEATURES, EXPECTED_COLUMNS))
    )
    levels = levels_with_renamed_ids(loads, features, issue_dates, context.calendar)
    context.write(LEVELS, levels, issue_dates)
