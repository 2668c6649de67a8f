"""How a job ended, and what follows: pure functions of Describe's answers and of refused calls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from dagster import Failure

from dagster_sagemaker.calls import Refused

OUT_OF_MEMORY = 137
"""Exit code of a container that was killed (128 + SIGKILL), nearly always for want of memory."""
_LAST_LINE = re.compile(r"(?:^|\n)exit code: (-?\d+)(?=(?:, exit code: -?\d+)?\s*$)", re.I)
"""What a container writes as the last line of its message file. SageMaker may append its own words to it."""
_AROUND = re.compile(r"^AlgorithmError:\s*|,?\s*exit code: -?\d+\s*$", re.I)
"""What SageMaker writes around a container's own words."""
_NO_MEMORY = re.compile(r"instance type with more memory|Out of Memory\. Please use a larger instance", re.I)
"""What SageMaker itself says of such a container where it noticed, as a ClientError and without an exit code."""


class Ending(Enum):
    """The kinds of a job's end. The kind alone decides what follows."""

    COMPLETED = "completed"
    CAPACITY = "capacity"
    QUOTA = "quota"
    INTERNAL = "internal"
    ALGORITHM = "algorithm"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    SPOT_WAIT = "spot wait"
    STOPPED = "stopped"
    SILENT = "silent"
    UNKNOWN = "unknown"


class SageMakerJobFailed(Failure):
    """A job that failed for this step.

    `ending` is the kind of its end. `exit_code` is that of the container, if SageMaker reports it. Both are in the
    failure's metadata too, beside the job's ARN and links.
    """

    def __init__(
        self,
        description: str,
        *,
        ending: Ending,
        exit_code: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        allow_retries: bool = False,
    ) -> None:
        self.ending = ending
        self.exit_code = exit_code
        told = {"ending": ending.value} | ({"exit_code": exit_code} if exit_code is not None else {})
        super().__init__(description, metadata={**told, **(metadata or {})}, allow_retries=allow_retries)


@dataclass(frozen=True)
class Outcome:
    """One ended job: the kind of its end, SageMaker's words or the job's own, and the container's exit code."""

    ending: Ending
    reason: str = ""
    exit_code: int | None = None
    max_runtime_seconds: int | None = None
    """The limit that the job exceeded. None for every other end."""


def outcome(described: Mapping[str, Any]) -> Outcome | None:
    """What an answer of `Describe…Job` says of the job's end. None while the job lives."""
    status = described.get("TrainingJobStatus") or described.get("ProcessingJobStatus")
    failure, exit_message = described.get("FailureReason", ""), described.get("ExitMessage", "")
    words = "; ".join(_LAST_LINE.sub("", text) for text in (failure, exit_message) if text)
    if status == "Completed":
        return Outcome(Ending.COMPLETED, exit_message)
    if status == "Failed":
        return _failed(described, failure, exit_message, words)
    return _stopped(described, words) if status == "Stopped" else None


def _failed(described: Mapping[str, Any], failure: str, exit_message: str, words: str) -> Outcome:
    # First, because the job's own words follow. They may mention a capacity or a timeout of something else.
    if failure.startswith("AlgorithmError"):
        # Processing keeps the job's own words in ExitMessage, Training in the reason itself.
        own = _own_words(exit_message) or _own_words(failure)
        return Outcome(Ending.ALGORITHM, own, _exit_code(failure, exit_message))
    if failure.startswith("CapacityError") or "InsufficientInstanceCapacity" in failure:
        return Outcome(Ending.CAPACITY, words)
    if failure.startswith(("InternalServerError", "InternalError")):
        return Outcome(Ending.INTERNAL, words)
    if "MaxRuntimeExceeded" in failure:
        return Outcome(Ending.TIMEOUT, words, max_runtime_seconds=_max_runtime(described))
    if _NO_MEMORY.search(failure):
        return Outcome(Ending.ALGORITHM, words, OUT_OF_MEMORY)
    if failure.startswith("ClientError"):
        return Outcome(Ending.REFUSED, words)
    return Outcome(Ending.UNKNOWN, words or "SageMaker gives no reason", _exit_code(failure, exit_message))


def _stopped(described: Mapping[str, Any], words: str) -> Outcome:
    secondary, failure = described.get("SecondaryStatus", ""), described.get("FailureReason", "")
    if secondary == "MaxWaitTimeExceeded" or "MaxWaitTimeExceeded" in failure:
        return Outcome(Ending.SPOT_WAIT, words)
    if _pended_too_long(described):
        return Outcome(Ending.CAPACITY, "No instance came within MaxPendingTimeInSeconds")
    ran, limit = run_seconds(described), _max_runtime(described)
    # A Processing job that exceeded its limit is only `Stopped`. Its run time tells it from one that was stopped.
    late = ran is not None and ran > limit - 1 and "TrainingJobStatus" not in described
    if secondary == "MaxRuntimeExceeded" or "MaxRuntimeExceeded" in failure or late:
        return Outcome(Ending.TIMEOUT, words, max_runtime_seconds=limit)
    return Outcome(Ending.STOPPED, words)


def _pended_too_long(described: Mapping[str, Any]) -> bool:
    limit = described.get("StoppingCondition", {}).get("MaxPendingTimeInSeconds")
    created, end = described.get("CreationTime"), described.get("TrainingEndTime")
    if limit is None or not created or not end or described.get("TrainingStartTime"):
        return False
    return (end - created).total_seconds() >= limit


def _max_runtime(described: Mapping[str, Any]) -> int:
    """The limit that SageMaker enforces, which the request may have set. SageMaker's default is a day."""
    return described.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", 24 * 3600)


def _exit_code(failure: str, exit_message: str) -> int | None:
    """SageMaker ends its reason with the code. Older stacks write none: then the last line of the container's text has it."""
    found = re.search(r"exit code: (-?\d+)\s*$", failure, re.I) or _LAST_LINE.search(exit_message)
    return int(found[1]) if found else None


def _own_words(text: str) -> str:
    """A container's own words, without SageMaker's around them and without the container's last line; empty if it wrote none."""
    return _LAST_LINE.sub("", _AROUND.sub("", text)).strip()


def seconds_over(described: Mapping[str, Any]) -> float:
    """How long the job had been over as SageMaker gave this answer, by SageMaker's own clock; 0 where that is not told."""
    end: datetime | None = described.get("TrainingEndTime") or described.get("ProcessingEndTime")
    date = described.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if end is None or not date:
        return 0.0
    return max(0.0, (parsedate_to_datetime(date) - end).total_seconds())


def run_seconds(described: Mapping[str, Any]) -> float | None:
    """Seconds from the start of the instances' work to its end, where both are known."""
    start: datetime | None = described.get("TrainingStartTime") or described.get("ProcessingStartTime")
    end: datetime | None = described.get("TrainingEndTime") or described.get("ProcessingEndTime")
    return (end - start).total_seconds() if start and end else None


def is_over(refused_stop: Refused) -> bool:
    """Whether SageMaker has refused to stop a job because it has ended meanwhile, or is being stopped."""
    return bool(re.search(r"\bstatus\b.*\b(Completed|Failed|Stopped|Stopping)\b", refused_stop.message))


@dataclass(frozen=True)
class Quota:
    """What a `ResourceLimitExceeded` tells of the quota that a job would exceed."""

    name: str
    """In AWS's words, "ml.m5.large for processing job usage" say; empty where they cannot be read."""
    limit: int
    wanted: int | None
    """How much this job adds to what is used, in the quota's unit; None where that cannot be read."""


def quota_of(message: str) -> Quota | None:
    """The quota that SageMaker's words name, in either of its two wordings; None where its text is another."""
    limit = re.search(r"(?:\bis|service-limit of) (\d+)\b", message)
    if limit is None:
        return None
    name, wanted = re.search(r"'([^']+)'", message), re.search(r"request delta of (\d+)\b", message)
    return Quota(name[1] if name else "", int(limit[1]), int(wanted[1]) if wanted else None)


def explained(name: str, ended: Outcome, instance_type: str) -> str:
    """What a person reads of a failed job: what happened, in SageMaker's or the job's words, and what to do."""
    said = ended.reason or "it has given no reason. Its last log lines are in the compute log of the step"
    if ended.exit_code == OUT_OF_MEMORY:
        return (
            f"Job {name} ran out of memory on {instance_type} (exit code 137, the container was killed): "
            f"choose a larger instance type or give it less at once. {said}"
        )
    return {
        Ending.ALGORITHM: f"Job {name} failed{_code(ended)}: {said}",
        Ending.REFUSED: f"SageMaker could not run job {name}: {said}",
        Ending.TIMEOUT: f"Job {name} was ended after max_runtime_seconds={ended.max_runtime_seconds}. {ended.reason}".strip(),
        Ending.STOPPED: f"Job {name} was stopped, and not by this run: by a person or a program (CloudTrail names it, "
        f"event Stop…Job). {ended.reason}".strip(),
        Ending.INTERNAL: f"Job {name}, the last of several attempts, failed inside SageMaker: {said}",
        Ending.CAPACITY: f"Job {name} found no capacity on any of its instance types, several times over: {said}",
    }.get(ended.ending, f"Job {name} ended ({ended.ending.value}): {said}")


def _code(ended: Outcome) -> str:
    return "" if ended.exit_code is None else f" with exit code {ended.exit_code}"
