"""The sensor that applies changed capacities to today's published forecasts, if the plan of the dates ahead is copied again.

A plan that the daily chain repeats leads to new features and forecasts (`chain.py`). This sensor is for a plan that someone, or
another scheduler, copies on the day itself. Forecasts record the versions of the plan that they used, so that no change is missed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dagster import (
    AssetMaterialization,
    DagsterInstance,
    RunRecord,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from ruter_dagster.compat.clock import get_current_datetime
from ruter_dagster.compat.tags import PARTITION_NAME_TAG
from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.jobs import asset_of, quality_asset_of
from ruter_dagster.contracts.tables import LOAD_FORECASTS, PLANNED_DEPARTURES
from ruter_dagster.orchestration.capacity import JOB
from ruter_dagster.orchestration.event_log import (
    content_hashes,
    newest_materialisation,
    newest_runs_of_partitions,
    used_versions,
)
from ruter_dagster.sensors.chain import has_failed, newest_runs, run_suffix, sensor_status

INTERVAL_SECONDS = 60
RETRY_PAUSE = timedelta(minutes=15)
"""Time from the end of a failed run to the next one."""
PLAN_TAG = "ruter/plan"
"""Tag of a run: a hash of the versions of the plan that it was requested for."""
_PASSED = "-passed"
"""The end of the content hash of a quality report that passed; before it is the version of the checked rows."""


def capacity_sensors(
    settings: Settings, operator: Operator, jobs: Mapping[str, Any]
) -> list[SensorDefinition]:
    """The sensor `changed_capacities`."""

    @sensor(
        job=jobs[JOB],
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=sensor_status(settings),
        description="Applies the seats and places of the plan to today's published forecasts, and publishes the journeys that change: "
        "if the passed plan of the dates ahead is not the one that the forecasts used. A failed run is requested again after "
        f"{RETRY_PAUSE.total_seconds() / 60:.0f} minutes.",
    )
    def changed_capacities(context: SensorEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        now = get_current_datetime("UTC")
        issue_date = now.astimezone(ZoneInfo(operator.time_zone)).date()
        yield _request(context.instance, issue_date, now)

    return [changed_capacities]


def _request(instance: DagsterInstance, issue_date: date, now: datetime) -> RunRequest | SkipReason:
    """The run that is due for an issue date, or the reason why none is."""
    partition, asset = issue_date.isoformat(), asset_of(LOAD_FORECASTS.name)
    forecasts = newest_materialisation(instance, asset, partition)
    if forecasts is None or "content_hash" not in forecasts.metadata:
        return SkipReason(f"Issue date {partition} has no forecasts yet")
    plan, former = _passed_plan(instance, issue_date), _newest_run(instance, partition)
    digest = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:12]
    changed, is_unpublished = _changed_dates(plan, forecasts), False
    if former:
        made_forecasts = newest_runs_of_partitions(instance, asset, [partition]) == {
            partition: former.dagster_run.run_id
        }
        is_unpublished = made_forecasts and has_failed(former)
        if reason := _reason_to_wait(former, made_forecasts, digest, now):
            return SkipReason(reason)
    if not changed and not is_unpublished:
        return SkipReason(f"The forecasts of {partition} used the present plan")
    if _is_pending_in_chain(instance, partition, changed):
        return SkipReason(f"The daily chain forecasts {partition} again, with the new plan")
    run_key = f"{JOB} {partition} {digest}{run_suffix(former)}"
    return RunRequest(run_key=run_key, partition_key=partition, tags={PLAN_TAG: digest})


def _newest_run(instance: DagsterInstance, partition: str) -> RunRecord | None:
    """The newest run of the job for an issue date."""
    runs = RunsFilter(job_name=JOB, tags={PARTITION_NAME_TAG: partition})
    return next(iter(instance.get_run_records(runs, limit=1)), None)


def _passed_plan(instance: DagsterInstance, issue_date: date) -> dict[str, str]:
    """The version of the plan of each forecast date whose newest quality report passed."""
    hashes = content_hashes(instance, quality_asset_of(PLANNED_DEPARTURES.name))
    ahead = [(issue_date + timedelta(days)).isoformat() for days in range(HORIZON_DAYS + 1)]
    return {day: hashes[day].removesuffix(_PASSED) for day in ahead if hashes.get(day, "").endswith(_PASSED)}


def _changed_dates(plan: Mapping[str, str], forecasts: AssetMaterialization) -> list[str]:
    """The dates whose plan is not the one that the forecasts used."""
    used = used_versions(forecasts, PLANNED_DEPARTURES.name)
    return [day for day, version in plan.items() if used.get(day) != version]


def _reason_to_wait(former: RunRecord, made_forecasts: bool, digest: str, now: datetime) -> str | None:
    """Why the newest run of the issue date is not followed by another one now; None if it may be.

    `made_forecasts`: whether that run wrote the stored forecasts. `digest`: the hash of the present plan.
    """
    run, pause = former.dagster_run, RETRY_PAUSE.total_seconds()
    if not run.is_finished:
        return f"Run {run.run_id} is not finished"
    if run.is_success and made_forecasts and run.tags.get(PLAN_TAG) == digest:
        return f"Run {run.run_id} applied the present plan"
    if has_failed(former) and former.end_time and now.timestamp() - former.end_time < pause:
        return f"Run {run.run_id} failed less than {pause / 60:.0f} minutes ago"
    return None


def _is_pending_in_chain(instance: DagsterInstance, partition: str, changed: Collection[str]) -> bool:
    """Whether the daily chain is forecasting the issue date, or will do so because its own plan run changed the dates."""
    plan, forecasting = (newest_runs(instance, job).get(partition) for job in ("plan", "forecasting"))
    if forecasting and not forecasting.dagster_run.is_finished:
        return True
    if plan is None or has_failed(plan) or (forecasting and forecasting.storage_id > plan.storage_id):
        return False
    runs = newest_runs_of_partitions(instance, quality_asset_of(PLANNED_DEPARTURES.name), changed)
    return bool(changed) and set(runs.values()) == {plan.dagster_run.run_id}
