"""The sensor that stops jobs which no run waits for. Runs with a live process stop their own jobs.

It is a plain sensor: Dagster's `run_status_sensor` advances its cursor even if its function fails, so the job would keep
running. It reads Dagster's runs and the records on S3, and makes no List calls to SageMaker.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from dagster import (
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    EventLogRecord,
    RunRecord,
    RunStatusChangeRecordsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)
from pydantic import BaseModel

from dagster_sagemaker.calls import CallError, Calls
from dagster_sagemaker.folder import Folder
from dagster_sagemaker.runs import is_live, origin_of, others_with_same_work
from dagster_sagemaker.settings import aws_client
from dagster_sagemaker.stopping import StopResult, stop_job

MAX_AGE_SECONDS = 24 * 3600.0
"""The first tick ignores runs that became due earlier. A job that cannot be stopped in this time is given up, with a
warning."""
MAX_RUNS_PER_TICK = 50
MAX_TICK_SECONDS = 30.0
"""After this time, a tick leaves the remaining runs to the next one. Dagster ends a tick after 60 s."""
MAX_CALL_SECONDS = 5.0
"""The longest wait for the answer of one AWS call."""
CREATION_SECONDS = 300.0
"""A job that SageMaker does not know may still be created for this long after the end of its run."""
NOTHING_TO_STOP = "No job is left of a cancelled run, or of a run that ended over {:,.0f} s ago"
_READERS = 8
"""Threads that read records. A run over a range may have hundreds."""
_ENDS = (DagsterEventType.RUN_CANCELED, DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_SUCCESS)


class _Cursor(BaseModel):
    """The state of the sensor between two ticks.

    `newest`: by event type, the storage id of the newest event that was read. `jobs`: by run id, the jobs that still have to
    be stopped; None if the records of the run were not read.
    """

    newest: dict[str, int] = {}
    jobs: dict[str, list[str] | None] = {}


def unawaited_jobs_sensor(
    artifacts: str,
    *,
    after_seconds: float = 3600.0,
    clients: Callable[[str], Any] = lambda service: aws_client(service, MAX_CALL_SECONDS),
    name: str = "unawaited_sagemaker_jobs",
    interval_seconds: int = 30,
    default_status: DefaultSensorStatus = DefaultSensorStatus.RUNNING,
) -> SensorDefinition:
    """A sensor that stops each job that no live or resumable run waits for, and reports it.

    Jobs of a cancelled run are stopped at once. Jobs of a failed or successful run are stopped `after_seconds` after its
    end, unless another run continues its work, or Dagster will retry it. The tick, the log of the run and the sensor's skip
    reason name each job. The sensor needs Dagster's daemon. A run that Dagster never ends keeps its jobs: turn on Dagster's
    run monitoring, which ends runs of lost workers.

    Args:
        artifacts: S3 address, the same as that of the clients.
        after_seconds: how long the job of a failed run keeps running, so that someone can resume the run.
        clients: returns the boto3 client of `sagemaker` or `s3`. Its calls should give up after some seconds.
        name: name of the sensor.
        interval_seconds: shortest time between two ticks.
        default_status: whether the sensor is on at first.
    """

    @sensor(
        name=name,
        minimum_interval_seconds=interval_seconds,
        default_status=default_status,
        description="Stops SageMaker jobs that no run waits for: at once if their run was cancelled while it had no process, "
        f"else {after_seconds:.0f} s after its end. Jobs that another run continues are left to that run.",
    )
    def unawaited_jobs(context: SensorEvaluationContext) -> SkipReason:
        sweep = Sweep(context.instance, context.log, artifacts, clients, after_seconds)
        context.update_cursor(sweep.run(context.cursor))
        return SkipReason("; ".join(sweep.messages) or NOTHING_TO_STOP.format(after_seconds))

    return unawaited_jobs


def _add_ended_runs(instance: DagsterInstance, cursor: _Cursor, after_seconds: float) -> None:
    for event_type in _ENDS:
        wait = 0.0 if event_type is DagsterEventType.RUN_CANCELED else after_seconds
        due = time.time() - wait
        newest = cursor.newest.get(event_type.value)
        records = instance.fetch_run_status_changes(
            RunStatusChangeRecordsFilter(
                event_type,
                after_storage_id=newest,
                after_timestamp=due - MAX_AGE_SECONDS if newest is None else None,
            ),
            limit=MAX_RUNS_PER_TICK,
            ascending=True,
        ).records
        for record in records:
            if wait and record.timestamp > due:
                break  # Times may be out of order: the cursor must not pass an event that is not due.
            cursor.newest[event_type.value] = record.storage_id
            cursor.jobs.setdefault(_run_id(record), None)


def _run_id(record: EventLogRecord) -> str:
    return record.event_log_entry.run_id


@dataclass
class Sweep:
    """One tick: stops the jobs of the runs in the cursor, and collects a message about each."""

    instance: DagsterInstance
    log: Any
    artifacts: str
    clients: Callable[[str], Any]
    after_seconds: float
    messages: list[str] = field(default_factory=list)

    def run(self, stored: str | None) -> str:
        cursor = _Cursor.model_validate_json(stored or "{}")
        _add_ended_runs(self.instance, cursor, self.after_seconds)
        if cursor.jobs:
            self._stop_jobs(cursor)
        return cursor.model_dump_json()

    def _stop_jobs(self, cursor: _Cursor) -> None:
        """Stops jobs until the deadline. Moves those that the next tick must check to the end of the cursor."""
        self.sagemaker, self.s3 = self.clients("sagemaker"), self.clients("s3")
        self.deadline = time.monotonic() + MAX_TICK_SECONDS
        for run_id in list(cursor.jobs):
            if time.monotonic() > self.deadline:
                break
            record = self.instance.get_run_record_by_id(run_id)
            known = cursor.jobs.pop(run_id)
            if record is None:
                if known:
                    self._warn(f"Run {run_id} was deleted, and {', '.join(known)} may still run, at a cost")
                continue
            remaining = self._stop_jobs_of_run(record, known)
            if remaining != []:
                self._keep(record, remaining, cursor)

    def _keep(self, record: RunRecord, jobs: list[str] | None, cursor: _Cursor) -> None:
        """Leaves the run to the next tick. Gives up a run that is too old."""
        run_id = record.dagster_run.run_id
        if self._age(record) < MAX_AGE_SECONDS + self.after_seconds:
            cursor.jobs[run_id] = jobs
            return
        names = ", ".join(jobs) if jobs else "its jobs, whose records cannot be read,"
        message = f"Run {run_id} ended long ago and {names} may still run: given up. Stop them in the console"
        self._warn(message)
        self._add_to_log(record, message)

    def _stop_jobs_of_run(self, record: RunRecord, jobs: list[str] | None) -> list[str] | None:
        """Stops the jobs of a run. Returns the jobs that the next tick must check; None if its records cannot be read."""
        first_try, run = jobs is None, record.dagster_run
        try:
            jobs = self._jobs_without_end(record) if jobs is None else jobs
        except CallError as error:
            self._warn(f"The jobs of run {run.run_id} are not known: {error}")
            return None
        if jobs and is_live(run):
            return jobs
        return [name for name in jobs if not self._stop(record, name, first_try)]

    def _stop(self, record: RunRecord, name: str, first_try: bool) -> bool:
        """Stops a job. Returns False if the next tick must check it again."""
        if time.monotonic() > self.deadline:
            return False
        if self._is_left_to_another(record):
            return True
        try:
            result = stop_job(Calls(), self.sagemaker, name)
        except CallError as error:
            message = f"{name} may still run, at a cost: {error}. The next tick tries again"
            self._warn(message)
            if first_try:
                self._add_to_log(record, message)
            return False
        if result is StopResult.STOPPED:
            self.messages.append(f"{name} stopped: no run waits for it")
            self.log.info(self.messages[-1])
            self._add_to_log(record, self.messages[-1])
        return result is not StopResult.UNKNOWN or self._age(record) > CREATION_SECONDS

    def _is_left_to_another(self, record: RunRecord) -> bool:
        """Whether another run continues the work, or ended so recently that someone may resume it."""
        cancelled = record.dagster_run.status is DagsterRunStatus.CANCELED
        since = time.time() - self.after_seconds
        return any(
            is_live(other.dagster_run) or (not cancelled and (other.end_time or 0) > since)
            for other in others_with_same_work(self.instance, record.dagster_run)
        )

    def _jobs_without_end(self, record: RunRecord) -> list[str]:
        """The jobs of the run, and of the run that it continues, that have no recorded end. Raises a `CallError`."""
        calls, origin = Calls(), origin_of(self.instance, record.dagster_run).run_id

        def list_objects_v2(**parameters: str) -> list[str]:
            pages = self.s3.get_paginator("list_objects_v2").paginate(**parameters)
            prefixes = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
            return [prefix.rstrip("/").rpartition("/")[2] for prefix in prefixes]

        def without_end(name: str) -> list[str]:
            attempts = Folder(self.s3, calls, self.artifacts, origin, name).read_record(name).attempts
            return [attempt.name for attempt in attempts if not attempt.ended]

        above = Folder(self.s3, calls, self.artifacts, origin, "")
        names = calls(list_objects_v2, Bucket=above.bucket, Prefix=f"{above.prefix}/", Delimiter="/")
        if len(names) < 2:
            return [job for name in names for job in without_end(name)]
        with ThreadPoolExecutor(_READERS) as readers:
            return [job for jobs in readers.map(without_end, names) for job in jobs]

    def _age(self, record: RunRecord) -> float:
        return time.time() - (record.end_time or 0)

    def _warn(self, message: str) -> None:
        self.messages.append(message)
        self.log.warning(message)

    def _add_to_log(self, record: RunRecord, message: str) -> None:
        self.instance.report_engine_event(f"[sagemaker] {message}", dagster_run=record.dagster_run)
