"""Which instance type, which market, and how long to wait before the next attempt: decided by the class of the last one's end."""

from __future__ import annotations

from dagster_sagemaker.folder import Attempt
from dagster_sagemaker.jobs import Job, TrainingJob
from dagster_sagemaker.outcomes import Ending, Quota, quota_of
from dagster_sagemaker.pacing import Clock, Pacing

_CAPACITY_PAUSE = 60.0
"""Seconds after no instance type had capacity."""
_FIRST_QUOTA_WAIT, _LONGEST_QUOTA_WAIT = 30.0, 300.0
_FIRST_RETRY, _LONGEST_RETRY = 1.0, 60.0
"""Seconds before the attempt after an internal error."""


class Choices:
    """Each `after…` answers with the seconds to wait, or None where another attempt makes no sense; `verdict` says it in words."""

    def __init__(self, job: Job, pacing: Pacing, clock: Clock) -> None:
        self.job, self.pacing, self.clock = job, pacing, clock
        self.types = list(dict.fromkeys(job.instance_types)) or [""]
        """One empty type if the job's request has instance groups or preferences."""
        self.instance_type = self.types[0]
        self.spot = isinstance(job, TrainingJob) and job.spot
        self.verdict = ""
        self.waited = 0.0
        """Seconds spent waiting for the account's quota."""
        self._rounds = 0
        self._quota_waits = 0

    def resume(self, attempt: Attempt) -> None:
        """Goes on from the last attempt of an earlier supervisor."""
        if attempt.instance_type in self.types:
            self.instance_type = attempt.instance_type
        self.spot = self.spot and attempt.spot

    def after(self, ending: Ending, internal_errors: int) -> float | None:
        """After a job that was created and ended otherwise than completed."""
        if ending is Ending.CAPACITY:
            return self.after_capacity()
        if ending is Ending.SPOT_WAIT:
            self.spot, self.verdict = False, "The next attempt is on demand."
            return 0.0
        if ending is Ending.INTERNAL and internal_errors < self.pacing.internal_attempts:
            self.verdict = f"Attempt {internal_errors + 1} of {self.pacing.internal_attempts} follows."
            return self._backoff(_FIRST_RETRY, _LONGEST_RETRY, max(1, internal_errors))
        return None

    def after_capacity(self) -> float | None:
        """The next type in order; after the last one, a pause and the first again."""
        place = self.types.index(self.instance_type)
        if place + 1 < len(self.types):
            self.instance_type = self.types[place + 1]
            self.verdict = f"The next attempt is on {self.instance_type}."
            return 0.0
        self._rounds += 1
        if self._rounds >= self.pacing.capacity_rounds:
            self.verdict = f"No instance type had capacity, {self._rounds} times over"
            return None
        self.instance_type = self.types[0]
        self.verdict = f"No instance type has capacity: from {self.instance_type} again in a while."
        return _CAPACITY_PAUSE * self.pacing.scale * (0.75 + 0.5 * self.clock.jitter())

    def after_quota(self, message: str) -> float | None:
        """Waits for others to end their jobs; where the quota can never hold this job, the next instance type if that may help."""
        quota = quota_of(message)
        if quota and self._is_of_type(quota):
            if quota.limit < self.job.instance_count:
                return self._without_type(quota)
        elif quota and quota.wanted and quota.limit < quota.wanted:
            return self._beyond(quota)
        self._quota_waits += 1
        if self.waited > self.pacing.quota_patience:
            self.verdict = f"waited {self.waited:.0f} s for others to end their jobs"
            return None
        wait = self._backoff(_FIRST_QUOTA_WAIT, _LONGEST_QUOTA_WAIT, self._quota_waits)
        self.waited += wait
        self.verdict = f"Waiting for others to end their jobs: again in {wait:.0f} s."
        return wait

    def _backoff(self, first: float, longest: float, failures: int) -> float:
        return self.clock.backoff(first * self.pacing.scale, longest * self.pacing.scale, failures)

    def _is_of_type(self, quota: Quota) -> bool:
        return bool(self.instance_type) and (not quota.name or self.instance_type in quota.name)

    def _beyond(self, quota: Quota) -> None:
        self.verdict = f"{_need(quota.limit, quota.name, quota.wanted)}, or let the job ask for less"

    def _without_type(self, quota: Quota) -> float | None:
        lacking, place = self.instance_type, self.types.index(self.instance_type)
        self.types.remove(lacking)
        need = _need(quota.limit, lacking, self.job.instance_count)
        if not self.types:
            self.verdict = need
            return None
        self.instance_type = self.types[min(place, len(self.types) - 1)]
        self.verdict = f"{need}; going on with {self.instance_type}."
        return 0.0


def _need(limit: int, what: str, wanted: int | None) -> str:
    return f"the quota of {what} is {limit}, {wanted} needed: ask for more in Service Quotas"
