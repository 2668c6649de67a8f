"""Checks a request against SageMaker's limits, which botocore does not check. One error names all faults."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from dagster_sagemaker.requests import clean_tag

NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
S3_ADDRESS = re.compile(r"(https|s3)://([^/]+)/?(.*)")
IMAGE = re.compile(r"\S{1,255}")
INSTANCE_TYPE = re.compile(r"ml\.[a-z0-9.-]+")
"""SageMaker's own list is longer than the one of whatever botocore is installed."""
SUBNET = re.compile(r"subnet-[-0-9a-zA-Z]{1,25}")
SECURITY_GROUP = re.compile(r"sg-[-0-9a-zA-Z]{1,29}")
KMS_KEY = re.compile(r"[a-zA-Z0-9:/_-]{0,2048}")
PROCESSING_PATH = re.compile(r"/opt/ml/processing/.+")
DISTRIBUTIONS = ("FullyReplicated", "ShardedByS3Key")
ROLE = re.compile(r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+")
CHANNEL = re.compile(r"[A-Za-z0-9.\-_]+")
DAY = 24 * 3600


class LimitsExceeded(ValueError):
    """A request that SageMaker would refuse. `faults` has one sentence per fault, with the field and the remedy."""

    def __init__(self, name: str, faults: list[str]) -> None:
        self.faults = faults
        super().__init__(f"Job {name} cannot be created, {len(faults)} fault(s):\n- " + "\n- ".join(faults))


def preflight(request: Mapping[str, Any]) -> None:
    """Checks a `Create…Job` request against the limits of its kind. Raises `LimitsExceeded` with all faults."""
    training = "TrainingJobName" in request
    name = str(request["TrainingJobName" if training else "ProcessingJobName"])
    faults = [*_common(request, name, training), *(_training(request) if training else _processing(request))]
    if faults:
        raise LimitsExceeded(name, faults)


def _common(request: Mapping[str, Any], name: str, training: bool) -> Iterable[str]:
    if not NAME.fullmatch(name) or len(name) > 63:
        yield f"name {name!r}: 1 to 63 letters, digits and single hyphens within, no underscore"
    if not ROLE.fullmatch(str(request["RoleArn"])) or len(request["RoleArn"]) > 2048:
        yield f"role {request['RoleArn']!r} is no role's ARN (arn:aws:iam::123456789012:role/name)"
    application = request["AlgorithmSpecification" if training else "AppSpecification"]
    image = str(application.get("TrainingImage" if training else "ImageUri", ""))
    if not IMAGE.fullmatch(image):
        yield f"image {image[:80]!r} has {len(image)} characters, 1 to 255 are allowed and no spaces"
    for field, label in (("ContainerEntrypoint", "entrypoint"), ("ContainerArguments", "arguments")):
        if field in application:
            yield from _strings(application[field], label)
    yield from _environment(request.get("Environment", {}), 512 if training else 256)
    yield from _tags(request.get("Tags", []))
    network = request if training else request.get("NetworkConfig", {})
    yield from _vpc(network)
    if network.get("EnableNetworkIsolation") and "DAGSTER_PIPES_CONTEXT" in request.get("Environment", {}):
        yield "network_isolation: such a container reaches no S3, so it cannot open Dagster Pipes: `pipes=False`"


def _strings(values: list[str], label: str) -> Iterable[str]:
    if not 1 <= len(values) <= 100:
        yield f"{label}: {len(values)} entries, 1 to 100 are allowed"
    for number, value in enumerate(values):
        if "\n" in value:
            yield f"{label}[{number}] has a line break: pass such a text as a file on S3"
        if len(value) > 256:
            yield f"{label}[{number}] has {len(value)} characters, at most 256: pass long values as a file on S3"


def _environment(variables: Mapping[str, str], limit: int) -> Iterable[str]:
    if len(variables) > 100:
        yield f"environment: {len(variables)} variables, at most 100"
    for name, value in variables.items():
        if not VARIABLE.fullmatch(name) or len(name) > limit:
            yield f"environment variable {name!r}: letters, digits and _ only, no digit first, at most {limit}"
        if not isinstance(value, str):
            yield f"environment variable {name} is {type(value).__name__}, a text is needed"
        elif len(value) > limit:
            yield f"environment variable {name} has {len(value)} characters, at most {limit}: shorten it or pass a file"


def _tags(tags: list[Mapping[str, str]]) -> Iterable[str]:
    if len(tags) > 50:
        yield f"tags: {len(tags)}, at most 50"
    for tag in tags:
        if not tag["Key"] or tag["Key"].lower().startswith("aws:"):
            yield f"tag {tag['Key']!r}: a name is needed, and `aws:` belongs to AWS"
        for text, longest in ((tag["Key"], 128), (tag["Value"], 256)):
            if len(text) > longest or clean_tag(text, longest) != text:
                yield f"tag {tag['Key'][:80]!r}: at most {longest} letters, digits, spaces and _.:/=+-@ in {text[:80]!r}"


def _vpc(holder: Mapping[str, Any]) -> Iterable[str]:
    vpc = holder.get("VpcConfig")
    if vpc is None:
        return
    if not 1 <= len(vpc["Subnets"]) <= 16:
        yield f"subnets: {len(vpc['Subnets'])}, 1 to 16 are allowed wherever security groups are given"
    if not 1 <= len(vpc["SecurityGroupIds"]) <= 5:
        yield f"security groups: {len(vpc['SecurityGroupIds'])}, 1 to 5 are allowed wherever subnets are given"
    for name in vpc["Subnets"]:
        if not SUBNET.fullmatch(name):
            yield f"subnet {name!r} is no id (subnet-0123456789abcdef0)"
    for name in vpc["SecurityGroupIds"]:
        if not SECURITY_GROUP.fullmatch(name):
            yield f"security group {name!r} is no id (sg-0123456789abcdef0)"


def _processing(request: Mapping[str, Any]) -> Iterable[str]:
    cluster = request["ProcessingResources"]["ClusterConfig"]
    yield from _cluster(cluster, 100)
    yield from _runtime(request["StoppingCondition"]["MaxRuntimeInSeconds"], 9)
    inputs = request.get("ProcessingInputs", [])
    results = request.get("ProcessingOutputConfig", {})
    outputs = results.get("Outputs", [])
    yield from _key("output_kms_key", results)
    for label, items in (("inputs", inputs), ("outputs", outputs)):
        if len(items) > 10:
            yield f"{label}: {len(items)}, at most 10: read more than that from S3 in the job"
    for kind, items in (("Input", inputs), ("Output", outputs)):
        yield from _repeated(f"{kind.lower()} names", [item[f"{kind}Name"] for item in items])
        for item in items:
            place = None if item.get("AppManaged") else item.get(f"S3{kind}")
            yield from _place(f"{kind.lower()} {item[f'{kind}Name']}", place)


def _place(label: str, place: Mapping[str, Any] | None) -> Iterable[str]:
    """Where on S3 and where in the container; None where an input or output is of another kind."""
    if place is None:
        return
    yield from _address(label, place.get("S3Uri", ""))
    path = place.get("LocalPath", "")
    if not PROCESSING_PATH.fullmatch(path) or len(path) > 256:
        yield f"{label}: its path {path[:80]!r} must be below /opt/ml/processing/, at most 256 characters"
    yield from _choice(label, place, "S3DataType", ("S3Prefix", "ManifestFile"))
    yield from _choice(label, place, "S3InputMode", ("File", "Pipe"))
    yield from _choice(label, place, "S3DataDistributionType", DISTRIBUTIONS)
    yield from _choice(label, place, "S3UploadMode", ("EndOfJob", "Continuous"))


def _training(request: Mapping[str, Any]) -> Iterable[str]:
    resources, stopping = request["ResourceConfig"], request["StoppingCondition"]
    yield from _cluster(resources, None)
    yield from _runtime(stopping["MaxRuntimeInSeconds"], 28)
    results, algorithm = request["OutputDataConfig"], request["AlgorithmSpecification"]
    yield from _address("output_s3", results["S3OutputPath"])
    yield from _key("output_kms_key", results)
    yield from _choice("request", algorithm, "TrainingInputMode", ("File", "FastFile", "Pipe"))
    parameters = request.get("HyperParameters", {})
    if len(parameters) > 100:
        yield f"hyperparameters: {len(parameters)}, at most 100"
    for name, value in parameters.items():
        if len(name) > 256 or not isinstance(value, str) or len(value) > 2500 or "\n" in name + value:
            yield f"hyperparameter {name}: a name of at most 256 and one line of text of at most 2,500 characters"
    if "InputDataConfig" in request:
        yield from _channels(request["InputDataConfig"])
    if "CheckpointConfig" in request:
        kept = request["CheckpointConfig"]
        yield from _address("checkpoint_s3", kept["S3Uri"])
        path = kept.get("LocalPath", "/opt/ml/checkpoints")
        if not path.startswith("/") or len(path) > 4096 or "\n" in path:
            yield f"checkpoint_path {path[:80]!r} must be an absolute path of at most 4,096 characters"
    yield from _spot(request, resources, stopping)


def _channels(channels: list[Mapping[str, Any]]) -> Iterable[str]:
    if not 1 <= len(channels) <= 20:
        yield f"channels: {len(channels)}, 1 to 20 are allowed"
    yield from _repeated("channel names", [channel["ChannelName"] for channel in channels])
    for channel in channels:
        name, content_type = channel["ChannelName"], channel.get("ContentType", "")
        if not CHANNEL.fullmatch(name) or len(name) > 64:
            yield f"channel {name!r}: letters, digits and .-_ only, at most 64"
        if len(content_type) > 256 or "\n" in content_type:
            yield f"channel {name}: its content type has {len(content_type)} characters, at most 256, on one line"
        yield from _choice(f"channel {name}", channel, "InputMode", ("File", "FastFile", "Pipe"))
        source = channel["DataSource"].get("S3DataSource")
        if source is not None:
            yield from _address(f"channel {name}", source.get("S3Uri", ""))
            kinds = ("S3Prefix", "ManifestFile", "AugmentedManifestFile", "Converse")
            yield from _choice(f"channel {name}", source, "S3DataType", kinds)
            yield from _choice(f"channel {name}", source, "S3DataDistributionType", DISTRIBUTIONS)


def _spot(
    request: Mapping[str, Any], resources: Mapping[str, Any], stopping: Mapping[str, Any]
) -> Iterable[str]:
    keep_alive = resources.get("KeepAlivePeriodInSeconds", 0)
    if not 0 <= keep_alive <= 21_600:
        yield f"keep_alive_seconds is {keep_alive}, at most 21,600"
    if request.get("EnableManagedSpotTraining"):
        if keep_alive:
            yield "keep_alive_seconds: a warm pool cannot be of spot instances; choose one"
        if stopping.get("MaxWaitTimeInSeconds", 0) < stopping["MaxRuntimeInSeconds"]:
            yield "max_wait_seconds must be at least max_runtime_seconds: it counts the running too"


def _cluster(cluster: Mapping[str, Any], most: int | None) -> Iterable[str]:
    count, volume = cluster["InstanceCount"], cluster["VolumeSizeInGB"]
    if count < 1 or (most and count > most):
        yield f"instance_count is {count}, 1 to {most or 'the quota'} are allowed"
    if not 1 <= volume <= 16_384:
        yield f"volume_gb is {volume}, 1 to 16,384 are allowed"
    if not INSTANCE_TYPE.fullmatch(str(cluster["InstanceType"])):
        yield f"instance type {cluster['InstanceType']!r}: SageMaker's begin with `ml.`"
    yield from _key("volume_kms_key", cluster)


def _runtime(seconds: int, days: int) -> Iterable[str]:
    if not 1 <= seconds <= days * DAY:
        yield f"max_runtime_seconds is {seconds}, 1 to {days * DAY} ({days} days) are allowed"


def _address(label: str, address: str) -> Iterable[str]:
    if not S3_ADDRESS.fullmatch(address) or len(address) > 1024:
        yield f"{label}: {address!r} is no S3 address of at most 1,024 characters"


def _key(label: str, holder: Mapping[str, Any]) -> Iterable[str]:
    key = holder.get("VolumeKmsKeyId") or holder.get("KmsKeyId") or ""
    if not KMS_KEY.fullmatch(key):
        yield f"{label} {key[:80]!r}: an id or ARN of a KMS key is needed, at most 2,048 characters"


def _choice(label: str, holder: Mapping[str, Any], field: str, allowed: tuple[str, ...]) -> Iterable[str]:
    if holder.get(field, allowed[0]) not in allowed:
        yield f"{label}: {field} is {holder[field]!r}, one of {', '.join(allowed)} is needed"


def _repeated(label: str, names: list[str]) -> Iterable[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield f"{label} given twice: {', '.join(twice)}"
