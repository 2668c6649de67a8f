"""Finds and stops the jobs of cancelled runs that no process supervises. No function here waits.

A running supervisor stops its own jobs. There is none if the cancelled run was a queued retry of a lost run, was marked as
cancelled by force, or was between two attempts of a step. A sensor, for instance, then calls these functions.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from dagster_sagemaker.calls import Calls, NotFound, Refused
from dagster_sagemaker.compat import ROOT_RUN_ID_TAG
from dagster_sagemaker.folder import Folder
from dagster_sagemaker.kinds import PROCESSING, TRAINING
from dagster_sagemaker.outcomes import is_over
from dagster_sagemaker.runs import origin_of

_READERS = 8
"""Threads that read records. A run over a range has hundreds of records."""


class StopResult(Enum):
    """The result of stopping a job."""

    STOPPED = "stopped"
    OVER = "over"
    """The job has ended, or is stopping already."""
    UNKNOWN = "unknown"
    """SageMaker does not know the job: it was never created, or not yet."""


def is_continued(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether another run continues the work of this run, or will continue it. The jobs then belong to the other run.

    A run that is being cancelled continues nothing: of two runs that are cancelled together, each stops the shared jobs.
    """
    root = run.root_run_id or run.tags.get(ROOT_RUN_ID_TAG) or run.run_id
    origin = origin_of(instance, run).run_id
    first = instance.get_run_by_id(root)
    group = [*([first] if first else []), *instance.get_runs(RunsFilter(tags={ROOT_RUN_ID_TAG: root}))]
    return any(
        other.run_id != run.run_id
        and other.status is not DagsterRunStatus.CANCELING
        and (not other.is_finished or other.is_complete_and_waiting_to_retry)
        and origin_of(instance, other).run_id == origin
        for other in group
    )


def remaining_jobs(instance: DagsterInstance, run: DagsterRun, s3: Any, artifacts: str) -> list[str]:
    """Names of the jobs of the run, and of the run that it continues, that have no recorded end. Raises a `CallError`."""
    calls, origin = Calls(), origin_of(instance, run).run_id

    def list_objects_v2(**place: str) -> list[str]:
        pages = s3.get_paginator("list_objects_v2").paginate(**place)
        prefixes = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
        return [prefix.rstrip("/").rpartition("/")[2] for prefix in prefixes]

    def jobs_without_end(name: str) -> list[str]:
        record = Folder(s3, calls, artifacts, origin, name).read_record(name)
        return [attempt.name for attempt in record.attempts if not attempt.ended]

    above = Folder(s3, calls, artifacts, origin, "")
    names = calls(list_objects_v2, Bucket=above.bucket, Prefix=f"{above.prefix}/", Delimiter="/")
    with ThreadPoolExecutor(_READERS) as readers:
        return [job for jobs in readers.map(jobs_without_end, names) for job in jobs]


def stop_job(sagemaker: Any, name: str) -> StopResult:
    """Stops the Processing or Training job of this name if it is running. Raises a `CallError`."""
    calls = Calls()
    for kind in (PROCESSING, TRAINING):
        try:
            described = calls(kind.describe(sagemaker), **kind.named(name))
        except NotFound:
            continue
        if described[f"{kind.word}JobStatus"] != "InProgress":
            return StopResult.OVER
        try:
            calls(kind.stop(sagemaker), **kind.named(name))
        except Refused as refusal:
            if is_over(refusal):
                return StopResult.OVER
            raise
        return StopResult.STOPPED
    return StopResult.UNKNOWN
