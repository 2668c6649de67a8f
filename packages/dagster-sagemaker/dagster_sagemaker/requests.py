"""Builds the `Create…Job` request of a job: pure functions that return dicts for boto3."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from typing import Any

from dagster_sagemaker.jobs import Channel, InlineInput, Job, ProcessingJob, S3Input, S3Output, TrainingJob

TAG_KEY_LIMIT = 128
TAG_VALUE_LIMIT = 256


def processing_request(
    job: ProcessingJob,
    name: str,
    instance_type: str,
    environment: Mapping[str, str] | None = None,
    *,
    folder: str = "",
    tags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The request of `CreateProcessingJob`. `environment` (Pipes' variables) and `tags` are added to those of the job.

    `folder` is an S3 address. Below it, the client has put the inline inputs of the job at `inputs/<name>/<filename>`.
    """
    request: dict[str, Any] = {
        **_filled(RoleArn=job.role),
        "AppSpecification": {**_filled(ImageUri=job.image), **_command(job)},
        "ProcessingResources": {"ClusterConfig": _cluster(job, instance_type)},
        "NetworkConfig": _network(job),
        **_filled(StoppingCondition=_stopping(job)),
    }
    if job.inputs:
        request["ProcessingInputs"] = [_input(item, folder) for item in job.inputs]
    if job.outputs:
        outputs = [_output(item) for item in job.outputs]
        request["ProcessingOutputConfig"] = {"Outputs": outputs, **_filled(KmsKeyId=job.output_kms_key)}
    request = merged(request, job.request)
    return {"ProcessingJobName": name, **request, **_environment_and_tags(job, environment, tags)}


def training_request(
    job: TrainingJob,
    name: str,
    instance_type: str,
    environment: Mapping[str, str] | None = None,
    *,
    folder: str = "",
    tags: Mapping[str, str] | None = None,
    spot: bool | None = None,
) -> dict[str, Any]:
    """The request of `CreateTrainingJob`. `spot=False` requests an on-demand instance for a job that prefers spot."""
    spot = job.spot if spot is None else spot
    request: dict[str, Any] = {
        **_filled(RoleArn=job.role),
        "AlgorithmSpecification": {
            **_filled(TrainingImage=job.image),
            "TrainingInputMode": "File",
            **_command(job),
        },
        "OutputDataConfig": {
            "S3OutputPath": job.output_s3 or f"{folder}/output",
            **_filled(KmsKeyId=job.output_kms_key),
        },
        "ResourceConfig": {
            **_cluster(job, instance_type),
            **_filled(KeepAlivePeriodInSeconds=job.keep_alive_seconds or None),
        },
        **_filled(StoppingCondition=_stopping(job), HyperParameters=_copy(job.hyperparameters)),
        **_network(job),
    }
    if job.channels:
        request["InputDataConfig"] = [_channel(channel) for channel in job.channels]
    if job.checkpoint_s3:
        request["CheckpointConfig"] = {"S3Uri": job.checkpoint_s3, "LocalPath": job.checkpoint_path}
    request = {**merged(request, job.request), "EnableManagedSpotTraining": spot}
    _set_wait(request, job, spot)
    return {"TrainingJobName": name, **request, **_environment_and_tags(job, environment, tags)}


def identity_digests(job: Job, extras: Mapping[str, Any]) -> dict[str, str]:
    """Digests of what identifies a job's work, by part: image, command, environment, parameters and outputs.

    Names, tags, instances and network are no part: they may differ between two attempts at the same work.
    """
    if isinstance(job, TrainingJob):
        request = training_request(job, "", "")
        outputs = request["OutputDataConfig"]["S3OutputPath"]
    else:
        assert isinstance(job, ProcessingJob)
        request = processing_request(job, "", "")
        outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    program = request.get("AppSpecification") or request["AlgorithmSpecification"]
    inputs = request.get("ProcessingInputs") or request.get("InputDataConfig")
    texts = [item.content for item in getattr(job, "inputs", ()) if isinstance(item, InlineInput)]
    parts = {
        "image": program.get("ImageUri") or program.get("TrainingImage") or program.get("AlgorithmName"),
        "command": {**program, "ImageUri": "", "TrainingImage": ""},
        "environment": request["Environment"],
        "parameters": job.identity or [request.get("HyperParameters"), inputs, texts, dict(extras)],
        "outputs": outputs,
    }
    return {name: _digest(part) for name, part in parts.items()}


def json_extras(extras: Mapping[str, Any]) -> dict[str, Any]:
    """The extras. Raises TypeError with the name of one that cannot be sent to the container."""
    for name, value in extras.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"extras[{name!r}] is a {type(value).__name__}, and not JSON ({error}): pass texts, numbers, lists and mappings"
            ) from error
    return dict(extras)


def clean_tag(text: str, limit: int = TAG_VALUE_LIMIT) -> str:
    """A text as AWS takes it in a tag: letters, digits, spaces and `_.:/=+-@` of any script, anything else as `_`."""
    kept = (c if unicodedata.category(c)[0] in "LNZ" or c in "_.:/=+-@" else "_" for c in text)
    return "".join(kept)[:limit]


def merged(request: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `request`: dicts are merged, anything else is replaced."""
    result = dict(request)
    for name, value in over.items():
        below = result.get(name)
        if isinstance(value, Mapping) and isinstance(below, dict):
            result[name] = merged(below, value)
        else:
            result[name] = value
    return result


def _digest(part: Any) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]


def _filled(**parts: Any) -> dict[str, Any]:
    """The parts that are stated. The others are left to the job's own request."""
    return {
        name: value for name, value in parts.items() if value not in ("", None, (), {}) and value is not False
    }


def _copy(value: Any) -> Any:
    """Sequences and mappings as boto3 takes them. A wrong type is left for `preflight` to name."""
    if isinstance(value, Mapping):
        return dict(value)
    return value if isinstance(value, str) else list(value)


def _command(job: Job) -> dict[str, Any]:
    parts = {"ContainerEntrypoint": job.entrypoint, "ContainerArguments": job.arguments}
    return {name: _copy(value) for name, value in parts.items() if value}


def _cluster(job: Job, instance_type: str) -> dict[str, Any]:
    counted = any("InstanceCount" in item for item in job.cluster.get("InstancePreferences", ()))
    own_count = "InstanceGroups" in job.cluster or counted
    return {
        **({} if own_count else {"InstanceCount": job.instance_count}),
        **_filled(
            InstanceType=instance_type, VolumeSizeInGB=job.volume_gb, VolumeKmsKeyId=job.volume_kms_key
        ),
    }


def _network(job: Job) -> dict[str, Any]:
    network: dict[str, Any] = {
        "EnableNetworkIsolation": job.network_isolation,
        "EnableInterContainerTrafficEncryption": job.encrypt_between_instances,
    }
    if job.subnets or job.security_groups:
        network["VpcConfig"] = {"Subnets": list(job.subnets), "SecurityGroupIds": list(job.security_groups)}
    return network


def _stopping(job: Job) -> dict[str, int]:
    return _filled(MaxRuntimeInSeconds=job.max_runtime_seconds)


def _set_wait(request: dict[str, Any], job: TrainingJob, spot: bool) -> None:
    """SageMaker takes a limit of waiting and running with spot only, and needs it there."""
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
    own_tags = list(job.request.get("Tags", ()))
    keys = {tag.get("Key") for tag in own_tags}
    cleaned = {
        clean_tag(key, TAG_KEY_LIMIT): clean_tag(value) for key, value in {**(tags or {}), **job.tags}.items()
    }
    added = [{"Key": key, "Value": value} for key, value in cleaned.items() if key not in keys]
    return {
        "Environment": {**job.environment, **job.request.get("Environment", {}), **(environment or {})},
        "Tags": [*added, *own_tags],
    }


def _input(item: S3Input | InlineInput, folder: str) -> dict[str, Any]:
    inline = isinstance(item, InlineInput)
    return {
        "InputName": item.name,
        "S3Input": {
            "S3Uri": f"{folder}/inputs/{item.name}/" if inline else item.s3_uri,
            "LocalPath": item.local_path,
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": "FullyReplicated" if inline else item.distribution,
        },
    }


def _output(item: S3Output) -> dict[str, Any]:
    return {
        "OutputName": item.name,
        "S3Output": {"S3Uri": item.s3_uri, "LocalPath": item.local_path, "S3UploadMode": item.upload},
    }


def _channel(channel: Channel) -> dict[str, Any]:
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": channel.s3_uri,
        "S3DataDistributionType": channel.distribution,
    }
    described: dict[str, Any] = {
        "ChannelName": channel.name,
        "DataSource": {"S3DataSource": source},
        "InputMode": channel.mode,
    }
    return described | ({"ContentType": channel.content_type} if channel.content_type else {})
