"""The sensor that reminds Dagster's daemon of retries that the daemon missed.

The daemon examines each failure once. It misses a failure in two cases:

- It reads the event log before the run has its new status. All threads of the daemon start at the same time, so this
  happens after a restart with lost runs.
- The code location does not answer at that moment.

The sensor finds these runs and reports their failure again, so that the daemon examines it again.
"""

from __future__ import annotations

import time

from dagster import (
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DefaultSensorStatus,
    RunsFilter,
    RunStatusChangeRecordsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from ruter_dagster.compat.retries import (
    BULK_ACTION_TERMINAL_STATUSES,
    RunFailureReason,
    auto_reexecution_should_retry_run,
)
from ruter_dagster.compat.tags import (
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    PARENT_RUN_ID_TAG,
    RUN_FAILURE_REASON_TAG,
    WILL_RETRY_TAG,
)

INTERVAL_SECONDS = 30
OVERDUE_SECONDS = 30.0
"""A retry is overdue after this time. The daemon examines failures every 5 s and needs seconds to launch a retry."""
LOOK_BACK_SECONDS = 3600.0
"""Older failures are ignored."""
MAX_WAIT_FOR_RETRY_SECONDS = 600.0
"""A failed run that waits longer than this for its retry is reported and counted as a failure."""
MAX_FAILURES_PER_TICK = 500
REMINDED_TAG = "ruter/retry_reminded"
"""Tag of a run: its id and the number of reminders. The id is needed because a retry inherits the tags of its run."""
MAX_REMINDERS = 10
"""After so many reminders the sensor gives up."""


def retry_sensors() -> list[SensorDefinition]:
    """The sensor `overdue_retries`. It is always on, because it starts only runs that Dagster should have started."""

    @sensor(
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Reminds Dagster of lost runs that it should have retried, by run_retries, and did not.",
    )
    def overdue_retries(context: SensorEvaluationContext) -> SkipReason:
        runs = _runs_with_overdue_retry(context.instance)
        for run in runs:
            _remind(context.instance, run)
        if not runs:
            return SkipReason("No retry is overdue")
        message = f"Reminded Dagster of the retry of {', '.join(run.run_id for run in runs)}"
        context.log.warning(message)
        return SkipReason(message)

    return [overdue_retries]


def _runs_with_overdue_retry(instance: DagsterInstance) -> list[DagsterRun]:
    """Failed runs whose retry should have started by now."""
    now = time.time()
    records_filter = RunStatusChangeRecordsFilter(
        DagsterEventType.RUN_FAILURE,
        after_timestamp=now - LOOK_BACK_SECONDS,
        before_timestamp=now - OVERDUE_SECONDS,
    )
    records = instance.fetch_run_status_changes(records_filter, limit=MAX_FAILURES_PER_TICK).records
    ids = sorted({record.run_id for record in records})
    runs = instance.get_runs(RunsFilter(run_ids=ids)) if ids else []
    return [run for run in runs if is_due(instance, run)]


def is_due(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether Dagster's daemon would retry this failed run if it examined the run now, and reminders are left."""
    # Runs without an origin are never retried.
    if AUTO_RETRY_RUN_ID_TAG in run.tags or run.remote_job_origin is None or not instance.run_retries_enabled:
        return False
    if _reminder_count(run) >= MAX_REMINDERS:
        return False
    reason = run.tags.get(RUN_FAILURE_REASON_TAG)
    return (
        auto_reexecution_should_retry_run(instance, run, RunFailureReason(reason) if reason else None)
        and not _is_of_ended_backfill(instance, run)
        and not instance.get_runs_count(RunsFilter(tags={PARENT_RUN_ID_TAG: run.run_id}))
    )


def waits_for_retry(instance: DagsterInstance, run: DagsterRun, failed_at: float) -> bool:
    """Whether Dagster plans a retry of a run that failed recently, or `overdue_retries` will remind Dagster of one."""
    is_recent = time.time() - failed_at < MAX_WAIT_FOR_RETRY_SECONDS
    return is_recent and (run.is_complete_and_waiting_to_retry or is_due(instance, run))


def _is_of_ended_backfill(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether the run belongs to a backfill that has ended, was cancelled or was deleted."""
    if (backfill_id := run.tags.get(BACKFILL_ID_TAG)) is None:
        return False
    backfill = instance.get_backfill(backfill_id)
    return backfill is None or backfill.status in BULK_ACTION_TERMINAL_STATUSES


def _reminder_count(run: DagsterRun) -> int:
    run_id, _, count = run.tags.get(REMINDED_TAG, "").partition(" ")
    return int(count) if run_id == run.run_id else 0


def _remind(instance: DagsterInstance, run: DagsterRun) -> None:
    """Reports the failure of the run again, so that Dagster's daemon examines it again."""
    # Dagster removes WILL_RETRY_TAG when it cannot launch a retry, and retries only runs with the tag.
    tags = {WILL_RETRY_TAG: "true", REMINDED_TAG: f"{run.run_id} {_reminder_count(run) + 1}"}
    instance.add_run_tags(run.run_id, tags)
    instance.report_run_failed(
        run, "Dagster has not launched the retry of this run: its failure is reported again"
    )
