"""Stops SageMaker jobs of cancelled runs that no process supervised. How they are found and stopped: dagster_sagemaker/cancelled.py.

A plain sensor, not Dagster's run_status_sensor: that one moves on when its function fails, and the job would run on.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
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

from ruter_dagster.config.settings import Settings

INTERVAL_SECONDS = 30
LOOK_BACK_SECONDS = 24 * 3600
"""How old a cancellation may be: the first tick looks back so far, as the sensor may be younger than the run, and what cannot be
read or stopped for so long is given up."""
BATCH = 50
AT_ONCE_SECONDS = 30.0
"""When a tick leaves the rest to the next one: Dagster gives it a minute."""
PATIENCE_SECONDS = 5.0
"""How long one call may wait for its answer."""
UNKNOWN_SECONDS = 300.0
"""For so long after a cancellation a job that SageMaker does not know may still be created: its Create may be on its way."""


@dataclass
class Memory:
    """The sensor's cursor: the newest cancellation that was taken note of, and by run the jobs to be looked at (again).

    None instead of jobs where the records of the run have not been read.
    """

    newest: int | None = None
    left: dict[str, list[str] | None] = field(default_factory=dict)

    @classmethod
    def of(cls, cursor: str | None) -> Memory:
        return cls(**json.loads(cursor)) if cursor else cls()

    def to_cursor(self) -> str:
        return json.dumps(asdict(self))


def cancelled_run_sensors(settings: Settings) -> list[SensorDefinition]:
    """The sensor `cancelled_sagemaker_jobs`, where jobs run in SageMaker."""
    if not settings.runs_in_sagemaker:
        return []

    # It starts nothing, so it is on in sandboxes too: who cancels there pays for what runs on as well.
    @sensor(
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Stops SageMaker jobs whose run was cancelled while no process of it lived: as a retry in the queue, "
        "by force, or between two tries of a step. Jobs that another run goes on with are left to that one.",
    )
    def cancelled_sagemaker_jobs(context: SensorEvaluationContext) -> SkipReason:
        memory = Memory.of(context.cursor)
        _take_note(context, memory)
        told = _Stops(context, settings).look(memory) if memory.left else []
        context.update_cursor(memory.to_cursor())
        return SkipReason("; ".join(told) or "No job of a cancelled run is left")

    return [cancelled_sagemaker_jobs]


def _take_note(context: SensorEvaluationContext, memory: Memory) -> None:
    """Runs that were cancelled since the last tick."""
    wanted = RunStatusChangeRecordsFilter(
        DagsterEventType.RUN_CANCELED,
        after_storage_id=memory.newest,
        after_timestamp=time.time() - LOOK_BACK_SECONDS if memory.newest is None else None,
    )
    for record in context.instance.fetch_run_status_changes(wanted, limit=BATCH, ascending=True).records:
        memory.newest = record.storage_id
        memory.left[record.run_id] = None


class _Stops:
    """One tick's look at the jobs of cancelled runs."""

    def __init__(self, context: SensorEvaluationContext, settings: Settings) -> None:
        from ruter_dagster.aws.clients import client

        calls: dict[str, Any] = {"max_attempts": 1, "timeout": PATIENCE_SECONDS}
        self.context, self.instance, self.artifacts = context, context.instance, settings.artifacts_location
        self.sagemaker, self.s3 = (client(name, settings.aws_region, **calls) for name in ("sagemaker", "s3"))
        self.until = time.monotonic() + AT_ONCE_SECONDS

    def look(self, memory: Memory) -> list[str]:
        """Goes through what is left, and leaves what has to be looked at again; what to tell of it."""
        told: list[str] = []
        for run_id in list(memory.left):
            if time.monotonic() > self.until:
                break
            record = self.instance.get_run_record_by_id(run_id)
            names = self._look_at(record, memory.left.pop(run_id), told) if record else []
            if record and names != []:
                self._put_back(record, names, memory, told)
        return told

    def _put_back(self, record: RunRecord, names: list[str] | None, memory: Memory, told: list[str]) -> None:
        """At the end, behind those that this tick has no time for; not what is too old."""
        run_id = record.dagster_run.run_id
        if time.time() < (record.end_time or 0) + LOOK_BACK_SECONDS:
            memory.left[run_id] = names
            return
        jobs = ", ".join(names) if names else "its jobs, whose records cannot be read"
        told.append(f"Of run {run_id}, cancelled long ago, {jobs} may run on: given up, look in the console")
        self.context.log.warning(told[-1])
        self._tell(record, told[-1])

    def _look_at(self, record: RunRecord, names: list[str] | None, told: list[str]) -> list[str] | None:
        """The run's jobs that have to be looked at again."""
        from dagster_sagemaker.calls import CallError
        from dagster_sagemaker.cancelled import goes_on, jobs_left

        run, first = record.dagster_run, names is None
        if goes_on(self.instance, run):
            return []
        try:
            names = jobs_left(self.instance, run, self.s3, self.artifacts) if names is None else names
        except CallError as error:
            told.append(f"The jobs of cancelled run {run.run_id} are not known: {error}")
            self.context.log.warning(told[-1])
            return None
        return [name for name in names if not self._stop(record, name, first, told)]

    def _stop(self, record: RunRecord, name: str, first: bool, told: list[str]) -> bool:
        """Whether nothing is left to be done for this job."""
        from dagster_sagemaker.calls import CallError
        from dagster_sagemaker.cancelled import Found, goes_on, stop_job

        if time.monotonic() > self.until:
            return False
        if goes_on(self.instance, record.dagster_run):
            return True
        try:
            found = stop_job(self.sagemaker, name)
        except CallError as error:
            said = f"{name} may run on, and cost: {error}. Looked at again every {INTERVAL_SECONDS} s"
            told.append(said)
            self.context.log.warning(said)
            if first:
                self._tell(record, said)
            return False
        if found is Found.STOPPED:
            told.append(f"{name} stopped: its run was cancelled, and no process of it lived")
            self._tell(record, told[-1])
        return found is not Found.UNKNOWN or time.time() > (record.end_time or 0) + UNKNOWN_SECONDS

    def _tell(self, record: RunRecord, said: str) -> None:
        """In the run's own log, where whoever cancelled it looks."""
        self.instance.report_engine_event(f"[sagemaker] {said}", dagster_run=record.dagster_run)
