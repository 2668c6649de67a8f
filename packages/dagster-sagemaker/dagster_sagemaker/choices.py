"""Chooses instance type, spot or on demand, and the pause before the next attempt, from how the last attempt ended."""

from __future__ import annotations

from dagster_sagemaker.folder import Attempt
from dagster_sagemaker.jobs import Job, TrainingJob
from dagster_sagemaker.outcomes import Ending, Quota, parse_quota
from dagster_sagemaker.pacing import Clock, Pacing

_CAPACITY_PAUSE = 60.0
"""Seconds to wait when no instance type has capacity."""
_FIRST_QUOTA_WAIT, _LONGEST_QUOTA_WAIT = 30.0, 300.0
_FIRST_RETRY, _LONGEST_RETRY = 1.0, 60.0
"""Seconds before the attempt after an internal error."""


class Choices:
    """Each `after…` method returns the seconds to wait, or None if another attempt is useless. It sets `explanation`."""

    def __init__(self, job: Job, pacing: Pacing, clock: Clock) -> None:
        self.job, self.pacing, self.clock = job, pacing, clock
        self.types = list(dict.fromkeys(job.instance_types)) or [""]
        """One empty text if the job's request has instance groups or preferences."""
        self.instance_type = self.types[0]
        self.spot = isinstance(job, TrainingJob) and job.spot
        self.explanation = ""
        self.waited = 0.0
        """Seconds spent waiting for the account's quota."""
        self._rounds = 0
        self._quota_waits = 0

    def resume(self, attempt: Attempt) -> None:
        """Continues from the last attempt of an earlier process."""
        if attempt.instance_type in self.types:
            self.instance_type = attempt.instance_type
        self.spot = self.spot and attempt.spot

    def after(self, ending: Ending, internal_errors: int) -> float | None:
        if ending is Ending.CAPACITY:
            return self.after_capacity()
        if ending is Ending.SPOT_WAIT:
            self.spot, self.explanation = False, "The next attempt is on demand."
            return 0.0
        if ending is Ending.INTERNAL and internal_errors < self.pacing.internal_attempts:
            self.explanation = f"Attempt {internal_errors + 1} of {self.pacing.internal_attempts} follows."
            return self._backoff(_FIRST_RETRY, _LONGEST_RETRY, max(1, internal_errors))
        return None

    def after_capacity(self) -> float | None:
        """Chooses the next type. After the last one, waits and starts again with the first."""
        index = self.types.index(self.instance_type)
        if index + 1 < len(self.types):
            self.instance_type = self.types[index + 1]
            self.explanation = f"The next attempt is on {self.instance_type}."
            return 0.0
        self._rounds += 1
        if self._rounds >= self.pacing.capacity_rounds:
            self.explanation = f"No instance type had capacity in {self._rounds} rounds"
            return None
        self.instance_type = self.types[0]
        self.explanation = (
            f"No instance type has capacity: starting again with {self.instance_type} after a pause."
        )
        return _CAPACITY_PAUSE * self.pacing.scale * (0.75 + 0.5 * self.clock.jitter())

    def after_quota(self, message: str) -> float | None:
        """Waits until other jobs end. If the job can never fit into the quota, chooses the next instance type."""
        quota = parse_quota(message)
        if quota and self._counts_instances(quota):
            if quota.limit < self.job.instance_count:
                return self._drop_type(quota)
        elif quota and quota.needed and quota.limit < quota.needed:
            return self._quota_too_small(quota)
        self._quota_waits += 1
        if self.waited > self.pacing.quota_patience:
            self.explanation = f"waited {self.waited:.0f} s for other jobs to end"
            return None
        wait = self._backoff(_FIRST_QUOTA_WAIT, _LONGEST_QUOTA_WAIT, self._quota_waits)
        self.waited += wait
        self.explanation = f"Waiting for other jobs to end: next try in {wait:.0f} s."
        return wait

    def _backoff(self, first: float, longest: float, failures: int) -> float:
        return self.clock.backoff(first * self.pacing.scale, longest * self.pacing.scale, failures)

    def _counts_instances(self, quota: Quota) -> bool:
        return bool(self.instance_type) and (not quota.name or self.instance_type in quota.name)

    def _quota_too_small(self, quota: Quota) -> None:
        self.explanation = f"{_shortage(quota.limit, quota.name, quota.needed)}, or let the job request less"

    def _drop_type(self, quota: Quota) -> float | None:
        dropped, index = self.instance_type, self.types.index(self.instance_type)
        self.types.remove(dropped)
        shortage = _shortage(quota.limit, dropped, self.job.instance_count)
        if not self.types:
            self.explanation = shortage
            return None
        self.instance_type = self.types[min(index, len(self.types) - 1)]
        self.explanation = f"{shortage}; continuing with {self.instance_type}."
        return 0.0


def _shortage(limit: int, what: str, needed: int | None) -> str:
    return f"the quota of {what} is {limit}, {needed} needed: request more in Service Quotas"
