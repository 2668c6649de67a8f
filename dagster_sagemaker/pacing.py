"""How often the client asks, and how long it waits: every interval in one place, in seconds."""

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
    """Intervals of one job. A job of three minutes is described six times and found ended within five seconds."""

    describe_starting: float = 30.0
    """Between two Describes until the container has spoken: capacity and image faults show in this time."""
    describe_running: float = 60.0
    """Between two Describes of a running job: its end is announced on S3, so this only finds containers that were killed."""
    describe_closing: tuple[float, ...] = (1.0, 4.5, 12.0, 15.0)
    """Steps of the Describes after `closed`, the last repeated: most jobs end at once, some upload first, and a minute has four."""
    describe_pushed: float = 90.0
    """Between two Describes where events tell of a job's end (`job_ends`)."""
    describes_a_minute: int = 4
    events_grace: float = 10.0
    """How long after `closed` to wait for the event before asking; then Describes are `describe_running` apart."""
    messages: float = 2.0
    """Between two looks for messages on S3."""
    events: float = 1.0
    """Between two looks for pushed events."""
    logs: float = 15.0
    """Between two looks at a job's log streams."""
    logs_a_minute: int = 6
    """Calls while a job runs; what its end left unread is read to the last line whatever that takes."""
    log_settle: float = 1.0
    """From a job's end to the next look at its logs."""
    log_quiet: float = 12.0
    """How long no line has come before those of a failed job, or of one whose hosts have not all spoken, are all there."""
    log_latest: float = 30.0
    """CloudWatch takes lines in late: for no longer than this after a job's end are the last ones waited for."""
    retry_first: float = 1.0
    retry_longest: float = 60.0
    """Throttled or unanswered calls: doubled each time, with jitter."""
    retry_patience: float = 3600.0
    """After so long without any answer the step fails; the job is left running, to be adopted."""
    quota_first: float = 30.0
    quota_longest: float = 300.0
    quota_patience: float = 24 * 3600.0
    """How long to wait for others to make room below the account's quota."""
    capacity: float = 60.0
    """Pause after all instance types were short of capacity."""
    capacity_rounds: int = 5
    """How often to go through all instance types."""
    internal_attempts: int = 3
    stop_patience: float = 10.0
    """How long after the last Stop that was taken a cancelled run goes on trying: SageMaker may be throttling, or not know a job yet."""
    stop_again: float = 0.25
    """Pause after a Stop that was not taken: a worker that is ended has no more than some seconds in all."""
    minute: float = 60.0

    def scaled(self, factor: float) -> Pacing:
        """All times multiplied, counts kept: for tests, which have no minutes to spare."""
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
    """Where time comes from. `now` counts seconds from any start; `jitter` gives numbers from 0 to 1."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def backoff(self, first: float, longest: float, failures: int) -> float:
        """Seconds to wait after so many failures in a row: doubling, half of it by chance."""
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
