"""How often the client calls AWS and how long it waits, in seconds. What is called belongs in `supervised.py` and `watch.py`."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dagster_sagemaker.calls import CallError, Transient

_FIRST_RETRY, _LONGEST_RETRY = 1.0, 60.0
"""Pause after a throttled or unanswered call. It doubles each time, with jitter."""
_WARNED_AT = (3, 12, 48)
"""Failures in a row after which a person is warned: some seconds, some minutes, most of an hour."""


@dataclass(frozen=True)
class Pacing:
    """Intervals of one job. A job of three minutes costs six Describe calls, and its end is seen within five seconds."""

    messages: float = 2.0
    """Between two reads of messages on S3."""
    describe: float = 60.0
    """Between two Describe calls of a running job. Messages announce its end, so these calls only find killed containers.
    Half of it while the job starts, and one and a half of it if events report ends."""
    logs: float = 15.0
    """Between two reads of a job's log streams."""
    retry_patience: float = 3600.0
    """Time without any answer of AWS after which the step fails. The job keeps running, and a retry adopts it."""
    quota_patience: float = 24 * 3600.0
    """Longest wait until other jobs free the account's quota."""
    capacity_rounds: int = 5
    """How often all instance types are tried."""
    internal_attempts: int = 3
    """Attempts at a job that fails inside SageMaker."""
    stop_patience: float = 10.0
    """How long a cancelled run keeps trying after its last successful Stop: SageMaker may throttle, or not know a job yet."""
    scale: float = 1.0
    """Factor of all other intervals, for tests."""

    def scaled(self, factor: float) -> Pacing:
        """The same counts, with all times multiplied by `factor`; for tests."""
        times = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return replace(self, **{k: value * factor for k, value in times.items() if isinstance(value, float)})

    def window(self, limit: int) -> Window:
        """At most `limit` calls a minute."""
        return Window(limit, 60 * self.scale)


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

    def allow_one_more(self) -> None:
        """Forgets the oldest call."""
        if self.calls:
            self.calls.popleft()


class Unanswered(Exception):
    """AWS gave no answer for as long as `retry_patience`; whatever was running is running still."""


@dataclass
class Timer:
    """When an action is due. A failed call is put off, longer each time."""

    clock: Clock
    pacing: Pacing
    warn: Callable[[str], None]
    due: float
    failures: int = 0
    failing_since: float = 0.0

    def attempt(self, action: Callable[[], Any]) -> bool:
        """Whether AWS answered the action; if not, `due` says when to try again. Raises `Unanswered` in the end."""
        try:
            action()
        except Transient as error:
            self.put_off(error)
            return False
        self.failures = 0
        return True

    def put_off(self, error: CallError) -> None:
        """After one more failure in a row. Raises `Unanswered` in the end."""
        now, scale = self.clock.now(), self.pacing.scale
        self.failures += 1
        self.failing_since = self.failing_since if self.failures > 1 else now
        if now - self.failing_since > self.pacing.retry_patience:
            raise Unanswered(f"no answer in {now - self.failing_since:.0f} s: {error}") from error
        if self.failures in _WARNED_AT:
            words = f"{error.code}: {error.message}" if error.message else error.code
            self.warn(
                f"[sagemaker] {error.operation} has not been answered, {self.failures} times: {words}. Trying again."
            )
        self.due = now + self.clock.backoff(_FIRST_RETRY * scale, _LONGEST_RETRY * scale, self.failures)
