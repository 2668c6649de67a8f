"""Intervals, limits and retries of AWS calls, in seconds. The calls themselves belong in `supervised.py` and `watch.py`."""

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
"""Failures in a row after which a warning is logged: after some seconds, some minutes, most of an hour."""


@dataclass(frozen=True)
class Pacing:
    """Intervals of one job. A job of three minutes takes six Describe calls. Its end is noticed within five seconds."""

    messages: float = 2.0
    """Between two reads of messages on S3."""
    describe: float = 60.0
    """Between two Describe calls of a running job. Messages announce its end, so these calls only find killed containers.
    Half as long while the job starts; 1.5 times as long if events report ends."""
    logs: float = 15.0
    """Between two reads of a job's log streams."""
    retry_patience: float = 3600.0
    """The step fails after this time without an answer from AWS. The job keeps running, and a retry adopts it."""
    quota_patience: float = 24 * 3600.0
    """Longest wait for other jobs to free the account's quota."""
    capacity_rounds: int = 5
    """How often all instance types are tried."""
    internal_attempts: int = 3
    """Attempts of a job that fails with an internal error of SageMaker."""
    stop_patience: float = 10.0
    """How long a cancelled run retries after its last successful Stop. SageMaker may throttle, or not know a job yet."""
    scale: float = 1.0
    """Multiplies all intervals that are not fields here, for tests."""

    def scaled(self, factor: float) -> Pacing:
        """A copy with all times multiplied by `factor`, for tests. Counts stay the same."""
        times = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return replace(self, **{k: value * factor for k, value in times.items() if isinstance(value, float)})

    def window(self, limit: int) -> Window:
        """At most `limit` calls a minute."""
        return Window(limit, 60 * self.scale)


@dataclass(frozen=True)
class Clock:
    """The source of time. `now` counts seconds from any start. `jitter` returns numbers from 0 to 1."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def backoff(self, first: float, longest: float, failures: int) -> float:
        """Seconds to wait after `failures` failures in a row. They double each time; up to half are random."""
        full = min(longest, first * 2.0 ** min(failures - 1, 30))
        return full * (0.5 + 0.5 * self.jitter())


@dataclass
class Window:
    """At most `limit` calls in any `seconds`."""

    limit: int
    seconds: float
    calls: deque[float] = field(default_factory=deque)

    def free_at(self, now: float) -> float:
        """The earliest time, not before `now`, when the limit allows another call."""
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
    """AWS has not answered for `retry_patience` seconds. Running jobs keep running."""


@dataclass
class Timer:
    """When an action is due. Each failure in a row delays it longer."""

    clock: Clock
    pacing: Pacing
    warn: Callable[[str], None]
    due: float
    failures: int = 0
    failing_since: float = 0.0

    def attempt(self, action: Callable[[], Any]) -> bool:
        """Returns whether AWS answered. If not, delays `due`. Raises `Unanswered` after `retry_patience` seconds."""
        try:
            action()
        except Transient as error:
            self.put_off(error)
            return False
        self.failures = 0
        return True

    def put_off(self, error: CallError) -> None:
        """Counts a failure and delays `due`. Raises `Unanswered` after `retry_patience` seconds of failures."""
        now, scale = self.clock.now(), self.pacing.scale
        self.failures += 1
        self.failing_since = self.failing_since if self.failures > 1 else now
        if now - self.failing_since > self.pacing.retry_patience:
            raise Unanswered(f"no answer in {now - self.failing_since:.0f} s: {error}") from error
        if self.failures in _WARNED_AT:
            reason = f"{error.code}: {error.message}" if error.message else error.code
            self.warn(
                f"[sagemaker] {error.operation} has failed {self.failures} times in a row: {reason}. Retrying."
            )
        self.due = now + self.clock.backoff(_FIRST_RETRY * scale, _LONGEST_RETRY * scale, self.failures)
