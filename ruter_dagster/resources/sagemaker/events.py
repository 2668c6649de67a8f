"""Detects the end of SageMaker jobs by events. All run workers read one queue, and leave events of other workers' jobs as notes on S3.

The reasons are in docs/decisions/job-events.md. An event only triggers an earlier Describe call, which decides.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

from ruter_dagster.aws.clients import client
from ruter_dagster.aws.queues import Event, EventQueue
from ruter_dagster.compat.clock import get_current_datetime
from ruter_dagster.config.settings import Settings

ENDED = ("Completed", "Failed", "Stopped")
MAX_NOTE_AGE = timedelta(minutes=2)
"""Older notes are not read. The supervisor of a job calls Describe within this time anyway."""
PAUSE_SECONDS = 60.0
"""After an error, queue and notes are not read for this long. So the error is reported once a minute."""
WORKER_TIMEOUT_SECONDS = 2.0
"""The longest time that a run worker waits for SQS or S3. The supervision of its jobs waits meanwhile."""


class EndNotes:
    """Notes on S3 that jobs have ended. Their keys begin with the time of writing, so that one call lists the newest."""

    def __init__(self, artifacts: str, s3: Any) -> None:
        self.bucket, _, prefix = artifacts.removeprefix("s3://").partition("/")
        self.prefix = f"{prefix}/events/ended/"
        self.s3 = s3

    def write(self, names: Iterable[str]) -> None:
        for name in names:
            key = self._key(get_current_datetime("UTC")) + name
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=b"")

    def recent(self) -> set[str]:
        """Names of the jobs in notes of the last minutes."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket,
            Prefix=self.prefix,
            StartAfter=self._key(get_current_datetime("UTC") - MAX_NOTE_AGE),
        )
        keys = (note["Key"] for page in pages for note in page.get("Contents", []))
        return {key.removeprefix(self.prefix).partition("/")[2] for key in keys}

    def _key(self, moment: datetime) -> str:
        return f"{self.prefix}{moment:%Y%m%dT%H%M%S.%fZ}/"


class QueuedJobEnds:
    """The ends of jobs, as one process learns them from the queue and the notes. Implements the client's `JobEnds`."""

    def __init__(self, queue: EventQueue, notes: EndNotes) -> None:
        self.queue, self.notes = queue, notes
        self._returned: set[str] = set()
        self._received: set[str] = set()
        """Own jobs whose events this process deleted from the queue. No note has them."""
        self._paused_until = 0.0

    @classmethod
    def of(cls, settings: Settings, *, in_run_worker: bool) -> QueuedJobEnds | None:
        """None if the settings name no queue. A run worker waits only shortly for AWS, because it supervises jobs meanwhile."""
        if settings.job_events_queue is None:
            return None
        options: dict[str, Any] = (
            {"max_attempts": 1, "timeout": WORKER_TIMEOUT_SECONDS} if in_run_worker else {}
        )
        sqs, s3 = (client(service, settings.aws_region, **options) for service in ("sqs", "s3"))
        return cls(EventQueue(settings.job_events_queue, sqs), EndNotes(settings.artifacts_location, s3))

    def ended(self, names: Collection[str]) -> Collection[str]:
        """The jobs among `names` that an event reports as ended. Each job is returned once."""
        if time.monotonic() < self._paused_until:
            return set()
        try:
            self._received |= self.pass_on(names) & set(names)
            ended = self._received | self.notes.recent()
        except Exception:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            raise
        new = (ended & set(names)) - self._returned
        self._returned |= new
        return new

    def pass_on(self, own: Collection[str] = (), most: int = 10) -> set[str]:
        """Receives at most `most` events, writes notes of jobs that are not `own`, and then deletes the events.

        Returns the names of all ended jobs.
        """
        events = self.queue.receive(most)
        names = {name for name in map(ended_job, events) if name}
        self.notes.write(sorted(names - set(own)))
        self.queue.delete(events)
        return names


def ended_job(event: Event) -> str | None:
    """The name of the job that an event reports as ended. None for other events."""
    for kind in ("Processing", "Training"):
        if event.detail.get(f"{kind}JobStatus") in ENDED:
            return event.detail.get(f"{kind}JobName")
    return None
