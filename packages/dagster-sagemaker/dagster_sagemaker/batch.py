"""Runs the jobs of one `run_all` call in one thread. The supervision of one job belongs in `supervised.py`."""

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
from dagster_sagemaker.settings import ClientSettings
from dagster_sagemaker.stopping import stop_all
from dagster_sagemaker.supervised import SupervisedJob

_EVENT_INTERVAL = 1.0
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
    """The jobs of one `run_all` call: a context manager, and an iterator that yields each job after its end.

    Without a `with` block, the jobs are stopped when Python deletes the iterator. It cannot know then whether the loop ended
    by `break` or because the process was interrupted.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch, self._ends = batch, batch.ends()

    def __next__(self) -> JobEnd:
        return next(self._ends)

    def __enter__(self) -> JobRuns:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._batch.mark_delivered()
        # An interrupt is not an Exception: the process is ending, so a retry may adopt the jobs.
        self._batch.leave(abandoned=kind is None or issubclass(kind, Exception))

    def close(self) -> None:
        """Stops the jobs that are still running."""
        self._ends.close()


class Batch:
    """The jobs of one `run_all` call. It has no reference to its iterator, so Python deletes the iterator at once."""

    def __init__(
        self,
        settings: ClientSettings,
        run: StepRun,
        waiting: Iterator[Job | None],
        go_on: Callable[[SageMakerJobFailed], bool],
        at_once: int,
        extras: Mapping[str, Any],
        job_ends: JobEnds | None,
    ) -> None:
        self.settings, self.run, self.waiting = settings, run, waiting
        self.go_on, self.at_once, self.extras, self.job_ends = go_on, at_once, extras, job_ends
        self._events_fail = False
        self.active, self.ended, self.done = (list[SupervisedJob]() for _ in range(3))
        self.may_continue = True
        """Whether `go_on` has returned true for all failures so far."""

    def ends(self) -> Generator[JobEnd]:
        try:
            while self._take_jobs():
                for ended in self._step_due_jobs():
                    self.done.append(ended)
                    yield JobEnd(ended.job, ended.invocation, ended.failure)
            self.mark_delivered()
        except GeneratorExit:
            self.leave(abandoned=True)
            raise
        finally:
            self.leave(abandoned=False)

    def _take_jobs(self) -> bool:
        """Starts jobs while more may run. Returns whether one is running. Stops all if the caller's code fails."""
        try:
            while self.ended:
                job = self.ended.pop(0)
                self.may_continue = self.may_continue and (job.failure is None or self.go_on(job.failure))
            if self.may_continue:
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
                    "`jobs` gave None (not ready), but no job is running whose end could make one ready"
                )
            if not isinstance(job, Job):
                break
            self.active.append(self._supervised(job))

    def _drop_waiting(self) -> None:
        for job in self.active:
            if job.waits_to_start:
                job.close_inbox()
        self.active = [job for job in self.active if not job.waits_to_start]

    def _supervised(self, job: Job) -> SupervisedJob:
        expected = self.settings.kind.job_class
        if not isinstance(job, expected):
            raise TypeError(
                f"this client runs jobs of the class {expected.__name__}, not {type(job).__name__}"
            )
        self.run.claim(job.key or self.run.key)
        return SupervisedJob(self.settings, self.run, job, self.extras, self.at_once > 1)

    def _step_due_jobs(self) -> list[SupervisedJob]:
        """Steps the jobs that are due. Returns those that have ended; if there are none, sleeps until the next is due."""
        clock = self.settings.clock
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
            self._read_events()
            wait = min(job.due for job in self.active) - clock.now()
            clock.sleep(
                max(0.0, min(wait, _EVENT_INTERVAL * self.settings.pacing.scale) if self.job_ends else wait)
            )
        return ended

    def _read_events(self) -> None:
        jobs = {job.name: job for job in self.active}
        try:
            names = self.job_ends.ended(jobs.keys()) if self.job_ends else ()
        except Exception as error:
            if not self._events_fail:
                self.run.context.log.warning(
                    f"[sagemaker] no events for now, using Describe instead: {error}"
                )
            self._events_fail = True
            return
        self._events_fail = False
        for name in names:
            if name in jobs:
                jobs[name].report_end()

    def mark_delivered(self) -> None:
        """Records that the step has these results, unless a failure fails the step: then a retry adopts the completed jobs."""
        if self.may_continue and not any(job.failure for job in self.ended):
            done, self.done = self.done, []
            for job in done:
                job.mark_delivered()

    def leave(self, *, abandoned: bool) -> None:
        """Stops the running jobs if the run is being cancelled or the asset has `abandoned` them, unless another run waits.

        Otherwise the process is ending, and a retry adopts them. Does nothing while Python exits.
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
        log, cancelled = self.run.context.log, self.run.cancelled()
        names = ", ".join(job.name for job in left)
        if (cancelled or abandoned) and self.run.is_continued():
            log.warning(f"[sagemaker] left running, because another run continues the same work: {names}")
        elif cancelled or abandoned:
            why = "the run is being cancelled" if cancelled else "the asset no longer waits for them"
            log.info(f"[sagemaker] {why}: stopping {names}")
            stop_all(left, self.settings.clock, self.settings.pacing, log.warning)
            return
        else:
            log.warning(f"[sagemaker] left running, to be adopted by a retry: {names}")
        for job in left:
            job.leave()
