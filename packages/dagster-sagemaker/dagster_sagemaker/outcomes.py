"""How a job ended: pure functions of Describe's answers and of refused calls."""

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
"""Exit code of a container that was killed (128 + SIGKILL), nearly always because memory ran out."""
_EXIT_CODE_LINE = re.compile(r"(?:^|\n)exit code: (-?\d+)(?=(?:, exit code: -?\d+)?\s*$)", re.I)
"""The last line of the container's message file. SageMaker may append its own text."""
_SAGEMAKER_TEXT = re.compile(r"^AlgorithmError:\s*|,?\s*exit code: -?\d+\s*$", re.I)
"""The text that SageMaker adds before and after the container's message."""
_NO_MEMORY = re.compile(r"instance type with more memory|Out of Memory\. Please use a larger instance", re.I)
"""SageMaker's message for such a container if it noticed: a ClientError without an exit code."""


class Ending(Enum):
    """How a job ended. This alone decides what the client does next."""

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

    `exit_code` is that of the container, if SageMaker reports it. The metadata contains `ending`, `exit_code`, the job's ARN
    and links.
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
        entries = {"ending": ending.value} | ({"exit_code": exit_code} if exit_code is not None else {})
        super().__init__(description, metadata={**entries, **(metadata or {})}, allow_retries=allow_retries)


@dataclass(frozen=True)
class Outcome:
    """The end of a job, the reason from SageMaker or from the job itself, and the container's exit code."""

    ending: Ending
    reason: str = ""
    exit_code: int | None = None
    max_runtime_seconds: int | None = None
    """The limit that the job exceeded, else None."""


def outcome(described: Mapping[str, Any]) -> Outcome | None:
    """The end of the job according to Describe's answer. None while the job runs."""
    status = described.get("TrainingJobStatus") or described.get("ProcessingJobStatus")
    failure, exit_message = described.get("FailureReason", ""), described.get("ExitMessage", "")
    reason = "; ".join(_EXIT_CODE_LINE.sub("", text) for text in (failure, exit_message) if text)
    if status == "Completed":
        return Outcome(Ending.COMPLETED, exit_message)
    if status == "Failed":
        return _failed(described, failure, exit_message, reason)
    return _stopped(described, reason) if status == "Stopped" else None


def _failed(described: Mapping[str, Any], failure: str, exit_message: str, reason: str) -> Outcome:
    # First, because the job's own message follows, which may contain the names of other errors.
    if failure.startswith("AlgorithmError"):
        # Processing has the job's message in ExitMessage, Training in FailureReason.
        text = _container_text(exit_message) or _container_text(failure)
        return Outcome(Ending.ALGORITHM, text, _exit_code(failure, exit_message))
    if failure.startswith("CapacityError") or "InsufficientInstanceCapacity" in failure:
        return Outcome(Ending.CAPACITY, reason)
    if failure.startswith(("InternalServerError", "InternalError")):
        return Outcome(Ending.INTERNAL, reason)
    if "MaxRuntimeExceeded" in failure:
        return Outcome(Ending.TIMEOUT, reason, max_runtime_seconds=_max_runtime(described))
    if _NO_MEMORY.search(failure):
        return Outcome(Ending.ALGORITHM, reason, OUT_OF_MEMORY)
    if failure.startswith("ClientError"):
        return Outcome(Ending.REFUSED, reason)
    return Outcome(Ending.UNKNOWN, reason or "SageMaker gives no reason", _exit_code(failure, exit_message))


def _stopped(described: Mapping[str, Any], reason: str) -> Outcome:
    secondary, failure = described.get("SecondaryStatus", ""), described.get("FailureReason", "")
    if secondary == "MaxWaitTimeExceeded" or "MaxWaitTimeExceeded" in failure:
        return Outcome(Ending.SPOT_WAIT, reason)
    if _pended_too_long(described):
        return Outcome(Ending.CAPACITY, "No instance was available within MaxPendingTimeInSeconds")
    ran, limit = run_seconds(described), _max_runtime(described)
    # SageMaker reports a Processing job that exceeded its limit as `Stopped`. Only the run time shows why.
    exceeded = ran is not None and ran > limit - 1 and "TrainingJobStatus" not in described
    if secondary == "MaxRuntimeExceeded" or "MaxRuntimeExceeded" in failure or exceeded:
        return Outcome(Ending.TIMEOUT, reason, max_runtime_seconds=limit)
    return Outcome(Ending.STOPPED, reason)


def _pended_too_long(described: Mapping[str, Any]) -> bool:
    limit = described.get("StoppingCondition", {}).get("MaxPendingTimeInSeconds")
    created, end = described.get("CreationTime"), described.get("TrainingEndTime")
    if limit is None or not created or not end or described.get("TrainingStartTime"):
        return False
    return (end - created).total_seconds() >= limit


def _max_runtime(described: Mapping[str, Any]) -> int:
    """The limit that SageMaker enforces. The default is one day."""
    return described.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", 24 * 3600)


def _exit_code(failure: str, exit_message: str) -> int | None:
    """The code at the end of SageMaker's reason, else in the last line of the container's message."""
    match = re.search(r"exit code: (-?\d+)\s*$", failure, re.I) or _EXIT_CODE_LINE.search(exit_message)
    return int(match[1]) if match else None


def _container_text(text: str) -> str:
    """The container's message without SageMaker's text and the exit code. Empty if the container wrote none."""
    return _EXIT_CODE_LINE.sub("", _SAGEMAKER_TEXT.sub("", text)).strip()


def seconds_over(described: Mapping[str, Any]) -> float:
    """Seconds between the job's end and this answer, by SageMaker's clock. 0 if unknown."""
    end: datetime | None = described.get("TrainingEndTime") or described.get("ProcessingEndTime")
    date = described.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if end is None or not date:
        return 0.0
    return max(0.0, (parsedate_to_datetime(date) - end).total_seconds())


def run_seconds(described: Mapping[str, Any]) -> float | None:
    """Seconds from start to end. None if either is unknown."""
    start: datetime | None = described.get("TrainingStartTime") or described.get("ProcessingStartTime")
    end: datetime | None = described.get("TrainingEndTime") or described.get("ProcessingEndTime")
    return (end - start).total_seconds() if start and end else None


def is_over(refused_stop: Refused) -> bool:
    """Whether SageMaker refused to stop a job because it has ended or is stopping."""
    return bool(re.search(r"\bstatus\b.*\b(Completed|Failed|Stopped|Stopping)\b", refused_stop.message))


@dataclass(frozen=True)
class Quota:
    """The quota that a job would exceed, from the message of `ResourceLimitExceeded`."""

    name: str
    """AWS's name, for instance "ml.m5.large for processing job usage". Empty if the message has none."""
    limit: int
    needed: int | None
    """How much the job needs, in the quota's unit. None if the message does not state it."""


def parse_quota(message: str) -> Quota | None:
    """The quota in either of SageMaker's two message formats. None if the format is unknown."""
    limit = re.search(r"(?:\bis|service-limit of) (\d+)\b", message)
    if limit is None:
        return None
    name, needed = re.search(r"'([^']+)'", message), re.search(r"request delta of (\d+)\b", message)
    return Quota(name[1] if name else "", int(limit[1]), int(needed[1]) if needed else None)


def explain(name: str, ended: Outcome, instance_type: str) -> str:
    """The message of a failed job: what happened, the reason, and what to do."""
    reason = ended.reason or "it gave no reason. Its last log lines are in the step's compute log"
    if ended.exit_code == OUT_OF_MEMORY:
        return (
            f"Job {name} ran out of memory on {instance_type} (exit code 137, the container was killed): "
            f"choose a larger instance type or process less data at once. {reason}"
        )
    return {
        Ending.ALGORITHM: f"Job {name} failed{_code(ended)}: {reason}",
        Ending.REFUSED: f"SageMaker could not run job {name}: {reason}",
        Ending.TIMEOUT: f"Job {name} exceeded max_runtime_seconds={ended.max_runtime_seconds}. {ended.reason}".strip(),
        Ending.STOPPED: f"Job {name} was stopped, but not by this run. The event Stop…Job in CloudTrail names who "
        f"stopped it. {ended.reason}".strip(),
        Ending.INTERNAL: f"Job {name}, the last of several attempts, failed with an internal error of SageMaker: {reason}",
        Ending.CAPACITY: f"Job {name} found no capacity for any of its instance types in several rounds: {reason}",
    }.get(ended.ending, f"Job {name} ended ({ended.ending.value}): {reason}")


def _code(ended: Outcome) -> str:
    return "" if ended.exit_code is None else f" with exit code {ended.exit_code}"
