"""The two Pipes clients that an asset calls. The supervision of one job belongs in `supervised.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

from dagster import (
    PipesClient,
    PipesClientCompletedInvocation,
    PipesContextInjector,
    PipesMessageReader,
)

from dagster_sagemaker.compat import TreatAsResourceParam, capture_interrupts
from dagster_sagemaker.jobs import Job, ProcessingJob, TrainingJob
from dagster_sagemaker.kinds import PROCESSING, TRAINING, Kind
from dagster_sagemaker.metadata import Prices
from dagster_sagemaker.outcomes import SageMakerJobFailed
from dagster_sagemaker.pacing import Clock, Pacing
from dagster_sagemaker.runs import Context, StepRun
from dagster_sagemaker.stopping import stop_all
from dagster_sagemaker.supervised import SupervisedJob
from dagster_sagemaker.tools import Tools

J = TypeVar("J", bound=Job)
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


class _SageMakerClient(PipesClient, TreatAsResourceParam):
    """The common part of both clients.

    Args:
        artifacts: S3 address for contexts, messages and records, which are at `pipes/<origin run>/<key>/`.
        sagemaker, s3, logs: boto3 clients. Default: created when first needed, for the region of AWS_REGION,
            AWS_DEFAULT_REGION or the profile.
        follow_logs: whether the job's CloudWatch lines are shown in Dagster's compute log while it runs.
        name_prefix: prefix of every job's name.
        studio_url: address of a job in your Studio domain, with `{region}`, `{kind}` and `{name}`.
        prices: price of an instance hour by instance type, as a mapping or a function. None leaves costs out.
        job_ends: source of events about ended jobs.
        context_injector, message_reader: other ways of Dagster Pipes than through S3. Each attempt uses a copy of the reader.
            A job of an earlier process is adopted only if they choose the same places again.
        pacing: all intervals.
        clock: source of time, for tests.
    """

    kind: ClassVar[Kind]

    def __init__(
        self,
        artifacts: str,
        *,
        sagemaker: Any = None,
        s3: Any = None,
        logs: Any = None,
        follow_logs: bool = True,
        name_prefix: str = "",
        studio_url: str = "",
        prices: Prices | None = None,
        job_ends: JobEnds | None = None,
        pacing: Pacing | None = None,
        clock: Clock | None = None,
        context_injector: PipesContextInjector | None = None,
        message_reader: PipesMessageReader | None = None,
    ) -> None:
        self._job_ends = job_ends
        self._tools = Tools(
            kind=self.kind,
            artifacts=artifacts,
            clients={"sagemaker": sagemaker, "s3": s3, "logs": logs},
            follow_logs=follow_logs,
            name_prefix=name_prefix,
            studio_url=studio_url,
            prices=prices,
            pushed=job_ends is not None,
            pacing=pacing or Pacing(),
            clock=clock or Clock(),
            context_injector=context_injector,
            message_reader=message_reader,
        )

    def _run(
        self, context: Context, job: Job, extras: Mapping[str, Any] | None
    ) -> PipesClientCompletedInvocation:
        with self.run_all(context=context, jobs=[job], extras=extras) as ends:
            (end,) = ends
        if end.failure:
            raise end.failure
        assert end.invocation
        return end.invocation

    def run_all(
        self,
        *,
        context: Context,
        jobs: Iterable[Job | None],
        at_once: int = 1,
        extras: Mapping[str, Any] | None = None,
        go_on: Callable[[SageMakerJobFailed], bool] = lambda failure: False,
    ) -> JobRuns:
        """Runs several jobs side by side in this thread: `with client.run_all(…) as ends: for end in ends: …`.

        The next job is taken from `jobs` when it may start, so it may depend on jobs that have ended. None means that it is
        not ready. After a failure no further job starts, unless `go_on` returns true. Running jobs are waited for and
        yielded. At the end of the `with` block, or of `jobs` by an error, the jobs that still run are stopped.
        """
        if at_once < 1:
            raise ValueError(f"at_once is {at_once}: at least one job must run")
        run = StepRun(context)
        return JobRuns(_Batch(self._tools, run, iter(jobs), go_on, at_once, extras or {}, self._job_ends))


class JobRuns(Iterator[JobEnd]):
    """The jobs of one call of `run_all`: an iterator that gives each one when it has ended, and a context manager.

    Without a `with` block the jobs are stopped when Python deletes the iterator. It cannot tell then whether the caller's
    loop was left by `break` or because the process is being ended.
    """

    def __init__(self, batch: _Batch) -> None:
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


class _Batch:
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


class PipesSageMakerProcessingClient(_SageMakerClient):
    """A Pipes client that runs `ProcessingJob`s as SageMaker Processing jobs."""

    kind = PROCESSING

    def run(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *,
        context: Context,
        job: ProcessingJob | None = None,
        create_processing_job_params: Mapping[str, Any] | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> PipesClientCompletedInvocation:
        """Runs one job to its end: either a job object, or boto3's parameters of CreateProcessingJob without the job's name.

        Raises `SageMakerJobFailed`, with `allow_retries=False` if no retry can help. If this run, or the run that it resumes,
        has launched a job with the same key, a running or completed job is adopted. Cancelling the run stops the job, unless
        another run continues the same work. If this process ends otherwise, the job keeps running.
        """
        return self._run(context, _one_of(job, create_processing_job_params, ProcessingJob), extras)


class PipesSageMakerTrainingClient(_SageMakerClient):
    """A Pipes client that runs `TrainingJob`s as SageMaker Training jobs."""

    kind = TRAINING

    def run(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *,
        context: Context,
        job: TrainingJob | None = None,
        create_training_job_params: Mapping[str, Any] | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> PipesClientCompletedInvocation:
        """Runs one job to its end: either a job object, or boto3's parameters of CreateTrainingJob without the job's name.

        Raises `SageMakerJobFailed`, with `allow_retries=False` if no retry can help. If this run, or the run that it resumes,
        has launched a job with the same key, a running or completed job is adopted. Cancelling the run stops the job, unless
        another run continues the same work. If this process ends otherwise, the job keeps running.
        """
        return self._run(context, _one_of(job, create_training_job_params, TrainingJob), extras)


def _one_of(job: J | None, params: Mapping[str, Any] | None, job_class: type[J]) -> J:
    if (job is None) == (params is None):
        word = job_class.word
        raise TypeError(f"run needs either job or create_{word.lower()}_job_params")
    return job_class.of_request(params) if job is None else job  # pyright: ignore[reportArgumentType]
