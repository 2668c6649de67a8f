"""Jobs of runs that were cancelled while nobody supervised them: found by their records, and stopped. Nothing here waits.

A supervisor that lives stops its jobs itself. There is none where a cancelled run was still queued in place of a lost one, was marked
as cancelled by force, or was between two tries of a step: whoever hears of the cancellation, a sensor say, calls these.
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
"""A run over a range has hundreds of records."""


class Found(Enum):
    """What became of a job that was to be stopped."""

    STOPPED = "stopped"
    OVER = "over"
    """It has ended, or is being stopped already."""
    UNKNOWN = "unknown"
    """SageMaker does not know it: it was never created, or not yet."""


def goes_on(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether another run has taken up the same unfinished work, or is about to: then the jobs are that one's.

    One that is itself being cancelled has not: of two cancelled at once each stops what they share.
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


def jobs_left(instance: DagsterInstance, run: DagsterRun, s3: Any, artifacts: str) -> list[str]:
    """Names of the jobs of the run and of those that it goes on with, but for jobs whose end was noted. Raises a `CallError`."""
    calls, origin = Calls(), origin_of(instance, run).run_id

    def list_objects_v2(**place: str) -> list[str]:
        pages = s3.get_paginator("list_objects_v2").paginate(**place)
        prefixes = [found["Prefix"] for page in pages for found in page.get("CommonPrefixes", [])]
        return [prefix.rstrip("/").rpartition("/")[2] for prefix in prefixes]

    def unended(name: str) -> list[str]:
        record = Folder(s3, calls, artifacts, origin, name).read_record(name)
        return [attempt.name for attempt in record.attempts if not attempt.ended]

    above = Folder(s3, calls, artifacts, origin, "")
    names = calls(list_objects_v2, Bucket=above.bucket, Prefix=f"{above.prefix}/", Delimiter="/")
    with ThreadPoolExecutor(_READERS) as readers:
        return [job for jobs in readers.map(unended, names) for job in jobs]


def stop_job(sagemaker: Any, name: str) -> Found:
    """Stops the Processing or Training job of this name if it lives. Raises a `CallError`."""
    calls = Calls()
    for kind in (PROCESSING, TRAINING):
        try:
            described = calls(kind.describe(sagemaker), **kind.named(name))
        except NotFound:
            continue
        if described[f"{kind.word}JobStatus"] != "InProgress":
            return Found.OVER
        try:
            calls(kind.stop(sagemaker), **kind.named(name))
        except Refused as refusal:
            if is_over(refusal):
                return Found.OVER
            raise
        return Found.STOPPED
    return Found.UNKNOWN
