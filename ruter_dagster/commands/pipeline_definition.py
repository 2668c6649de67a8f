"""The chain as SageMaker Pipelines: which job each asset asks for on an issue date, in the order of the asset graph.

The same jobs as Dagster's, to be seen and run in Studio without it. How a definition is written belongs in resources/sagemaker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetExecutionContext,
    AssetKey,
    DagsterInstance,
    Definitions,
    MaterializeResult,
)

from dagster_sagemaker import ProcessingJob, TrainingJob
from ruter_dagster.compat.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from ruter_dagster.config.settings import Settings, SettingsError
from ruter_dagster.contracts.date_templates import to_relative
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.jobs import NEWEST, JobParameters, Publish
from ruter_dagster.definitions import build_definitions
from ruter_dagster.orchestration.chain import RUNS
from ruter_dagster.orchestration.runs import span_of
from ruter_dagster.resources.date_chunks import Chunks
from ruter_dagster.resources.launcher import JobLauncher
from ruter_dagster.resources.sagemaker.pipeline import (
    IMAGE,
    ISSUE_DATE,
    ROLE,
    STARTED,
    PipelineDefaults,
    PipelineStep,
    render_pipeline,
)
from ruter_dagster.resources.sagemaker.requests import job_of as launched_job
from ruter_dagster.resources.sagemaker.settings import load_jobs_settings
from ruter_dagster.sensors.chain import follow_ups, issue_date_of

_ANY_IMAGE = f"any@sha256:{'0' * 64}"
_ANY_ROLE = "arn:aws:iam::123456789012:role/any"
JobOf = Callable[[JobParameters], ProcessingJob | TrainingJob]

PIPELINES: Mapping[str, tuple[str, ...]] = {
    "daily": ("counts", "plan", "forecasting", "monitoring", "sampling"),
    "training": ("training",),
}
"""The runs that each pipeline is made of. Two, because the gate may refuse a model on a day whose forecasts are good."""


def pipeline_definition(
    name: str, settings: Settings, *, role: str, image: str, job_of: JobOf | None = None
) -> dict[str, Any]:
    """The definition of one of `PIPELINES`. `role` and `image` are defaults of its parameters, `${…}` to be filled in later.

    `job_of` says what a job's parameters run on. Raises SettingsError where jobs elsewhere could not have these settings: no
    lake is named, say, or no Kafka cluster where one of them publishes.
    """
    asked = asked_of(name, settings)
    job_of = job_of or _job_of(settings, asked)
    steps = [_step(key, asked, job_of) for key in asked.order]
    output = f"{settings.artifacts_place}/pipelines"
    return render_pipeline(steps, PipelineDefaults(role=role, image=image, issue_date="today", output=output))


def _job_of(settings: Settings, asked: Asked) -> JobOf:
    """The jobs as the launcher would run them; image and role of the deployment are the pipeline's parameters instead."""
    given = {"sagemaker_image": _ANY_IMAGE, "sagemaker_role": _ANY_ROLE}
    publishes = any(isinstance(parameters, Publish) for parameters in asked.parameters.values())
    faults = [*settings.remote_faults(), *(settings.broker_faults() if publishes else [])]
    chosen = load_jobs_settings(settings.model_copy(update=given), faults).jobs

    def job(parameters: JobParameters) -> ProcessingJob | TrainingJob:
        found = launched_job(parameters, chosen[parameters.job], settings)
        return replace(
            found,
            image=IMAGE if found.image == _ANY_IMAGE else found.image,
            role=ROLE if found.role == _ANY_ROLE else found.role,
        )

    return job


@dataclass
class Asked:
    """What a pipeline's assets ask for, by asset key in the order of the graph; `issue_date` is the one they were asked on."""

    issue_date: date
    parameters: dict[str, JobParameters] = field(default_factory=dict)
    upstream: dict[str, tuple[str, ...]] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)

    @property
    def order(self) -> tuple[str, ...]:
        """Each asset after those it reads, else as the runs name them."""
        order: list[str] = []
        waiting = list(self.parameters)
        while waiting:
            ready = [key for key in waiting if set(self.upstream[key]) <= set(order)]
            order += ready
            waiting = [key for key in waiting if key not in ready]
        return tuple(order)


def asked_of(name: str, settings: Settings) -> Asked:
    """Lets the assets of a pipeline's runs ask for their jobs, on one date for all: nothing runs and nothing is kept."""
    recorder = _Recorder()
    definitions = build_definitions(settings, recorder)
    span = span_of(definitions, RUNS["counts"])
    if not span:
        raise SettingsError("There is no partition to plan by: RUTER_HISTORY_START lies in the future")
    asked = Asked(span[1] - timedelta(HORIZON_DAYS), recorder.asked)
    with DagsterInstance.ephemeral() as instance:
        for run in PIPELINES[name]:
            _ask(definitions, run, _days(run, settings), asked.issue_date, instance)
    graph = definitions.resolve_asset_graph()
    for key in asked.parameters:
        node = graph.get(AssetKey.from_user_string(key))
        parents = {parent.to_user_string() for parent in node.parent_keys}
        asked.upstream[key] = tuple(other for other in asked.parameters if other in parents)
        asked.descriptions[key] = node.description or ""
    return asked


def _days(run: str, settings: Settings) -> tuple[int, int] | None:
    """First and last date of a run in days from the issue date, as schedules and sensors ask for it."""
    if run == "counts":
        operating_date = date(2000, 1, 1)
        day = (operating_date - issue_date_of(operating_date, settings)).days
        return day, day
    if run == "plan":
        return 0, HORIZON_DAYS
    days = {follow_up.job: (follow_up.day, follow_up.day) for follow_up in follow_ups(settings)}
    return days.get(run)


def _ask(
    definitions: Definitions,
    run: str,
    days: tuple[int, int] | None,
    issue_date: date,
    instance: DagsterInstance,
) -> None:
    first, last = ((issue_date + timedelta(day)).isoformat() for day in days) if days else ("", "")
    tags = (
        {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
        if first != last
        else None
    )
    definitions.resolve_job_def(run).execute_in_process(
        instance=instance,
        partition_key=first if first and not tags else None,
        tags=tags,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


class _Recorder(JobLauncher):
    """Notes what is asked for, and answers as if it had gone well."""

    days_per_job = 1

    def __init__(self) -> None:
        self.asked: dict[str, JobParameters] = {}

    def launch_all(self, context: AssetExecutionContext, chunks: Chunks) -> None:
        raise NotImplementedError("nothing is run")

    def run(
        self, context: AssetExecutionContext, parameters: JobParameters
    ) -> Iterator[MaterializeResult | AssetCheckResult]:
        self.asked[context.asset_key.to_user_string()] = parameters
        # Evaluation and champion go on with the version that training reports: in a pipeline, the one trained last.
        yield MaterializeResult(metadata={"model_version": NEWEST})
        for check in context.assets_def.check_specs:
            yield AssetCheckResult(passed=True, asset_key=check.asset_key, check_name=check.name)


def _step(key: str, asked: Asked, job_of: JobOf) -> PipelineStep:
    parameters = asked.parameters[key]
    written = to_relative(parameters, asked.issue_date)
    return PipelineStep(
        name=key,
        description=asked.descriptions[key],
        job=job_of(parameters),
        arguments=(
            parameters.job,
            "--parameters",
            written,
            "--issue-date",
            ISSUE_DATE,
            "--asked-at",
            STARTED,
        ),
        after=asked.upstream[key],
    )
