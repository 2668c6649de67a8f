"""Levels of issue dates: how full recent departures were against what was expected of them a week ahead."""

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
    newest = [issue_date - day for issue_date in parameters.dates]
    newest = context.dates_passed(STOP_LOADS, newest, parameters.of_range)
    issue_dates = [date + day for date in newest]
    dates = sorted({date for issue_date in issue_dates for date in level_dates(issue_date)})
    loads = context.read_history(STOP_LOADS, dates, LOAD_COLUMNS, ordered=False)
    features = context.read_history(DEPARTURE_FEATURES, dates, EXPECTED_COLUMNS, ordered=False)
    made = levels_with_renamed_ids(loads, features, issue_dates, context.calendar)
    context.write(LEVELS, made, issue_dates)
