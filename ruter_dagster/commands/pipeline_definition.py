"""The chain as SageMaker Pipelines: the job of each asset on an issue date, in the order of the asset graph.

The jobs are the same as Dagster's, so that Studio can show and run them without Dagster. Rendering a definition
belongs in resources/sagemaker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from dagster_sagemaker import ProcessingJob, TrainingJob
from ruter_dagster.assets.asset_builder import JobAsset
from ruter_dagster.assets.job_inputs import JobInputs
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.date_templates import to_relative
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.jobs import NEWEST, JobParameters, Publish
from ruter_dagster.definitions import build_assets
from ruter_dagster.orchestration.chain import RUNS, follow_ups
from ruter_dagster.resources.sagemaker.pipeline import (
    IMAGE,
    ISSUE_DATE,
    ROLE,
    STARTED,
    PipelineDefaults,
    PipelineStep,
    render_pipeline,
)
from ruter_dagster.resources.sagemaker.requests import build_job as sagemaker_job
from ruter_dagster.resources.sagemaker.settings import load_jobs_settings
from ruter_dagster.sensors.chain import issue_date_of

_ANY_IMAGE = f"any@sha256:{'0' * 64}"
_ANY_ROLE = "arn:aws:iam::123456789012:role/any"
_ANY_DATE = date(2000, 1, 31)
"""The issue date of the parameters before they are written relative to it."""

PIPELINES: Mapping[str, tuple[str, ...]] = {
    "daily": ("counts", "plan", "forecasting", "monitoring", "sampling"),
    "training": ("training",),
}
"""The runs of each pipeline. There are two, because the gate may refuse a model on a day with good forecasts."""


@dataclass(frozen=True)
class PipelineJob:
    """The job of an asset, with the parameters of `_ANY_DATE`. `upstream` are the pipeline's assets that the asset reads."""

    asset: str
    description: str
    parameters: JobParameters
    upstream: tuple[str, ...]


def pipeline_definition(name: str, settings: Settings, *, role: str, image: str) -> dict[str, Any]:
    """The definition of one of `PIPELINES`. `role` and `image` are default values of its parameters.

    Raises SettingsError if jobs in SageMaker could not run with these settings, for instance without a lake.
    """
    jobs = pipeline_jobs(name, settings)
    to_sagemaker = _to_sagemaker(settings, publishes=any(isinstance(job.parameters, Publish) for job in jobs))
    steps = [_step(job, to_sagemaker(job.parameters)) for job in jobs]
    output = f"{settings.artifacts_location}/pipelines"
    return render_pipeline(steps, PipelineDefaults(role=role, image=image, issue_date="today", output=output))


def pipeline_jobs(name: str, settings: Settings) -> list[PipelineJob]:
    """The jobs of a pipeline, each after those whose assets it reads."""
    assets = {asset.key: asset for asset in build_assets(settings)}
    days = {key: _days(run, settings) for run in PIPELINES[name] for key in RUNS[run]}
    return _in_order([_pipeline_job(assets[key], days[key], days.keys()) for key in days])


def _pipeline_job(asset: JobAsset, days: range, assets: Iterable[str]) -> PipelineJob:
    spec = asset.definition.get_asset_spec()
    parents = {dep.asset_key.to_user_string() for dep in spec.deps}
    inputs = JobInputs(
        config=asset.job.config_class(),
        code_version=spec.code_version or "1",
        # In a pipeline, evaluation and promotion use the version that was trained last.
        newest_version=lambda asset: NEWEST,
        started_at=datetime.combine(_ANY_DATE, time(), UTC),
        dates=tuple(_ANY_DATE + timedelta(day) for day in days),
    )
    upstream = tuple(other for other in assets if other in parents)
    return PipelineJob(asset.key, spec.description or "", asset.job.parameters(inputs), upstream)


def _days(run: str, settings: Settings) -> range:
    """The dates of a run in days from the issue date, as schedules and sensors request them; none for models."""
    if run == "counts":
        closed = (_ANY_DATE - issue_date_of(_ANY_DATE, settings)).days
        return range(closed, closed + 1)
    if run == "plan":
        return range(HORIZON_DAYS + 1)
    days = {follow_up.job: range(follow_up.day, follow_up.day + 1) for follow_up in follow_ups(settings)}
    return days.get(run, range(0))


def _in_order(jobs: Sequence[PipelineJob]) -> list[PipelineJob]:
    """Each job after those whose assets it reads, else in the given order."""
    ordered: list[PipelineJob] = []
    waiting = list(jobs)
    while waiting:
        done = {job.asset for job in ordered}
        ready = [job for job in waiting if done.issuperset(job.upstream)]
        ordered += ready
        waiting = [job for job in waiting if job not in ready]
    return ordered


def _to_sagemaker(
    settings: Settings, *, publishes: bool
) -> Callable[[JobParameters], ProcessingJob | TrainingJob]:
    """A function that converts parameters to SageMaker jobs, like the launcher. Image and role are parameters of the pipeline."""
    placeholders = {"sagemaker_image": _ANY_IMAGE, "sagemaker_role": _ANY_ROLE}
    faults = [*settings.remote_faults(), *(settings.broker_faults() if publishes else [])]
    jobs = load_jobs_settings(settings.model_copy(update=placeholders), faults).jobs

    def to_sagemaker(parameters: JobParameters) -> ProcessingJob | TrainingJob:
        job = sagemaker_job(parameters, jobs[parameters.job], settings)
        return replace(
            job,
            image=IMAGE if job.image == _ANY_IMAGE else job.image,
            role=ROLE if job.role == _ANY_ROLE else job.role,
        )

    return to_sagemaker


def _step(job: PipelineJob, sagemaker_job: ProcessingJob | TrainingJob) -> PipelineStep:
    return PipelineStep(
        name=job.asset,
        description=job.description,
        job=sagemaker_job,
        arguments=(
            job.parameters.job,
            "--parameters",
            to_relative(job.parameters, _ANY_DATE),
            "--issue-date",
            ISSUE_DATE,
            "--requested-at",
            STARTED,
        ),
        after=job.upstream,
    )
