"""Who hears of ended jobs: all run workers read one queue, and leave what is not theirs on S3 for whoever it is for.

Why so: docs/decisions/job-events.md. Describe is the truth; an event only hastens it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from ruter_dagster.aws.clients import client
from ruter_dagster.aws.queues import Event, EventQueue
from ruter_dagster.config.settings import Settings

ENDED = ("Completed", "Failed", "Stopped")
REMEMBERED = timedelta(minutes=2)
"""How far back notes are looked for. Whoever comes later asks Describe anyway."""
PAUSE_SECONDS = 60.0
"""How long a queue that cannot be read is left alone; it is complained of once in that time."""
HURRIED_SECONDS = 2.0
"""How long a run worker waits for SQS and S3: its jobs wait as long."""


class EndNotes:
    """Notes on S3 that jobs have ended, named by the moment of writing: the newest are found by one call."""

    def __init__(
        self, artifacts: str, s3: Any, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.bucket, _, prefix = artifacts.removeprefix("s3://").partition("/")
        self.prefix = f"{prefix}/events/ended/"
        self.s3, self.now = s3, now

    def write(self, names: Iterable[str]) -> None:
        for name in names:
            self.s3.put_object(Bucket=self.bucket, Key=self._key(self.now()) + name, Body=b"")

    def recent(self) -> set[str]:
        """Names of jobs noted in the last minutes."""
        after = self._key(self.now() - REMEMBERED)
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix, StartAfter=after
        )
        keys = (found["Key"] for page in pages for found in page.get("Contents", []))
        return {key.removeprefix(self.prefix).partition("/")[2] for key in keys}

    def _key(self, moment: datetime) -> str:
        return f"{self.prefix}{moment:%Y%m%dT%H%M%S.%fZ}/"


class QueuedJobEnds:
    """The client's `JobEnds` of one process."""

    def __init__(self, queue: EventQueue, notes: EndNotes) -> None:
        self.queue, self.notes = queue, notes
        self._told: set[str] = set()
        self._heard: set[str] = set()
        """Own jobs whose events this process took out of the queue: nobody else can tell of them."""
        self._not_before = 0.0

    @classmethod
    def of(cls, settings: Settings, *, hurried: bool) -> QueuedJobEnds | None:
        """None without a queue. `hurried` is whoever has jobs to look after meanwhile: an event is not worth waiting for."""
        if settings.job_events_queue is None:
            return None
        waits: dict[str, Any] = {"max_attempts": 1, "timeout": HURRIED_SECONDS} if hurried else {}
        sqs, s3 = (client(service, settings.aws_region, **waits) for service in ("sqs", "s3"))
        return cls(EventQueue(settings.job_events_queue, sqs), EndNotes(settings.artifacts_location, s3))

    def ended(self, names: Collection[str]) -> Collection[str]:
        """Those of these jobs of which an event has come, each once; events of others' are noted before they are deleted."""
        if time.monotonic() < self._not_before:
            return set()
        try:
            self._heard |= self.pass_on(names) & set(names)
            ended = self._heard | self.notes.recent()
        except Exception:
            self._not_before = time.monotonic() + PAUSE_SECONDS
            raise
        found = (ended & set(names)) - self._told
        self._told |= found
        return found

    def pass_on(self, own: Collection[str] = (), most: int = 10) -> set[str]:
        """Takes events out of the queue and notes those of others' jobs; returns the names of all that have ended."""
        events = self.queue.receive(most)
        heard = {name for name in map(job_ended, events) if name}
        self.notes.write(sorted(heard - set(own)))
        self.queue.delete(events)
        return heard


def job_ended(event: Event) -> str | None:
    """The job that an event tells to be over; None of any other event."""
    for kind in ("Processing", "Training"):
        if event.detail.get(f"{kind}JobStatus") in ENDED:
            return event.detail.get(f"{kind}JobName")
    return None
