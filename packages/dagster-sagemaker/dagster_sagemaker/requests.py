"""Builds the `Create…Job` request of a job: pure functions that return dicts for boto3."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from typing import Any

from dagster_sagemaker.jobs import InlineInput, Job, ProcessingJob, TrainingJob

TAG_KEY_LIMIT = 128
TAG_VALUE_LIMIT = 256
_OUTPUTS = (
    "ProcessingOutputConfig",
    "OutputDataConfig",
    "CheckpointConfig",
    "DebugHookConfig",
    "ProfilerConfig",
    "TensorBoardOutputConfig",
)
"""Parts of a request that contain output addresses."""
_NO_IDENTITY = {
    "ProcessingJobName",
    "TrainingJobName",
    "RoleArn",
    "Tags",
    "ProcessingResources",
    "ResourceConfig",
    "NetworkConfig",
    "VpcConfig",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "StoppingCondition",
    "RetryStrategy",
    "ExperimentConfig",
}
"""Parts that may differ between two attempts of the same work."""


def create_request(
    job: Job,
    name: str,
    instance_type: str,
    environment: Mapping[str, str] | None = None,
    *,
    folder: str = "",
    tags: Mapping[str, str] | None = None,
    spot: bool | None = None,
) -> dict[str, Any]:
    """The request of `CreateProcessingJob` or `CreateTrainingJob`. Adds `environment` (Pipes' variables) and `tags`.

    `folder` is an S3 address. The client has uploaded the job's inline inputs to `<folder>/inputs/<name>/<filename>`.
    `spot=False` requests an on-demand instance for a job that prefers spot.
    """
    request: dict[str, Any] = {job.places["image"].split(".")[0]: {}}
    for field, value in _values(job, instance_type, folder).items():
        if value not in ("", None, (), {}) and value is not False:
            _set_value(request, job.places[field], _for_boto3(value, folder))
    request = merge(request, job.request)
    if isinstance(job, TrainingJob):
        _set_market(request, job, job.spot if spot is None else spot)
    return {f"{job.word}JobName": name, **request, **_environment_and_tags(job, environment, tags)}


def _values(job: Job, instance_type: str, folder: str) -> dict[str, Any]:
    """The fields of a job that belong in its request. `job.request` may supply those that are empty."""
    values = {field: getattr(job, field) for field in job.places}
    counted = any("InstanceCount" in item for item in job.cluster.get("InstancePreferences", ()))
    if counted or "InstanceGroups" in job.cluster:
        del values["instance_count"]
    values |= {"instance_types": instance_type, "environment": {}, "tags": {}}
    if isinstance(job, TrainingJob):
        path = job.checkpoint_path if job.checkpoint_s3 else ""
        output = job.output_s3 or f"{folder}/output"
        kept = job.keep_alive_seconds or None
        values |= {"output_s3": output, "checkpoint_path": path, "keep_alive_seconds": kept}
        del values["max_wait_seconds"], values["spot"]
    elif isinstance(job, ProcessingJob) and not job.outputs:
        values["output_kms_key"] = ""
    return values


def _set_value(request: dict[str, Any], place: str, value: Any) -> None:
    *above, last = place.split(".")
    for name in above:
        request = request.setdefault(name, {})
    request[last] = value


def _for_boto3(value: Any, folder: str) -> Any:
    """The value in boto3's types. A wrong type is kept: `preflight` reports it."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | list):
        return [item.request(folder) if hasattr(item, "request") else item for item in value]
    return value


def identity_digests(job: Job, extras: Mapping[str, Any]) -> dict[str, str]:
    """Digests of what identifies a job's work: image, command, environment, parameters, outputs and use of Pipes."""
    request = create_request(job, "", "")
    program = request.pop(job.places["image"].split(".")[0])
    images = {name: program.pop(name, "") for name in ("ImageUri", "TrainingImage", "AlgorithmName")}
    texts = [(item.filename, item.content) for item in _inline_inputs(job)]
    rest = {name: value for name, value in request.items() if name not in {*_OUTPUTS, *_NO_IDENTITY}}
    parts = {
        "image": images,
        "command": program,
        "environment": rest.pop("Environment"),
        "parameters": job.identity or [rest, texts, dict(extras)],
        "outputs": [request.get(name) for name in _OUTPUTS],
        "pipes": job.pipes,
    }
    return {name: _digest(value) for name, value in parts.items()}


def _inline_inputs(job: Job) -> list[InlineInput]:
    inputs = job.inputs if isinstance(job, ProcessingJob) else ()
    return [item for item in inputs if isinstance(item, InlineInput)]


def json_extras(extras: Mapping[str, Any]) -> dict[str, Any]:
    """The extras as a dict. Raises TypeError that names an extra that is not JSON."""
    for name, value in extras.items():
        try:
            json.dumps(value, sort_keys=True)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"extras[{name!r}] is a {type(value).__name__}, which is not JSON ({error}): pass texts, numbers, lists and mappings"
            ) from error
    return dict(extras)


def clean_tag(text: str, limit: int = TAG_VALUE_LIMIT) -> str:
    """A valid tag: letters and digits of any script, spaces and `_.:/=+-@`. Other characters become `_`."""
    kept = (c if unicodedata.category(c)[0] in "LNZ" or c in "_.:/=+-@" else "_" for c in text)
    return "".join(kept)[:limit]


def merge(request: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`request` with the values of `over`. Dicts are merged, other values are replaced."""
    result = dict(request)
    for name, value in over.items():
        below = result.get(name)
        if isinstance(value, Mapping) and isinstance(below, dict):
            result[name] = merge(below, value)
        else:
            result[name] = value
    return result


def _digest(value: Any) -> str:
    # `preflight` reports a value of a wrong type.
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _set_market(request: dict[str, Any], job: TrainingJob, spot: bool) -> None:
    """Spot or on demand. SageMaker requires MaxWaitTimeInSeconds for spot and refuses it on demand."""
    request["EnableManagedSpotTraining"] = spot
    request.setdefault("AlgorithmSpecification", {}).setdefault("TrainingInputMode", "File")
    condition = {**request.get("StoppingCondition", {})}
    wait = condition.pop("MaxWaitTimeInSeconds", job.max_wait_seconds)
    if spot:
        condition["MaxWaitTimeInSeconds"] = wait or 2 * condition.get("MaxRuntimeInSeconds", 24 * 3600)
    if condition:
        request["StoppingCondition"] = condition


def _environment_and_tags(
    job: Job, environment: Mapping[str, str] | None, tags: Mapping[str, str] | None
) -> dict[str, Any]:
    """The client's variables replace those of the job. The job's tags replace those of the client."""
    own_tags = list(job.request.get("Tags") or ())
    keys = {tag.get("Key") for tag in own_tags}
    cleaned = {
        clean_tag(key, TAG_KEY_LIMIT): clean_tag(value) for key, value in {**(tags or {}), **job.tags}.items()
    }
    added = [{"Key": key, "Value": value} for key, value in cleaned.items() if key not in keys]
    return {
        "Environment": {**job.environment, **(job.request.get("Environment") or {}), **(environment or {})},
        "Tags": [*added, *own_tags],
    }
