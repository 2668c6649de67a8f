"""The two Pipes clients that an asset calls. The supervision of one job belongs in `supervised.py`."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from dagster import AssetExecutionContext, OpExecutionContext, PipesClient, PipesClientCompletedInvocation

from dagster_sagemaker.cancelled import is_continued
from dagster_sagemaker.compat import TreatAsResourceParam, capture_interrupts
from dagster_sagemaker.jobs import Job
from dagster_sagemaker.kinds import PROCESSING, TRAINING, Kind
from dagster_sagemaker.metadata import Prices
from dagster_sagemaker.outcomes import Ending, SageMakerJobFailed
from dagster_sagemaker.pacing import Clock, Pacing
from dagster_sagemaker.runs import StepRun
from dagster_sagemaker.supervised import SupervisedJob
from dagster_sagemaker.tools import Tools

_ONE_TRY = Config(connect_timeout=10, read_timeout=60, retries={"total_max_attempts": 1})
"""botocore would wait within a call, for one job of several, and out of sight of the calls that are counted."""


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
    ) -> None:
        self._given = {"sagemaker": sagemaker, "s3": s3, "logs": logs}
        self._follow_logs = follow_logs
        self._artifacts, self._name_prefix, self._studio_url = artifacts, name_prefix, studio_url
        self._prices, self._job_ends = prices, job_ends
        self._pacing, self._clock = pacing or Pacing(), clock or Clock()

    def run(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *,
        context: OpExecutionContext | AssetExecutionContext,
        job: Job,
        extras: Mapping[str, Any] | None = None,
    ) -> PipesClientCompletedInvocation:
        """Runs one job to its end. Raises `SageMakerJobFailed`, with `allow_retries=False` if no retry can help.

        If this run, or the run that it resumes, has launched a job with the same key, a running or completed job is adopted.
        Cancelling the run stops the job, unless another run continues the same work. If this process ends otherwise, the
        job keeps running.
        """
        (end,) = self.run_all(context=context, jobs=[job], extras=extras)
        if end.failure:
            raise end.failure
        assert end.invocation
        return end.invocation

    def run_all(
        self,
        *,
        context: OpExecutionContext | AssetExecutionContext,
        jobs: Iterable[Job | None],
        at_once: int = 1,
        extras: Mapping[str, Any] | None = None,
        go_on: Callable[[SageMakerJobFailed], bool] = lambda failure: False,
    ) -> Iterator[JobEnd]:
        """Runs several jobs side by side in this thread, and yields each one when it ends.

        The next job is taken from `jobs` when it may start, so it may depend on jobs that have ended. None means that it is
        not ready. After a failure no further job starts, unless `go_on` returns true. Running jobs are waited for and
        yielded.
        """
        run = StepRun(context)
        waiting, active, done = iter(jobs), list[SupervisedJob](), list[SupervisedJob]()
        more, borne, keys = True, True, set[str]()
        try:
            while True:
                while more and borne and len(active) < at_once:
                    job = next(waiting, _NO_MORE)
                    if not isinstance(job, Job):
                        more = job is None and bool(active)
                        break
                    active.append(self._supervised(run, job, extras or {}, keys, at_once > 1))
                if not active:
                    break
                for ended in self._turn(active):
                    active.remove(ended)
                    done.append(ended)
                    borne = borne and (ended.failure is None or go_on(ended.failure))
                    yield JobEnd(ended.job, ended.invocation, ended.failure)
            if borne:
                for supervised in done:
                    supervised.mark_delivered()
        finally:
            self._leave(run, active)

    def _supervised(
        self, run: StepRun, job: Job, extras: Mapping[str, Any], keys: set[str], several: bool
    ) -> SupervisedJob:
        if not isinstance(job, self.kind.job_class):
            raise TypeError(
                f"{type(self).__name__} runs {self.kind.job_class.__name__}s, not {type(job).__name__}s"
            )
        supervised = SupervisedJob(self._tools, run, job, extras, several)
        if supervised.key in keys:
            raise ValueError(f"two jobs of one call have the key {supervised.key!r}: give each its own `key`")
        keys.add(supervised.key)
        return supervised

    def _turn(self, active: list[SupervisedJob]) -> list[SupervisedJob]:
        """Steps whoever is due, sleeps until the next one is; those that have ended."""
        for supervised in active:
            if supervised.due <= self._clock.now():
                supervised.step()
        ended = [supervised for supervised in active if supervised.ended]
        if not ended:
            self._take_events(active)
            wait = min(supervised.due for supervised in active) - self._clock.now()
            self._clock.sleep(max(0.0, min(wait, self._pacing.events) if self._job_ends else wait))
        return ended

    def _take_events(self, active: list[SupervisedJob]) -> None:
        if self._job_ends is None:
            return
        named = {supervised.name: supervised for supervised in active}
        try:
            told = self._job_ends.ended(named.keys())
        except Exception as error:
            active[0].run.context.log.warning(f"[sagemaker] no events: {error}")
            return
        for name in told:
            if name in named:
                named[name].pushed()

    def _leave(self, run: StepRun, active: list[SupervisedJob]) -> None:
        """This process goes on no longer: jobs are stopped if the run is being cancelled, else left to be adopted."""
        left = [supervised for supervised in active if supervised.may_exist]
        if not left:
            return
        names = ", ".join(supervised.name for supervised in left)
        with capture_interrupts():
            if not run.cancelled():
                run.context.log.warning(f"[sagemaker] left running, to be adopted by a retry: {names}")
                return
            if _another_goes_on(run):
                run.context.log.warning(
                    f"[sagemaker] left running: another run goes on with the same work: {names}"
                )
                return
            run.context.log.info(f"[sagemaker] the run is being cancelled: stopping {names}")
            self._stop(run, left)

    def _stop(self, run: StepRun, left: list[SupervisedJob]) -> None:
        """One job after the other, as fast as SageMaker takes it; none is given up before it was tried."""
        waiting, tries, progress = deque(left), 0, self._clock.now()
        while waiting:
            supervised, tries = waiting.popleft(), tries + 1
            if supervised.stop():
                progress = self._clock.now()
                continue
            waiting.append(supervised)
            if tries >= len(left) and self._clock.now() - progress >= self._pacing.stop_patience:
                names = ", ".join(supervised.name for supervised in waiting)
                run.context.log.warning(
                    f"[sagemaker] not known to be stopped, so they may run on and cost; see the console: {names}"
                )
                return
            self._clock.sleep(self._pacing.stop_again)

    @cached_property
    def _tools(self) -> Tools:
        return Tools(
            kind=self.kind,
            sagemaker=self._of_aws("sagemaker"),
            s3=self._of_aws("s3"),
            logs=self._of_aws("logs") if self._follow_logs else None,
            artifacts=self._artifacts,
            name_prefix=self._name_prefix,
            studio_url=self._studio_url,
            prices=self._prices,
            pushed=self._job_ends is not None,
            pacing=self._pacing,
            clock=self._clock,
        )

    def _of_aws(self, service: str) -> Any:
        """The boto3 client that was given, else one of the region that the environment or the profile names."""
        if self._given[service]:
            return self._given[service]
        try:
            # boto3 itself reads AWS_DEFAULT_REGION alone; containers of AWS have AWS_REGION.
            session = boto3.DEFAULT_SESSION or boto3.Session()
            chosen = boto3.DEFAULT_SESSION and boto3.DEFAULT_SESSION.region_name
            region = chosen or os.environ.get("AWS_REGION") or None
            return session.client(service, region_name=region, config=_ONE_TRY)
        except BotoCoreError as error:
            raise SageMakerJobFailed(
                f"There is no boto3 client of {service}: {error} Set AWS_REGION (or AWS_DEFAULT_REGION, or the profile's "
                f"region), or give {type(self).__name__} one: {service}=boto3.client({service!r}, region_name=…).",
                ending=Ending.REFUSED,
            ) from error


_NO_MORE = object()


def _another_goes_on(run: StepRun) -> bool:
    try:
        return is_continued(run.context.instance, run.context.dagster_run)
    except Exception as error:
        run.context.log.warning(f"[sagemaker] other runs cannot be read: {error}")
        return False


class PipesSageMakerProcessingClient(_SageMakerClient):
    """A Pipes client that runs `ProcessingJob`s as SageMaker Processing jobs."""

    kind = PROCESSING


class PipesSageMakerTrainingClient(_SageMakerClient):
    """A Pipes client that runs `TrainingJob`s as SageMaker Training jobs."""

    kind = TRAINING
