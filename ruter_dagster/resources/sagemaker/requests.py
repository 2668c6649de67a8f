"""Builds a SageMaker job from a job's parameters: its settings, variables and tags. This module calls no service."""

from __future__ import annotations

from typing import Any

from dagster_sagemaker import InlineInput, ProcessingJob, TrainingJob
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.container import PARAMETERS_FILE, PARAMETERS_FOLDER, to_hyperparameters
from ruter_dagster.contracts.jobs import EXIT_MEMORY, EXIT_NO_DATA, EXIT_PERMANENT, JobParameters
from ruter_dagster.resources.sagemaker.git_branch import find_branch
from ruter_dagster.resources.sagemaker.settings import JobSettings

PROJECT = "ruter-dagster"
RETRYABLE = frozenset(range(1, 256)) - {EXIT_PERMANENT, EXIT_NO_DATA, EXIT_MEMORY}
"""Exit codes after which a retry of the step may help. Out of memory is not one: the instance would be as small again."""
_TIMES = {"promoted_at"}
"""Parameters that differ between attempts at the same work."""
_OF_KAFKA = ("KAFKA_", "RUTER_KAFKA_", "RUTER_SCHEMA_REGISTRY_", "RUTER_SECRETS")
VARIABLE_LIMITS = {"processing": 256, "training": 512}
"""Characters that SageMaker allows in the value of an environment variable."""


def build_job(
    parameters: JobParameters,
    job_settings: JobSettings,
    settings: Settings,
    key: str = "",
    unpinned: JobParameters | None = None,
) -> ProcessingJob | TrainingJob:
    """The job, as Processing or as Training. `key` identifies it within its run.

    `unpinned`: the parameters before snapshots were pinned, if they differ. They identify the job over attempts, because
    each attempt may pin other snapshots. Raises SettingsError if a setting cannot reach the job: no lake, or a secret
    without RUTER_SECRETS.
    """
    common: dict[str, Any] = {
        "key": key,
        "identity": (unpinned or parameters).model_dump_json(exclude=_TIMES),
        "image": job_settings.image,
        "role": job_settings.role,
        "entrypoint": job_settings.entrypoint,
        "arguments": (parameters.job,),
        "environment": _environment(parameters, job_settings, settings),
        "instance_types": job_settings.instance_types,
        "volume_gb": job_settings.volume_gb,
        "max_runtime_seconds": job_settings.timeout_minutes * 60,
        "subnets": job_settings.subnets,
        "security_groups": job_settings.security_groups,
        "volume_kms_key": job_settings.kms_key,
        "output_kms_key": job_settings.kms_key,
        "encrypt_between_instances": job_settings.encrypt_between_instances,
        "tags": _tags(parameters, job_settings, settings),
        "retryable_exit_codes": RETRYABLE,
    }
    if job_settings.kind == "training":
        return _training_job(parameters, job_settings, common)
    file = InlineInput("parameters", parameters.model_dump_json(), PARAMETERS_FOLDER, PARAMETERS_FILE)
    return ProcessingJob(inputs=(file,), **common)


def _environment(parameters: JobParameters, job_settings: JobSettings, settings: Settings) -> dict[str, str]:
    """The job's variables. The roles of other jobs may not read the secret, and their settings then need no password."""
    variables = settings.to_remote_environment(VARIABLE_LIMITS[job_settings.kind])
    if parameters.uses_kafka:
        return variables
    return {name: value for name, value in variables.items() if not name.startswith(_OF_KAFKA)}


def _training_job(
    parameters: JobParameters, job_settings: JobSettings, common: dict[str, Any]
) -> TrainingJob:
    return TrainingJob(
        hyperparameters=to_hyperparameters(parameters),
        spot=job_settings.spot,
        max_wait_seconds=job_settings.spot_wait_minutes * 60,
        keep_alive_seconds=job_settings.keep_alive_minutes * 60,
        **common,
    )


def _tags(parameters: JobParameters, job_settings: JobSettings, settings: Settings) -> dict[str, str]:
    """The tags that this project adds. The client adds run, asset and partition."""
    version, branch = getattr(parameters, "model_version", None), find_branch(settings)
    return {
        "project": PROJECT,
        "environment": settings.environment,
        **({"branch": branch} if branch else {}),
        "source": settings.source_name,
        "job": parameters.job,
        **({"model-version": version} if version else {}),
        **job_settings.tags,
    }
