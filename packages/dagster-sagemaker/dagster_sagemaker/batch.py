"""The jobs of one call of `run_all`, side by side in one thread. The supervision of one job belongs in `supervised.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dagster import PipesClientCompletedInvocation

from dagster_sagemaker.compat import capture_interrupts
from dagster_sagemaker.jobs import Job
from dagster_sagemaker.outcomes import SageMakerJobFailed
from dagster_sagemaker.runs import StepRun
from dagster_sagemaker.stopping import stop_all
from dagster_sagemaker.supervised import SupervisedJob
from dagster_sagemaker.tools import Tools

_EVENTS = 1.0
"""Seconds between two reads of events."""
_NO_MORE = object()


class JobEnds(Protocol):
    """A source of events about ended jobs, for instance EventBridge through SQS. An event only triggers a Describe call."""

    def ended(self, names: Collection[str]) -> Collection[str]:
        """The jobs of `names` whose event has arrived since the last call. Returns at once."""
        ...


@dataclass(frozen=True)
class JobEnd:
    """One ended job of `run_all`: its invocation, or the failure that `run` would raise."""

    job: Job
    invocation: PipesClientCompletedInvocation | None = None
    failure: SageMakerJobFailed | None = None


class JobRuns(Iterator[JobEnd]):
    """The jobs of one call of `run_all`: an iterator that gives each one when it has ended, and a context manager.

    Without a `with` block the jobs are stopped when Python deletes the iterator. It cannot tell then whether the caller's
    loop was left by `break` or because the process is being ended.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch, self._ends = batch, batch.ends()

    def __next__(self) -> JobEnd:
        return next(self._ends)

    def __enter__(self) -> JobRuns:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # An interrupt is no Exception: the process is being ended, so a retry may adopt the jobs.
        self._batch.leave(abandoned=kind is None or issubclass(kind, Exception))

    def close(self) -> None:
        """Stops the jobs that still run."""
        self._ends.close()


class Batch:
    """The jobs of one call of `run_all`. It does not refer to its iterator, so Python deletes that at once."""

    def __init__(
        self,
        tools: Tools,
        run: StepRun,
        waiting: Iterator[Job | None],
        go_on: Callable[[SageMakerJobFailed], bool],
        at_once: int,
        extras: Mapping[str, Any],
        job_ends: JobEnds | None,
    ) -> None:
        self.tools, self.run, self.waiting = tools, run, waiting
        self.go_on, self.at_once, self.extras, self.job_ends = go_on, at_once, extras, job_ends
        self._events_fail = False
        self.active, self.ended, self.done = (list[SupervisedJob]() for _ in range(3))
        self.borne = True
        """Whether `go_on` was true for all failures so far."""

    def ends(self) -> Generator[JobEnd]:
        try:
            while self._fill():
                for ended in self._turn():
                    yield JobEnd(ended.job, ended.invocation, ended.failure)
            self._mark_delivered()
        except GeneratorExit:
            self.leave(abandoned=True)
            raise
        finally:
            self.leave(abandoned=False)

    def _fill(self) -> bool:
        """Takes jobs as long as more may run. Returns whether one is running. Stops all if the caller's own code fails."""
        try:
            while self.ended:
                job = self.ended.pop(0)
                self.borne = self.borne and (job.failure is None or self.go_on(job.failure))
                self.done.append(job)
            if self.borne:
                self._start_more()
            else:
                self._drop_waiting()
        except Exception:
            self.leave(abandoned=True)
            raise
        return bool(self.active)

    def _start_more(self) -> None:
        while len(self.active) < self.at_once:
            job = next(self.waiting, _NO_MORE)
            if job is None and not self.active:
                raise ValueError(
                    "jobs gave None (not ready) while no job runs whose end could make one ready"
                )
            if not isinstance(job, Job):
                break
            self.active.append(self._supervised(job))

    def _drop_waiting(self) -> None:
        """After a failure: jobs that were not created yet are not created any more."""
        for job in self.active:
            if job.waits_to_start:
                job.close_inbox()
        self.active = [job for job in self.active if not job.waits_to_start]

    def _supervised(self, job: Job) -> SupervisedJob:
        expected = self.tools.kind.job_class
        if not isinstance(job, expected):
            raise TypeError(
                f"this client runs jobs of the class {expected.__name__}, not {type(job).__name__}"
            )
        self.run.claim(job.key or self.run.key)
        return SupervisedJob(self.tools, self.run, job, self.extras, self.at_once > 1)

    def _turn(self) -> list[SupervisedJob]:
        """Steps the jobs that are due, or sleeps until the next one is. Returns those that have ended."""
        clock = self.tools.clock
        for job in self.active:
            if job.due <= clock.now():
                job.step()
        ended = [job for job in self.active if job.ended]
        self.active = [job for job in self.active if not job.ended]
        self.ended += ended
        for job in ended:
            if job.failure:
                self.run.release(job.key)
        if not ended:
            self._take_events()
            wait = min(job.due for job in self.active) - clock.now()
            clock.sleep(max(0.0, min(wait, _EVENTS * self.tools.pacing.scale) if self.job_ends else wait))
        return ended

    def _take_events(self) -> None:
        named = {job.name: job for job in self.active}
        try:
            names = self.job_ends.ended(named.keys()) if self.job_ends else ()
        except Exception as error:
            if not self._events_fail:
                self.run.context.log.warning(f"[sagemaker] no events for now, Describe reports ends: {error}")
            self._events_fail = True
            return
        self._events_fail = False
        for name in names:
            if name in named:
                named[name].report_end()

    def _mark_delivered(self) -> None:
        if self.borne:
            for job in self.done:
                job.mark_delivered()

    def leave(self, *, abandoned: bool) -> None:
        """Nobody waits for the jobs that still run: they are stopped if the run is being cancelled, or `abandoned` by its asset.

        Else the process is being ended, and a retry adopts them. As Python exits, nothing can be called any more.
        """
        active, self.active = self.active, []
        if not active or sys.is_finalizing():
            return
        with capture_interrupts():
            left = [job for job in active if job.may_exist]
            if left:
                self._stop_or_leave(left, abandoned)
            for job in active:
                job.close_inbox()

    def _stop_or_leave(self, left: list[SupervisedJob], abandoned: bool) -> None:
        names, log, cancelled = (
            ", ".join(job.name for job in left),
            self.run.context.log,
            self.run.cancelled(),
        )
        if cancelled and self.run.is_continued():
            log.warning(f"[sagemaker] left running: another run goes on with the same work: {names}")
        elif cancelled or abandoned:
            why = "the run is being cancelled" if cancelled else "the asset waits for them no longer"
            log.info(f"[sagemaker] {why}: stopping {names}")
            stop_all(left, self.tools.clock, self.tools.pacing, log.warning)
            return
        else:
            log.warning(f"[sagemaker] left running, to be adopted by a retry: {names}")
        for job in left:
            job.leave()
