"""Runs jobs in SageMaker through the client, the jobs of a range in parallel. `settings.py` and `requests.py` configure a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from dagster import AssetExecutionContext, AssetObservation, DagsterEvent

from dagster_sagemaker import (
    Job,
    JobEnd,
    JobEnds,
    Pacing,
    PipesSageMakerProcessingClient,
    PipesSageMakerTrainingClient,
    SageMakerJobFailed,
)
from ruter_dagster.aws.clients import client
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.jobs import EXIT_NO_DATA
from ruter_dagster.resources.date_chunks import Chunk, Chunks, NoData
from ruter_dagster.resources.launcher import JobLauncher
from ruter_dagster.resources.sagemaker.events import QueuedJobEnds
from ruter_dagster.resources.sagemaker.git_branch import find_branch
from ruter_dagster.resources.sagemaker.job_metadata import PREFIX, merge_job_metadata, remove_job_metadata
from ruter_dagster.resources.sagemaker.pools import pool_limit
from ruter_dagster.resources.sagemaker.requests import build_job
from ruter_dagster.resources.sagemaker.settings import JobsSettings, load_jobs_settings

CLIENTS = {"processing": PipesSageMakerProcessingClient, "training": PipesSageMakerTrainingClient}


class SageMakerLauncher(JobLauncher):
    """Runs each job as a Processing or a Training job, as its settings say.

    The jobs of a range run in parallel, as many as the pool of the job allows.
    """

    def __init__(self, settings: Settings, jobs: JobsSettings) -> None:
        self.settings, self.jobs = settings, jobs
        self.days_per_job = settings.days_per_job
        self._clients: dict[tuple[str, bool], Any] = {}

    @classmethod
    def of(cls, settings: Settings) -> SageMakerLauncher:
        """The launcher for these settings. Raises SettingsError with everything that is missing or wrong."""
        other_faults = [*settings.remote_faults(), *settings.broker_faults()]
        return cls(settings, load_jobs_settings(settings, other_faults))

    def pool_of(self, job: str) -> str | None:
        return self.jobs.jobs[job].pool

    def launch_all(self, context: AssetExecutionContext, chunks: Chunks) -> None:
        job = chunks.all[0].parameters.job
        numbers: dict[str, int] = {}

        def due_jobs() -> Iterator[Job | None]:
            for chunk in chunks.due():
                if chunk is None:
                    yield None
                    continue
                key = _key(context, chunk)
                numbers[key] = chunk.number
                unpinned = chunks.all[chunk.number].parameters
                yield build_job(chunk.parameters, self.jobs.jobs[job], self.settings, key, unpinned)

        parallel = self._parallel_jobs(context, chunks)
        metadata: dict[int, dict[str, Any]] = {}
        client = self._client(job)
        with client.run_all(context=context, jobs=due_jobs(), at_once=parallel, go_on=_has_no_data) as ends:
            for end in ends:
                number = numbers[end.job.key]
                metadata[number] = {**_record_end(end, number, chunks), **self._branch}
                if end.failure is not None:
                    _observe_failed_job(context, metadata[number])
                chunks.metadata = merge_job_metadata(
                    [(chunks.all[n].date_range, metadata[n]) for n in sorted(metadata)]
                )

    def _parallel_jobs(self, context: AssetExecutionContext, chunks: Chunks) -> int:
        """The number of jobs that this step may run in parallel."""
        if len(chunks.all) == 1:
            return 1
        job = chunks.all[0].parameters.job
        return self.jobs.max_parallel_jobs(job, pool_limit(context.instance, self.jobs.jobs[job].pool))

    def _client(self, job: str) -> Any:
        job_settings = self.jobs.jobs[job]
        kind = (job_settings.kind, job_settings.follow_logs)
        if kind not in self._clients:
            region = self.settings.aws_region
            self._clients[kind] = CLIENTS[job_settings.kind](
                self.settings.artifacts_location,
                sagemaker=client("sagemaker", region, max_attempts=1),
                s3=client("s3", region, max_attempts=1),
                logs=client("logs", region, max_attempts=1),
                follow_logs=job_settings.follow_logs,
                name_prefix=f"rd-{self.settings.environment}",
                studio_url=self.settings.sagemaker_studio_url,
                prices=self.jobs.prices,
                job_ends=self._job_ends,
                pacing=Pacing().scaled(self.settings.sagemaker_pace),
            )
        return self._clients[kind]

    @cached_property
    def _branch(self) -> dict[str, str]:
        """Metadata with the branch of the code, if it is known. Costs are summed by it."""
        branch = find_branch(self.settings)
        return {f"{PREFIX}branch": branch} if branch else {}

    @cached_property
    def _job_ends(self) -> JobEnds | None:
        return QueuedJobEnds.of(self.settings, in_run_worker=True)


def _key(context: AssetExecutionContext, chunk: Chunk) -> str:
    """Identifies the job within its run: the asset and the dates."""
    has_partitions = context.has_partition_key or context.has_partition_key_range
    dates = chunk.dates or (context.partition_keys if has_partitions else [])
    date_range = dates[0] if len(dates) == 1 else f"{dates[0]}...{dates[-1]}" if dates else ""
    return "/".join(part for part in (context.asset_key.to_user_string(), date_range) if part)


def _record_end(end: JobEnd, number: int, chunks: Chunks) -> dict[str, Any]:
    """Records in `chunks` how a job ended. Returns the metadata of the job."""
    failure = end.failure
    if failure is not None:
        chunks.add_failure(number, _no_data(failure) if _has_no_data(failure) else failure)
        return dict(failure.metadata)
    assert end.invocation
    events = end.invocation.get_results(implicit_materializations=False)
    chunks.add_events(number, remove_job_metadata(events))
    return dict(end.invocation.metadata)


def _observe_failed_job(context: AssetExecutionContext, metadata: Mapping[str, Any]) -> None:
    """Records the metadata of a failed job, with its cost, as an observation of the asset.

    A failed job has no materialisation, and Dagster records no metadata of an attempt that is retried.
    """
    observation = AssetObservation(
        context.asset_key,
        description="A job failed",
        partition=context.partition_key if context.has_partition_key else None,
        metadata={name: value for name, value in metadata.items() if name.startswith(PREFIX)},
    )
    DagsterEvent.asset_observation(context.get_step_execution_context(), observation)


def _has_no_data(failure: SageMakerJobFailed) -> bool:
    return failure.exit_code == EXIT_NO_DATA


def _no_data(failure: SageMakerJobFailed) -> NoData:
    return NoData(failure.description, metadata=failure.metadata, allow_retries=False)
