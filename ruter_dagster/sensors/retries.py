"""Reminds Dagster's daemon of retries that are due and that it passed over.

The daemon looks at each failure once. It passes over one for good where it looks between the failure's entry in the event log and
the run's new status (all of its threads start at once, so a restart with lost runs brings that about), and where the code location
does not answer at that moment. Both are found here, and the failure is reported once more: of that run alone it takes note again.
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
"""The daemon looks every 5 s, and takes seconds for a retry."""
LOOK_BACK_SECONDS = 3600.0
"""How old a failure may be."""
BATCH = 500
REMINDED_TAG = "ruter/retry_reminded"
"""Tag of a run: its id, and how often the daemon was reminded of its retry. Runs hand their tags on to those that retry them."""
REMINDERS = 10
"""As many are given before a retry that the daemon does not bring about is given up."""


def retry_sensors() -> list[SensorDefinition]:
    """The sensor `overdue_retries`, which is on everywhere: it starts nothing that Dagster would not have started."""

    @sensor(
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Reminds Dagster of lost runs that it has not launched again though run_retries says so.",
    )
    def overdue_retries(context: SensorEvaluationContext) -> SkipReason:
        overdue = _overdue(context.instance)
        for run in overdue:
            _remind(context.instance, run)
        if not overdue:
            return SkipReason("No retry is overdue")
        said = f"Reminded Dagster of the retry of {', '.join(run.run_id for run in overdue)}"
        context.log.warning(said)
        return SkipReason(said)

    return [overdue_retries]


def _overdue(instance: DagsterInstance) -> list[DagsterRun]:
    """Failed runs whose retry should be there by now."""
    now = time.time()
    wanted = RunStatusChangeRecordsFilter(
        DagsterEventType.RUN_FAILURE,
        after_timestamp=now - LOOK_BACK_SECONDS,
        before_timestamp=now - OVERDUE_SECONDS,
    )
    records = instance.fetch_run_status_changes(wanted, limit=BATCH).records
    ids = sorted({record.run_id for record in records})
    runs = instance.get_runs(RunsFilter(run_ids=ids)) if ids else []
    return [run for run in runs if is_due(instance, run)]


def is_due(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether Dagster's daemon would launch a retry of a failed run if it looked at it now, and was not reminded of it in vain."""
    # The command line's runs have no origin, and are never retried.
    if AUTO_RETRY_RUN_ID_TAG in run.tags or run.remote_job_origin is None or not instance.run_retries_enabled:
        return False
    if _reminders(run) >= REMINDERS:
        return False
    reason = run.tags.get(RUN_FAILURE_REASON_TAG)
    return (
        auto_reexecution_should_retry_run(instance, run, RunFailureReason(reason) if reason else None)
        and _backfill_goes_on(instance, run)
        and not instance.get_runs_count(RunsFilter(tags={PARENT_RUN_ID_TAG: run.run_id}))
    )


def _backfill_goes_on(instance: DagsterInstance, run: DagsterRun) -> bool:
    if (backfill_id := run.tags.get(BACKFILL_ID_TAG)) is None:
        return True
    backfill = instance.get_backfill(backfill_id)
    return backfill is not None and backfill.status not in BULK_ACTION_TERMINAL_STATUSES


def _reminders(run: DagsterRun) -> int:
    run_id, _, count = run.tags.get(REMINDED_TAG, "").partition(" ")
    return int(count) if run_id == run.run_id else 0


def _remind(instance: DagsterInstance, run: DagsterRun) -> None:
    # Dagster takes its promise back where it could not launch the retry; it must stand when the daemon looks.
    instance.add_run_tags(
        run.run_id, {WILL_RETRY_TAG: "true", REMINDED_TAG: f"{run.run_id} {_reminders(run) + 1}"}
    )
    instance.report_run_failed(
        run, "Dagster has not launched the retry of this run: its failure is reported once more"
    )
