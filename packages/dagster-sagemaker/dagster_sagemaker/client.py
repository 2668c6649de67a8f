"""The two Pipes clients that an asset calls. The supervision of one job belongs in `supervised.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from dagster import (
    PipesClient,
    PipesClientCompletedInvocation,
    PipesContextInjector,
    PipesMessageReader,
)

from dagster_sagemaker.batch import Batch, JobEnds, JobRuns
from dagster_sagemaker.compat import TreatAsResourceParam
from dagster_sagemaker.jobs import Job, ProcessingJob, TrainingJob
from dagster_sagemaker.kinds import PROCESSING, TRAINING, Kind
from dagster_sagemaker.metadata import Prices
from dagster_sagemaker.outcomes import SageMakerJobFailed
from dagster_sagemaker.pacing import Clock, Pacing
from dagster_sagemaker.runs import Context, StepRun
from dagster_sagemaker.settings import ClientSettings

J = TypeVar("J", bound=Job)


class _SageMakerClient(PipesClient, TreatAsResourceParam):
    """The base class of both clients.

    Args:
        artifacts: S3 address for contexts, messages and records, which are below `pipes/<origin run>/<key>/`.
        sagemaker, s3, logs: boto3 clients. Default: created when first needed, for the region of AWS_REGION,
            AWS_DEFAULT_REGION or the profile.
        follow_logs: whether the job's CloudWatch lines are shown in Dagster's compute log while it runs.
        name_prefix: prefix of every job's name.
        studio_url: URL of a job in your Studio domain, with `{region}`, `{kind}` and `{name}`.
        prices: price of an instance hour by instance type, as a mapping or a function. None: no costs are reported.
        job_ends: source of events about ended jobs.
        context_injector, message_reader: replace the default Dagster Pipes transport through S3. Each attempt uses a copy of
            the reader. A job of an earlier process is adopted only if they choose the same addresses again.
        pacing: intervals, limits and retries.
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
        self._settings = ClientSettings(
            kind=self.kind,
            artifacts=artifacts,
            clients={"sagemaker": sagemaker, "s3": s3, "logs": logs},
            follow_logs=follow_logs,
            name_prefix=name_prefix,
            studio_url=studio_url,
            prices=prices,
            has_job_ends=job_ends is not None,
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

        At most `at_once` jobs run at the same time. The client takes the next job from `jobs` when it may start, so it may
        depend on jobs that have ended. None means not ready. After a failure no further job starts, unless `go_on`
        returns true. Running jobs continue and are yielded. When the `with` block ends or `jobs` raises, the jobs that
        are still running are stopped.
        """
        if at_once < 1:
            raise ValueError(f"at_once is {at_once}: at least one job must run")
        run = StepRun(context)
        return JobRuns(Batch(self._settings, run, iter(jobs), go_on, at_once, extras or {}, self._job_ends))


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

        Adopts a running or completed job with the same key of this run or the run that it resumes. Raises
        `SageMakerJobFailed`, with `allow_retries=False` if no retry can help. Cancelling the run stops the job, unless another
        run continues the same work. If this process ends otherwise, the job keeps running.
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

        Adopts a running or completed job with the same key of this run or the run that it resumes. Raises
        `SageMakerJobFailed`, with `allow_retries=False` if no retry can help. Cancelling the run stops the job, unless another
        run continues the same work. If this process ends otherwise, the job keeps running.
        """
        return self._run(context, _one_of(job, create_training_job_params, TrainingJob), extras)


def _one_of(job: J | None, params: Mapping[str, Any] | None, job_class: type[J]) -> J:
    if (job is None) == (params is None):
        word = job_class.word
        raise TypeError(f"run needs either job or create_{word.lower()}_job_params")
    return job_class.of_request(params) if job is None else job  # pyright: ignore[reportArgumentType]
