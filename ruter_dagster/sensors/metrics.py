"""The sensor that sends metrics of ended runs to CloudWatch.

A run in ECS is a task that belongs to no service, so that metrics of services leave it out. Alarms and the dashboard of
terraform/modules/observability read these metrics.

This is a plain sensor, because Dagster's `run_status_sensor` advances its cursor when its function fails: the metrics of a
run would be lost. Here the cursor stays, and the next tick sends them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dagster import (
    AssetMaterialization,
    DagsterEventType,
    DagsterInstance,
    DefaultSensorStatus,
    EventLogRecord,
    RunRecord,
    RunStatusChangeRecordsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from ruter_dagster.aws.clients import client
from ruter_dagster.aws.metrics import MAX_AGE, Metric, send_metrics
from ruter_dagster.compat.clock import get_current_datetime
from ruter_dagster.compat.tags import AUTO_RETRY_RUN_ID_TAG
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.jobs import PUBLISHED_FORECASTS, asset_of
from ruter_dagster.contracts.tables import FORECAST_PERFORMANCE
from ruter_dagster.orchestration.event_log import failed_checks, materialisations
from ruter_dagster.orchestration.job_costs import costs_of_runs
from ruter_dagster.sensors.drift import DRIFT_ASSET, drift_rows
from ruter_dagster.sensors.retries import waits_for_retry

INTERVAL_SECONDS = 60
MAX_RUNS_PER_TICK = 50
"""Most runs of each result in one tick. Their metrics fit into one call."""
CALL_SECONDS = 10.0
"""The longest wait for CloudWatch's answer. Dagster ends a tick after 60 s."""
RESULTS = (DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED)
PERFORMANCE_ASSET = asset_of(FORECAST_PERFORMANCE.name)


def metric_sensors(settings: Settings) -> list[SensorDefinition]:
    """The sensor `run_metrics`, if the settings name the environment of metrics."""
    environment = settings.metrics_environment
    if environment is None:
        return []

    # The sensor is on in sandboxes too: it starts no run.
    @sensor(
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Sends metrics of each ended run to CloudWatch: result, duration, publications, drift, accuracy and cost.",
    )
    def run_metrics(context: SensorEvaluationContext) -> SkipReason:
        if context.cursor is None:
            context.update_cursor(json.dumps(_newest_ends(context.instance)))
            return SkipReason("Metrics start now: earlier runs are not sent")
        ends = _next_ends(context.instance, json.loads(context.cursor))
        metrics = [metric for end in ends.runs for metric in run_metrics_of(context.instance, end)]
        try:
            _send(metrics, environment, settings)
        except Exception as error:
            context.log.warning("Metrics were not sent, the next tick sends them: %s", error)
            return SkipReason(f"CloudWatch did not accept the metrics of {len(ends.runs)} runs")
        context.update_cursor(json.dumps(ends.cursor))
        return SkipReason(f"Metrics of {len(ends.runs)} runs sent")

    return [run_metrics]


@dataclass(frozen=True)
class RunEnd:
    """A run that ended, its result, and whether it is the last run of its retries."""

    record: RunRecord
    result: DagsterEventType
    is_final: bool


@dataclass
class Ends:
    """The ends of runs after a cursor, and the next cursor: the newest record id of each result."""

    cursor: dict[str, int]
    runs: list[RunEnd] = field(default_factory=list)


def _send(metrics: Sequence[Metric], environment: str, settings: Settings) -> None:
    oldest = get_current_datetime("UTC") - MAX_AGE
    if accepted := [metric for metric in metrics if metric.time > oldest and math.isfinite(metric.value)]:
        cloudwatch = client("cloudwatch", settings.aws_region, max_attempts=2, timeout=CALL_SECONDS)
        send_metrics(accepted, environment, cloudwatch)


def _newest_ends(instance: DagsterInstance) -> dict[str, int]:
    newest = {result.value: instance.fetch_run_status_changes(result, limit=1).records for result in RESULTS}
    return {result: records[0].storage_id if records else 0 for result, records in newest.items()}


def _next_ends(instance: DagsterInstance, cursor: dict[str, int]) -> Ends:
    """The ends of runs after the cursor. Failures after one that waits for its retry are left to a later tick."""
    ends = Ends(dict(cursor))
    for result in RESULTS:
        records_filter = RunStatusChangeRecordsFilter(result, after_storage_id=cursor.get(result.value, 0))
        records = instance.fetch_run_status_changes(
            records_filter, limit=MAX_RUNS_PER_TICK, ascending=True
        ).records
        for record in records:
            run = instance.get_run_record_by_id(record.run_id)
            if run and result is DagsterEventType.RUN_FAILURE and _waits(instance, run, record):
                break
            ends.cursor[result.value] = record.storage_id
            if run and _is_first(instance, record, result):
                is_final = AUTO_RETRY_RUN_ID_TAG not in run.dagster_run.tags
                ends.runs.append(RunEnd(run, result, is_final))
    return ends


def _waits(instance: DagsterInstance, run: RunRecord, record: EventLogRecord) -> bool:
    """Whether a failed run waits for its retry. Until then it is unknown whether the failure is final."""
    return waits_for_retry(instance, run.dagster_run, record.timestamp)


def _is_first(instance: DagsterInstance, record: EventLogRecord, result: DagsterEventType) -> bool:
    """Whether this is the first event of the run's end. The sensor `overdue_retries` reports a failure again."""
    events = instance.get_records_for_run(record.run_id, of_type=result, limit=1).records
    return not events or events[0].event_log_entry.timestamp == record.event_log_entry.timestamp


def run_metrics_of(instance: DagsterInstance, end: RunEnd) -> Iterator[Metric]:
    """The metrics of one run, at the time of its end."""
    record, now = end.record, get_current_datetime("UTC")
    time = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else now
    if end.result is DagsterEventType.RUN_SUCCESS:
        yield Metric("RunSuccesses", 1, time)
    elif end.result is DagsterEventType.RUN_FAILURE and end.is_final:
        yield Metric("RunFailures", 1, time)
    if record.start_time and record.end_time:
        yield Metric("RunSeconds", record.end_time - record.start_time, time, "Seconds")
    run_id = record.dagster_run.run_id
    events = materialisations(instance, run_id)
    yield from _cost(instance, run_id, time)
    yield from _publications(events, time)
    yield from _accuracy(events, time)
    if _of(events, DRIFT_ASSET):
        yield Metric("DriftAlarms", _required_actions(instance, run_id), time)


def _cost(instance: DagsterInstance, run_id: str, time: datetime) -> Iterator[Metric]:
    """The estimated cost of the run's jobs in US dollars. Jobs on this machine have none."""
    if costs := costs_of_runs(instance.event_log_storage, [run_id]):
        yield Metric("JobCost", sum(cost.cost for cost in costs), time, "None")


def _publications(events: Sequence[AssetMaterialization], time: datetime) -> Iterator[Metric]:
    """The number of issue dates that the run published. A publication that was repeated sent nothing, and is not counted."""
    published = _of(events, PUBLISHED_FORECASTS)
    if not published:
        return
    repeated = {day for event in published for day in _json(event, "already_published")}
    dates = {event.partition for event in published if "content_hash" in event.metadata}
    yield Metric("Publications", len(dates - repeated), time)


def _accuracy(events: Sequence[AssetMaterialization], time: datetime) -> Iterator[Metric]:
    """The mean WAPE of the operating dates that the run measured."""
    entries = (event.metadata.get("wape") for event in _of(events, PERFORMANCE_ASSET))
    values = [float(entry.value) for entry in entries if entry and isinstance(entry.value, int | float)]
    if values:
        yield Metric("Wape", sum(values) / len(values), time, "None")


def _required_actions(instance: DagsterInstance, run_id: str) -> int:
    """The number of drift metrics of the run that require action."""
    checks = (check for check in failed_checks(instance, run_id) if _is_of(check.asset_key, DRIFT_ASSET))
    return sum(row["verdict"] == "act" for check in checks for row in drift_rows(check))


def _of(events: Sequence[AssetMaterialization], asset: str) -> list[AssetMaterialization]:
    return [event for event in events if _is_of(event.asset_key, asset)]


def _is_of(key: Any, asset: str) -> bool:
    return key.to_user_string() == asset


def _json(event: AssetMaterialization, name: str) -> Any:
    return getattr(event.metadata.get(name), "data", None) or ()
