"""All intervals of the client, in seconds: how often it calls AWS, and how long it waits."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dagster_sagemaker.calls import CallError, Transient

_TOLD_AT = (3, 12, 48)
"""The failures in a row of which a person is told: some seconds, some minutes, most of an hour."""


@dataclass(frozen=True)
class Pacing:
    """Intervals of one job. A job of three minutes costs six Describe calls, and its end is seen within five seconds."""

    describe_starting: float = 30.0
    """Between two Describe calls until the container has opened Pipes. Faults of capacity and image occur in this time."""
    describe_running: float = 60.0
    """Between two Describe calls of a running job. S3 announces its end, so these calls only find killed containers."""
    describe_closing: tuple[float, ...] = (1.0, 4.5, 12.0, 15.0)
    """Waits before the Describe calls after `closed`; the last one is repeated. Most jobs end at once, others upload first."""
    describe_pushed: float = 90.0
    """Between two Describe calls if events report the ends of jobs (`job_ends`)."""
    describes_a_minute: int = 4
    events_grace: float = 10.0
    """Wait for an event after `closed`, before a Describe call. Later calls are `describe_running` apart."""
    messages: float = 2.0
    """Between two reads of messages on S3."""
    events: float = 1.0
    """Between two reads of events."""
    logs: float = 15.0
    """Between two reads of a job's log streams."""
    logs_a_minute: int = 6
    """Maximum number of log calls while a job runs. After its end, all remaining lines are read."""
    log_settle: float = 1.0
    """From a job's end to the next read of its logs."""
    log_quiet: float = 12.0
    """Time without a new line after which the lines of a job are complete, if it failed or lacks the lines of a host."""
    log_latest: float = 30.0
    """Longest wait for the last lines after a job's end: CloudWatch receives lines late."""
    retry_first: float = 1.0
    retry_longest: float = 60.0
    """Longest pause after a throttled or unanswered call. The pause doubles each time, with jitter."""
    retry_patience: float = 3600.0
    """Time without any answer after which the step fails. The job keeps running, and a retry adopts it."""
    quota_first: float = 30.0
    quota_longest: float = 300.0
    quota_patience: float = 24 * 3600.0
    """Longest wait until other jobs free the account's quota."""
    capacity: float = 60.0
    """Pause after no instance type had capacity."""
    capacity_rounds: int = 5
    """How often all instance types are tried."""
    internal_attempts: int = 3
    stop_patience: float = 10.0
    """How long a cancelled run keeps trying after its last successful Stop: SageMaker may throttle, or not know a job yet."""
    stop_again: float = 0.25
    """Pause after a failed Stop. It is short, because a worker that is being ended has only some seconds."""
    minute: float = 60.0

    def scaled(self, factor: float) -> Pacing:
        """The same counts, with all times multiplied by `factor`; for tests."""
        changes = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, float):
                changes[entry.name] = value * factor
            elif isinstance(value, tuple):
                changes[entry.name] = tuple(step * factor for step in value)
        return replace(self, **changes)


@dataclass(frozen=True)
class Clock:
    """The source of time. `now` counts seconds from any start; `jitter` gives numbers from 0 to 1."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def backoff(self, first: float, longest: float, failures: int) -> float:
        """Seconds to wait after `failures` failures in a row: they double each time, and half of them are random."""
        full = min(longest, first * 2.0 ** min(failures - 1, 30))
        return full * (0.5 + 0.5 * self.jitter())


@dataclass
class Window:
    """At most `limit` calls in any `seconds`."""

    limit: int
    seconds: float
    calls: deque[float] = field(default_factory=deque)

    def free_at(self, now: float) -> float:
        """The time, now at the earliest, when one more call is within the limit."""
        if len(self.calls) < self.limit:
            return now
        return max(now, self.calls[-self.limit] + self.seconds)

    def note(self, now: float) -> None:
        self.calls.append(now)
        while len(self.calls) > self.limit:
            self.calls.popleft()


class Unanswered(Exception):
    """AWS gave no answer for as long as `retry_patience`; whatever was running is running still."""


@dataclass
class Timer:
    """When something is due next, and how it has fared: what AWS does not answer is put off, longer each time."""

    clock: Clock
    pacing: Pacing
    warn: Callable[[str], None]
    due: float
    failures: int = 0
    failing_since: float = 0.0

    def attempt(self, action: Callable[[], Any]) -> bool:
        """Whether the action was done; where it was not, `due` says when to try again. Raises `Unanswered` in the end."""
        try:
            action()
        except Transient as error:
            self.put_off(error)
            return False
        self.failures = 0
        return True

    def put_off(self, error: CallError) -> None:
        """After one more failure in a row. Raises `Unanswered` in the end."""
        now = self.clock.now()
        self.failures += 1
        self.failing_since = self.failing_since if self.failures > 1 else now
        if now - self.failing_since > self.pacing.retry_patience:
            raise Unanswered(f"no answer in {now - self.failing_since:.0f} s: {error}") from error
        if self.failures in _TOLD_AT:
            said = f"{error.code}: {error.message}" if error.message else error.code
            self.warn(
                f"[sagemaker] {error.operation} has not been answered, {self.failures} times: {said}. Trying again."
            )
        self.due = now + self.clock.backoff(self.pacing.retry_first, self.pacing.retry_longest, self.failures)
