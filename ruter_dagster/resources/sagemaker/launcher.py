"""Runs jobs in SageMaker through the client, a range's side by side. What a job runs on belongs in settings.py and requests.py."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from dagster import AssetExecutionContext

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
from ruter_dagster.resources.sagemaker.pools import runs_of_pool
from ruter_dagster.resources.sagemaker.reports import of_jobs, without_job
from ruter_dagster.resources.sagemaker.requests import job_of
from ruter_dagster.resources.sagemaker.settings import JobsSettings, load_jobs_settings

CLIENTS = {"processing": PipesSageMakerProcessingClient, "training": PipesSageMakerTrainingClient}


class SageMakerLauncher(JobLauncher):
    """Each job a Processing or a Training job, as its settings say; those of a range side by side, as many as its pool allows."""

    def __init__(self, settings: Settings, jobs: JobsSettings) -> None:
        self.settings, self.jobs = settings, jobs
        self.days_per_job = settings.days_per_job
        self._clients: dict[tuple[str, bool], Any] = {}

    @classmethod
    def of(cls, settings: Settings) -> SageMakerLauncher:
        """Raises SettingsError, before anything runs, with everything that is missing or wrong."""
        others = [*settings.remote_faults(), *settings.broker_faults()]
        return cls(settings, load_jobs_settings(settings, others))

    def pool_of(self, job: str) -> str | None:
        return self.jobs.jobs[job].pool

    def launch_all(self, context: AssetExecutionContext, chunks: Chunks) -> None:
        job = chunks.all[0].parameters.job
        chosen = self.jobs.jobs[job]
        numbers: dict[str, int] = {}

        def due() -> Iterator[Job | None]:
            for chunk in chunks.due():
                if chunk is None:
                    yield None
                    continue
                key = _key(context, chunk)
                numbers[key] = chunk.number
                asked = chunks.all[chunk.number].parameters
                yield job_of(chunk.parameters, chosen, self.settings, key, asked)

        at_once = self._at_once(context, chunks)
        told: dict[int, dict[str, Any]] = {}
        for end in self._client(job).run_all(context=context, jobs=due(), at_once=at_once, go_on=_is_absence):
            number = numbers[end.job.key]
            told[number] = _take(end, number, chunks)
            chunks.metadata = of_jobs([(chunks.all[n].span, told[n]) for n in sorted(told)])

    def _at_once(self, context: AssetExecutionContext, chunks: Chunks) -> int:
        if len(chunks.all) == 1:
            return 1
        job = chunks.all[0].parameters.job
        return self.jobs.max_parallel_jobs(job, runs_of_pool(context.instance, self.jobs.jobs[job].pool))

    def _client(self, job: str) -> Any:
        chosen = self.jobs.jobs[job]
        kind = (chosen.kind, chosen.follow_logs)
        if kind not in self._clients:
            region = self.settings.aws_region
            self._clients[kind] = CLIENTS[chosen.kind](
                self.settings.artifacts_location,
                sagemaker=client("sagemaker", region, max_attempts=1),
                s3=client("s3", region, max_attempts=1),
                logs=client("logs", region, max_attempts=1),
                follow_logs=chosen.follow_logs,
                name_prefix=f"rd-{self.settings.environment}",
                studio_url=self.settings.sagemaker_studio_url,
                prices=self.jobs.prices,
                job_ends=self._job_ends,
                pacing=Pacing().scaled(self.settings.sagemaker_pace),
            )
        return self._clients[kind]

    @cached_property
    def _job_ends(self) -> JobEnds | None:
        return QueuedJobEnds.of(self.settings, hurried=True)


def _key(context: AssetExecutionContext, chunk: Chunk) -> str:
    """Names the work within a run: an asset and its dates."""
    dated = context.has_partition_key or context.has_partition_key_range
    dates = chunk.dates or (context.partition_keys if dated else [])
    span = dates[0] if len(dates) == 1 else f"{dates[0]}...{dates[-1]}" if dates else ""
    return "/".join(part for part in (context.asset_key.to_user_string(), span) if part)


def _take(end: JobEnd, number: int, chunks: Chunks) -> dict[str, Any]:
    """Tells the chunks how a job ended; its metadata."""
    if end.failure is not None:
        chunks.failed(number, _absence(end.failure) if _is_absence(end.failure) else end.failure)
        return dict(end.failure.metadata)
    assert end.invocation
    events = end.invocation.get_results(implicit_materializations=False)
    chunks.ended(number, without_job(events))
    return dict(end.invocation.metadata)


def _is_absence(failure: SageMakerJobFailed) -> bool:
    return failure.exit_code == EXIT_NO_DATA


def _absence(failure: SageMakerJobFailed) -> NoData:
    return NoData(failure.description, metadata=failure.metadata, allow_retries=False)
