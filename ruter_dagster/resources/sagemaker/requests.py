"""From a job's parameters to what the client runs: which settings, variables and tags a SageMaker job gets. Calls nothing."""

from __future__ import annotations

from typing import Any

from dagster_sagemaker import InlineInput, ProcessingJob, TrainingJob
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.container import PARAMETERS_FILE, PARAMETERS_FOLDER, to_hyperparameters
from ruter_dagster.contracts.jobs import EXIT_MEMORY, EXIT_NO_DATA, EXIT_PERMANENT, JobParameters
from ruter_dagster.resources.sagemaker.git_branch import branch_of
from ruter_dagster.resources.sagemaker.settings import JobSettings

PROJECT = "ruter-dagster"
RETRYABLE = frozenset(range(1, 256)) - {EXIT_PERMANENT, EXIT_NO_DATA, EXIT_MEMORY}
"""Exit codes after which a step's retry may help, as with local processes; out of memory, the same instance is as small again."""
_MOMENTS = {"promoted_at"}
"""Parameters that are another with each try of the same work."""
VARIABLE_LIMITS = {"processing": 256, "training": 512}


def job_of(
    parameters: JobParameters,
    chosen: JobSettings,
    settings: Settings,
    key: str = "",
    asked: JobParameters | None = None,
) -> ProcessingJob | TrainingJob:
    """The job, as Processing or as Training. `key` names the work within a run, `asked` are its parameters before others pinned it:
    which of them have ended may differ with each try of the same work.

    Raises SettingsError where the settings cannot reach a job elsewhere: no lake, a secret without RUTER_SECRETS.
    """
    common: dict[str, Any] = {
        "key": key,
        "identity": (asked or parameters).model_dump_json(exclude=_MOMENTS),
        "image": chosen.image,
        "role": chosen.role,
        "entrypoint": chosen.entrypoint,
        "arguments": (parameters.job,),
        "environment": settings.to_remote_environment(VARIABLE_LIMITS[chosen.kind]),
        "instance_types": chosen.instance_types,
        "volume_gb": chosen.volume_gb,
        "max_runtime_seconds": chosen.timeout_minutes * 60,
        "subnets": chosen.subnets,
        "security_groups": chosen.security_groups,
        "volume_kms_key": chosen.kms_key,
        "output_kms_key": chosen.kms_key,
        "encrypt_between_instances": chosen.encrypt_between_instances,
        "tags": _tags(parameters, chosen, settings),
        "retryable_exit_codes": RETRYABLE,
    }
    if chosen.kind == "training":
        return _training(parameters, chosen, common)
    text = InlineInput("parameters", parameters.model_dump_json(), PARAMETERS_FOLDER, PARAMETERS_FILE)
    return ProcessingJob(inputs=(text,), **common)


def _training(parameters: JobParameters, chosen: JobSettings, common: dict[str, Any]) -> TrainingJob:
    return TrainingJob(
        hyperparameters=to_hyperparameters(parameters),
        spot=chosen.spot,
        max_wait_seconds=chosen.spot_wait_minutes * 60,
        keep_alive_seconds=chosen.keep_alive_minutes * 60,
        **common,
    )


def _tags(parameters: JobParameters, chosen: JobSettings, settings: Settings) -> dict[str, str]:
    """On top of those of the client, which name run, asset and partition."""
    version, branch = getattr(parameters, "model_version", None), branch_of(settings)
    return {
        "project": PROJECT,
        "environment": settings.environment,
        **({"branch": branch} if branch else {}),
        "source": settings.source_name,
        "job": parameters.job,
        **({"model-version": version} if version else {}),
        **chosen.tags,
    }
