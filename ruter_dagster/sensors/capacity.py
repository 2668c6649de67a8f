"""The sensor that applies changed capacities to today's published forecasts, if the plan of the dates ahead is copied again.

A plan that the daily chain repeats leads to new features and forecasts (`chain.py`). This sensor is for a plan that someone, or
another scheduler, copies on the day itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dagster import DagsterInstance, RunRequest, SensorDefinition, SensorEvaluationContext, SkipReason, sensor
from pydantic import BaseModel

from ruter_dagster.compat.clock import get_current_datetime
from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.jobs import asset_of, quality_asset_of
from ruter_dagster.contracts.tables import LOAD_FORECASTS, PLANNED_DEPARTURES
from ruter_dagster.orchestration.capacity import JOB
from ruter_dagster.orchestration.event_log import content_hashes
from ruter_dagster.sensors.chain import newest_runs, sensor_status

INTERVAL_SECONDS = 60


class Cursor(BaseModel, frozen=True):
    """What the sensor saw: the plan's versions by date after the forecasts of `issue_date`, and the chain's newest plan run."""

    issue_date: date | None = None
    plan: dict[str, str] = {}
    plan_run: str | None = None


def capacity_sensors(
    settings: Settings, operator: Operator, jobs: Mapping[str, Any]
) -> list[SensorDefinition]:
    """The sensor `changed_capacities`."""

    @sensor(
        job=jobs[JOB],
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=sensor_status(settings),
        description="Applies the seats and places of the plan to today's published forecasts, and publishes the journeys that change: "
        "if raw/planned_departures and quality/planned_departures of the dates ahead were materialised again outside the daily chain.",
    )
    def changed_capacities(context: SensorEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        issue_date = get_current_datetime("UTC").astimezone(ZoneInfo(operator.time_zone)).date()
        if issue_date.isoformat() not in content_hashes(context.instance, asset_of(LOAD_FORECASTS.name)):
            yield SkipReason(f"Issue date {issue_date} has no forecasts yet")
            return
        former = Cursor.model_validate_json(context.cursor or "{}")
        current = _current(context.instance, issue_date)
        context.update_cursor(current.model_dump_json())
        if not _is_changed(former, current):
            yield SkipReason(f"The plan has not changed since the forecasts of {issue_date}")
            return
        yield RunRequest(run_key=_run_key(current), partition_key=issue_date.isoformat())

    return [changed_capacities]


def _current(instance: DagsterInstance, issue_date: date) -> Cursor:
    """The passed versions of the plan now."""
    versions = content_hashes(instance, quality_asset_of(PLANNED_DEPARTURES.name))
    ahead = [(issue_date + timedelta(days)).isoformat() for days in range(HORIZON_DAYS + 1)]
    record = newest_runs(instance, "plan").get(issue_date.isoformat())
    return Cursor(
        issue_date=issue_date,
        plan={day: versions[day] for day in ahead if day in versions},
        plan_run=record.dagster_run.run_id if record else None,
    )


def _is_changed(former: Cursor, current: Cursor) -> bool:
    """Whether the plan changed after the forecasts of the same issue date, and not by a run of the chain."""
    same_chain = (former.issue_date, former.plan_run) == (current.issue_date, current.plan_run)
    return same_chain and former.plan != current.plan


def _run_key(cursor: Cursor) -> str:
    content = json.dumps(cursor.plan, sort_keys=True)
    return f"{JOB} {cursor.issue_date} {hashlib.sha256(content.encode()).hexdigest()[:16]}"
