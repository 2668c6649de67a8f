"""The sensor that stops SageMaker jobs of cancelled runs that have no process. `dagster_sagemaker.cancelled` finds and stops them.

It is a plain sensor, because Dagster's `run_status_sensor` advances its cursor when its function fails: the job would
continue to run.
"""

from __future__ import annotations

import time
from typing import Any

from dagster import (
    DagsterEventType,
    DefaultSensorStatus,
    RunRecord,
    RunStatusChangeRecordsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)
from pydantic import BaseModel

from ruter_dagster.config.settings import Settings

INTERVAL_SECONDS = 30
MAX_AGE_SECONDS = 24 * 3600
"""Cancellations that are older are ignored, and jobs that could not be stopped in this time are given up."""
MAX_RUNS_PER_TICK = 50
MAX_TICK_SECONDS = 30.0
"""A tick that takes longer leaves the remaining runs to the next one. Dagster ends a tick after 60 s."""
MAX_CALL_SECONDS = 5.0
"""The longest wait for the answer of one AWS call."""
CREATION_SECONDS = 300.0
"""A job that SageMaker does not know may still be created for this long after the cancellation."""


class Cursor(BaseModel):
    """The state of the sensor between two ticks.

    `newest`: the record id of the newest cancellation that was read. `jobs`: for each cancelled run, the jobs that still
    have to be stopped; None if the records of the run could not be read.
    """

    newest: int | None = None
    jobs: dict[str, list[str] | None] = {}


def cancelled_run_sensors(settings: Settings) -> list[SensorDefinition]:
    """The sensor `cancelled_sagemaker_jobs`, if jobs run in SageMaker."""
    if not settings.runs_in_sagemaker:
        return []

    # The sensor is on in sandboxes too: it starts no run, and jobs that are not stopped cost money there as well.
    @sensor(
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Stops SageMaker jobs of runs that were cancelled while they had no process: in the queue as a retry, by "
        "force, or between two attempts of a step. Jobs that another run continues are left to that run.",
    )
    def cancelled_sagemaker_jobs(context: SensorEvaluationContext) -> SkipReason:
        cursor = Cursor.model_validate_json(context.cursor or "{}")
        _add_new_cancellations(context, cursor)
        messages = _JobStopper(context, settings).stop_jobs(cursor) if cursor.jobs else []
        context.update_cursor(cursor.model_dump_json())
        return SkipReason("; ".join(messages) or "No job of a cancelled run is left")

    return [cancelled_sagemaker_jobs]


def _add_new_cancellations(context: SensorEvaluationContext, cursor: Cursor) -> None:
    """Adds the runs that were cancelled since the last tick. The first tick reads the last 24 hours."""
    records_filter = RunStatusChangeRecordsFilter(
        DagsterEventType.RUN_CANCELED,
        after_storage_id=cursor.newest,
        after_timestamp=time.time() - MAX_AGE_SECONDS if cursor.newest is None else None,
    )
    records = context.instance.fetch_run_status_changes(
        records_filter, limit=MAX_RUNS_PER_TICK, ascending=True
    ).records
    for record in records:
        cursor.newest = record.storage_id
        cursor.jobs[record.run_id] = None


class _JobStopper:
    """Stops the jobs of cancelled runs in one tick, and collects a message about each."""

    def __init__(self, context: SensorEvaluationContext, settings: Settings) -> None:
        from ruter_dagster.aws.clients import client

        options: dict[str, Any] = {"max_attempts": 1, "timeout": MAX_CALL_SECONDS}
        self.instance, self.log, self.artifacts = context.instance, context.log, settings.artifacts_location
        self.sagemaker, self.s3 = (
            client(service, settings.aws_region, **options) for service in ("sagemaker", "s3")
        )
        self.deadline = time.monotonic() + MAX_TICK_SECONDS
        self.messages: list[str] = []

    def stop_jobs(self, cursor: Cursor) -> list[str]:
        """Stops the jobs in the cursor, and keeps those that the next tick must check. Returns the messages."""
        for run_id in list(cursor.jobs):
            if time.monotonic() > self.deadline:
                break
            record = self.instance.get_run_record_by_id(run_id)
            jobs = cursor.jobs.pop(run_id)
            remaining = self._stop_jobs_of_run(record, jobs) if record else []
            if record and remaining != []:
                self._keep_for_next_tick(record, remaining, cursor)
        return self.messages

    def _keep_for_next_tick(self, record: RunRecord, jobs: list[str] | None, cursor: Cursor) -> None:
        """Puts the run last, behind the runs that this tick has no time for. Gives up a run that is too old."""
        run_id = record.dagster_run.run_id
        if self._age(record) < MAX_AGE_SECONDS:
            cursor.jobs[run_id] = jobs
            return
        names = ", ".join(jobs) if jobs else "its jobs, whose records cannot be read,"
        message = f"Run {run_id} was cancelled long ago and {names} may still run: given up. Stop them in the console"
        self._warn(message)
        self._add_to_log(record, message)

    def _stop_jobs_of_run(self, record: RunRecord, jobs: list[str] | None) -> list[str] | None:
        """Stops the jobs of a run. Returns the jobs that the next tick must check; None if its records cannot be read."""
        from dagster_sagemaker.calls import CallError
        from dagster_sagemaker.cancelled import is_continued, remaining_jobs

        run, is_first_attempt = record.dagster_run, jobs is None
        if is_continued(self.instance, run):
            return []
        try:
            jobs = remaining_jobs(self.instance, run, self.s3, self.artifacts) if jobs is None else jobs
        except CallError as error:
            self._warn(f"The jobs of cancelled run {run.run_id} are not known: {error}")
            return None
        return [name for name in jobs if not self._stop(record, name, is_first_attempt)]

    def _stop(self, record: RunRecord, name: str, is_first_attempt: bool) -> bool:
        """Stops a job. Returns False if the next tick must check it again."""
        from dagster_sagemaker.calls import CallError
        from dagster_sagemaker.cancelled import StopResult, is_continued, stop_job

        if time.monotonic() > self.deadline:
            return False
        if is_continued(self.instance, record.dagster_run):
            return True
        try:
            result = stop_job(self.sagemaker, name)
        except CallError as error:
            message = (
                f"{name} may still run, at a cost: {error}. The next attempt follows in {INTERVAL_SECONDS} s"
            )
            self._warn(message)
            if is_first_attempt:
                self._add_to_log(record, message)
            return False
        if result is StopResult.STOPPED:
            self.messages.append(f"{name} stopped: its run was cancelled and has no process")
            self._add_to_log(record, self.messages[-1])
        return result is not StopResult.UNKNOWN or self._age(record) > CREATION_SECONDS

    def _age(self, record: RunRecord) -> float:
        """Seconds since the run was cancelled."""
        return time.time() - (record.end_time or 0)

    def _warn(self, message: str) -> None:
        self.messages.append(message)
        self.log.warning(message)

    def _add_to_log(self, record: RunRecord, message: str) -> None:
        """Adds a message to the log of the cancelled run, where the person who cancelled it sees the message."""
        self.instance.report_engine_event(f"[sagemaker] {message}", dagster_run=record.dagster_run)
