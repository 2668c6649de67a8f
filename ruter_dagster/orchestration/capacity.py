"""The runs that apply changed capacities of the plan to published forecasts. `orchestration/runs.py` executes them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.jobs import asset_of
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.orchestration.chain import FORECASTS, TIMETABLE
from ruter_dagster.orchestration.runs import RunRequest

JOB = "capacities"
"""Name of the job that applies the stored plan to the forecasts of an issue date, and publishes the correction."""
CONFIG: dict[str, Any] = {
    "ops": {asset_of(LOAD_FORECASTS.name).replace("/", "__"): {"config": {"capacities_only": True}}}
}
"""Run config of the job."""


def capacity_runs(issue_date: date, today: date) -> list[RunRequest]:
    """Reads the plan of the dates ahead again, applies it to the forecasts of `issue_date`, and publishes the changed journeys.

    Only dates from `today` on are read again: past journeys have run.
    """
    service_dates = [issue_date + timedelta(days) for days in range(HORIZON_DAYS + 1)]
    ahead = tuple(day for day in service_dates if day >= today)
    plan = [RunRequest("plan", TIMETABLE, ahead)] if ahead else []
    return [*plan, RunRequest(JOB, FORECASTS, (issue_date,), CONFIG)]
