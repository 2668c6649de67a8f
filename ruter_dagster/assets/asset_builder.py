"""Builds every asset: its step runs one job, and all assets share owner, retries, code version and pools.

Which assets there are belongs in the other modules of this package.
"""

# No `from __future__ import annotations`: Dagster reads the class of a step's config from its annotation.

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetCheckSpec,
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    BackfillPolicy,
    Backoff,
    BetaWarning,
    Config,
    DailyPartitionsDefinition,
    Jitter,
    PreviewWarning,
    ResourceParam,
    RetryPolicy,
    asset,
)

from ruter_dagster.assets.code_references import code_references
from ruter_dagster.assets.configuration import configuration_hash
from ruter_dagster.assets.job_inputs import JobInputs, PinsConfig
from ruter_dagster.assets.table_metadata import table_metadata
from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.jobs import DatesParameters, JobParameters
from ruter_dagster.orchestration.partitions import Partitions
from ruter_dagster.resources.launcher import JobLauncher

OWNER = "team:passenger-load"
JOB_METADATA = "ruter/job"
"""Definition metadata of an asset: the name of its job."""

# Backfill policies and window mappings are beta and preview. Their warnings would fill the log of every run.
warnings.filterwarnings("ignore", category=BetaWarning)
warnings.filterwarnings("ignore", category=PreviewWarning)

OwnParameters = Callable[[JobInputs], Mapping[str, Any]]


@dataclass(frozen=True)
class AssetJob:
    """The job of an asset: the class of its parameters, the class of its run config, and the job's own parameters."""

    parameters_class: type[JobParameters]
    config_class: type[Config]
    own_parameters: OwnParameters

    def parameters(self, inputs: JobInputs) -> JobParameters:
        """The parameters of one run of the job. Raises pydantic's ValidationError if the run config has a wrong value."""
        common: dict[str, Any] = {"code_version": inputs.code_version}
        if isinstance(inputs.config, PinsConfig):
            common["pins"] = inputs.config.pins
        if issubclass(self.parameters_class, DatesParameters):
            common |= inputs.date_parameters
        return self.parameters_class.model_validate({**common, **self.own_parameters(inputs)})


@dataclass(frozen=True)
class JobAsset:
    """An asset together with the job that its step runs."""

    definition: AssetsDefinition
    job: AssetJob

    @property
    def key(self) -> str:
        return self.definition.key.to_user_string()


@dataclass(frozen=True)
class AssetBuilder:
    """Builds assets from settings, the operator's facts and the partitions. `pool_of` gives the pool of a job, if it has one."""

    settings: Settings
    operator: Operator
    partitions: Partitions
    pool_of: Callable[[str], str | None]

    def asset(
        self,
        key: str,
        job: type[JobParameters],
        *,
        description: str,
        code_version: str,
        config: type[Config] = PinsConfig,
        parameters: OwnParameters = lambda inputs: {},
        kinds: Iterable[str] = ("polars", "iceberg"),
        partitions: DailyPartitionsDefinition | None = None,
        deps: Sequence[AssetDep] = (),
        pool: str | None = None,
        check_specs: Sequence[AssetCheckSpec] = (),
    ) -> JobAsset:
        """The asset `key`, whose step runs `job`. `parameters` gives the job's own parameters, besides dates, pins and code version."""
        asset_job = AssetJob(job, config, parameters)
        define = asset(
            key=AssetKey.from_user_string(key),
            group_name=key.split("/")[0],
            description=description,
            owners=[OWNER],
            kinds=set(kinds),
            code_version=self._code_version(key, code_version),
            deps=list(deps),
            partitions_def=partitions,
            backfill_policy=BackfillPolicy.single_run() if partitions else None,
            retry_policy=self._retry_policy(key),
            pool=pool or self.pool_of(job.job),
            check_specs=check_specs,
            metadata={
                JOB_METADATA: job.job,
                **table_metadata(key),
                **code_references(key, job.job, self.settings),
            },
        )
        return JobAsset(define(_step(asset_job)), asset_job)

    def _code_version(self, key: str, code: str) -> str:
        """Version of the asset's code, with a hash of the operator's facts and the settings that the asset follows from."""
        facts = configuration_hash(key, self.operator, self.settings)
        return f"{code}.{facts}" if facts else code

    def _retry_policy(self, key: str) -> RetryPolicy:
        """Exponential backoff with jitter. Settings may give an asset its own number of retries and first delay."""
        return RetryPolicy(
            max_retries=self.settings.asset_retries.get(key, self.settings.step_retries),
            delay=self.settings.asset_retry_delays.get(key, self.settings.step_retry_delay),
            backoff=Backoff.EXPONENTIAL,
            jitter=Jitter.PLUS_MINUS,
        )


def _step(job: AssetJob) -> Callable[..., Any]:
    config_class = job.config_class

    def run_job(
        context: AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm]
        launcher: ResourceParam[JobLauncher],
    ):
        yield from launcher.run(context, job.parameters(JobInputs.of(context, config)))

    return run_job
