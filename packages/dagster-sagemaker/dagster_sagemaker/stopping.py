"""Stops jobs, one or several, and reports the result."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol

from dagster_sagemaker.calls import Calls, NotFound, Refused
from dagster_sagemaker.kinds import PROCESSING, TRAINING, Kind
from dagster_sagemaker.outcomes import is_over
from dagster_sagemaker.pacing import Clock, Pacing

_PAUSE = 0.25
"""Seconds after a failed Stop. Short, because a worker that receives SIGTERM has only a few seconds."""


class StopResult(Enum):
    STOPPED = "stopped"
    """SageMaker has accepted the request."""
    OVER = "over"
    """The job has ended, or is being stopped already."""
    UNKNOWN = "unknown"
    """SageMaker does not know the job: it was never created, or not yet."""


def stop_job(
    calls: Calls, sagemaker: Any, name: str, kinds: Sequence[Kind] = (PROCESSING, TRAINING)
) -> StopResult:
    """Stops the job of this name and the first kind that exists. Raises `Transient`, or `Refused` if it still runs."""
    refused: Refused | None = None
    for kind in kinds:
        try:
            calls(kind.stop(sagemaker), **kind.name_parameter(name))
            return StopResult.STOPPED
        except NotFound:
            continue
        except Refused as refusal:
            if is_over(refusal):
                return StopResult.OVER
            # A role that may not stop one kind gets AccessDenied even if no such job exists.
            refused = refused or refusal
    if refused:
        raise refused
    return StopResult.UNKNOWN


class Stoppable(Protocol):
    """A job that a process waits for."""

    @property
    def name(self) -> str: ...

    def stop(self) -> bool:
        """Tries once. Returns False if another try is needed."""
        ...


def stop_all(jobs: Sequence[Stoppable], clock: Clock, pacing: Pacing, warn: Callable[[str], None]) -> None:
    """Stops jobs in turn. Tries each at least once. Gives up when no Stop succeeded for `stop_patience` seconds."""
    waiting, tries, progress = deque(jobs), 0, clock.now()
    while waiting:
        job, tries = waiting.popleft(), tries + 1
        if _is_stopped(job, warn):
            progress = clock.now()
            continue
        waiting.append(job)
        if tries >= len(jobs) and clock.now() - progress >= pacing.stop_patience:
            names = ", ".join(job.name for job in waiting)
            warn(
                f"[sagemaker] could not stop these jobs; they may still run, at a cost. Check the console: {names}"
            )
            return
        clock.sleep(_PAUSE * pacing.scale)


def _is_stopped(job: Stoppable, warn: Callable[[str], None]) -> bool:
    try:
        return job.stop()
    except Exception as error:
        # The other jobs must still be stopped.
        warn(f"[sagemaker] stopping {job.name} failed: {type(error).__name__}: {error}")
        return False
