"""The sensor that sends metrics of ended runs, and the age of each asset's newest partition.

A run in ECS is a task that belongs to no service, so that metrics of services leave it out. Alarms and the dashboard of
terraform/modules/observability read these metrics. What is measured is in `measurements.py`.

This is a plain sensor, because Dagster's `run_status_sensor` advances its cursor when its function fails: the metrics of a
run would be lost. Here the cursor stays before the first run that was not sent, and the next tick sends it. A run that
cannot be measured is logged and left out.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dagster import (
    AssetsDefinition,
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

from ruter_dagster.compat.clock import get_current_datetime
from ruter_dagster.compat.tags import AUTO_RETRY_RUN_ID_TAG
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.metrics import Measurement
from ruter_dagster.metrics.targets import MetricTargets
from ruter_dagster.sensors.measurements import DailyAssets, daily_assets, freshness, measurements_of
from ruter_dagster.sensors.retries import waits_for_retry

INTERVAL_SECONDS = 60
FRESHNESS_SECONDS = 900.0
MAX_RUNS_PER_TICK = 50
"""Most runs of each result in one tick."""
MAX_SENDING_SECONDS = 30.0
"""No run is sent later in a tick. Dagster ends a tick after 60 s, and with it loses the cursor."""
RESULTS = (DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED)
FRESHNESS_SENT = "freshness_sent"
"""Key of the cursor: when the ages were sent, seconds since 1970."""


def metric_sensors(settings: Settings, assets: Sequence[AssetsDefinition]) -> list[SensorDefinition]:
    """The sensor `run_metrics`, if the settings name where metrics are sent."""
    targets = settings.metric_targets
    if targets is None:
        return []
    partitioned = daily_assets(assets)

    # The sensor is on in sandboxes too: it starts no run.
    @sensor(
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Sends metrics of each ended run and its assets (docs/metrics.md), and the age of each asset's newest partition.",
    )
    def run_metrics(context: SensorEvaluationContext) -> SkipReason:
        first = json.loads(context.cursor) if context.cursor else _newest_ends(context.instance)
        try:
            for cursor in _send_new(context, first, partitioned, targets):
                context.update_cursor(json.dumps(cursor))
        except OSError as error:
            context.log.warning("Metrics were not sent, the next tick sends them: %s", error)
            return SkipReason(f"The agent at {settings.emf_endpoint} did not take the metrics: {error}")
        return SkipReason("The metrics are sent")

    return [run_metrics]


@dataclass(frozen=True)
class RunEnd:
    """A run that ended, its result, and whether it is the last run of its retries."""

    record: RunRecord
    result: DagsterEventType
    is_final: bool
    storage_id: int


@dataclass
class Ends:
    """The ends of runs after a cursor, and the next cursor: the newest record id of each result."""

    cursor: dict[str, float]
    runs: list[RunEnd] = field(default_factory=list)


def _send_new(
    context: SensorEvaluationContext, cursor: dict[str, float], assets: DailyAssets, targets: MetricTargets
) -> Iterator[dict[str, float]]:
    """Sends the metrics of each run that ended after the cursor, then the ages if they are due, as long as there is time.

    Yields the cursor after each group that was sent. Raises OSError if an agent does not take the metrics.
    """
    yield cursor
    instance, now, started = context.instance, get_current_datetime("UTC"), time.monotonic()
    ends = _next_ends(instance, cursor)
    for end in ends.runs:
        measurements = measurements_of(instance, end.record, end.result, end.is_final, assets)
        _send(targets, measurements, f"of run {end.record.dagster_run.run_id}", now, context.log)
        cursor = cursor | {end.result.value: end.storage_id}
        yield cursor
        if time.monotonic() - started >= MAX_SENDING_SECONDS:
            return
    cursor = cursor | ends.cursor
    if now.timestamp() - cursor.get(FRESHNESS_SENT, 0.0) >= FRESHNESS_SECONDS:
        _send(targets, freshness(instance, assets, now), "of newest partitions", now, context.log)
        cursor = cursor | {FRESHNESS_SENT: now.timestamp()}
    yield cursor


def _send(
    targets: MetricTargets,
    measurements: Iterable[Measurement],
    subject: str,
    now: datetime,
    log: logging.Logger,
) -> None:
    """Sends measurements. If they cannot be computed, logs why and sends none. Raises OSError as `_send_new` does."""
    try:
        values = list(measurements)
    except Exception as error:
        log.error("Metrics %s are left out: %s: %s", subject, type(error).__name__, error)
        return
    targets.send(values, now)


def _newest_ends(instance: DagsterInstance) -> dict[str, float]:
    newest = {result.value: instance.fetch_run_status_changes(result, limit=1).records for result in RESULTS}
    return {result: records[0].storage_id if records else 0 for result, records in newest.items()}


def _next_ends(instance: DagsterInstance, cursor: dict[str, float]) -> Ends:
    """The ends of runs after the cursor. Failures after one that waits for its retry are left to a later tick."""
    ends = Ends(dict(cursor))
    for result in RESULTS:
        records_filter = RunStatusChangeRecordsFilter(
            result, after_storage_id=int(cursor.get(result.value, 0))
        )
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
                ends.runs.append(RunEnd(run, result, is_final, record.storage_id))
    return ends


def _waits(instance: DagsterInstance, run: RunRecord, record: EventLogRecord) -> bool:
    """Whether a failed run waits for its retry. Until then it is unknown whether the failure is final."""
    return waits_for_retry(instance, run.dagster_run, record.timestamp)


def _is_first(instance: DagsterInstance, record: EventLogRecord, result: DagsterEventType) -> bool:
    """Whether this is the first event of the run's end. The sensor `overdue_retries` reports a failure again."""
    events = instance.get_records_for_run(record.run_id, of_type=result, limit=1).records
    return not events or events[0].event_log_entry.timestamp == record.event_log_entry.timestamp
