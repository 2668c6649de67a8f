"""Descriptions of Processing and Training jobs. Names of jobs, attempts and calls to AWS do not belong here."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self


@dataclass(frozen=True)
class S3Input:
    """An S3 prefix that SageMaker copies to files below `local_path` of a Processing job."""

    name: str
    s3_uri: str
    local_path: str
    distribution: Literal["FullyReplicated", "ShardedByS3Key"] = "FullyReplicated"

    def request(self, folder: str) -> dict[str, Any]:
        """Its entry in ProcessingInputs. `folder` is not used."""
        return _input(self.name, self.s3_uri, self.local_path, self.distribution)


@dataclass(frozen=True)
class InlineInput:
    """A small text that the client uploads to the attempt's folder. SageMaker copies it to `local_path/filename`."""

    name: str
    content: str
    local_path: str
    filename: str

    def request(self, folder: str) -> dict[str, Any]:
        """Its entry in ProcessingInputs. The client uploads the text below `folder`, the S3 address of the attempt."""
        return _input(self.name, f"{folder}/inputs/{self.name}/", self.local_path, "FullyReplicated")


@dataclass(frozen=True)
class S3Output:
    """Files below `local_path` that SageMaker uploads to `s3_uri`."""

    name: str
    local_path: str
    s3_uri: str
    upload: Literal["EndOfJob", "Continuous"] = "EndOfJob"

    def request(self, folder: str) -> dict[str, Any]:
        """Its entry in the Outputs. `folder` is not used."""
        target = {"S3Uri": self.s3_uri, "LocalPath": self.local_path, "S3UploadMode": self.upload}
        return {"OutputName": self.name, "S3Output": target}


@dataclass(frozen=True)
class Channel:
    """An S3 prefix that a Training job finds at `/opt/ml/input/data/<name>`."""

    name: str
    s3_uri: str
    mode: Literal["File", "FastFile", "Pipe"] = "File"
    distribution: Literal["FullyReplicated", "ShardedByS3Key"] = "FullyReplicated"
    content_type: str = ""

    def request(self, folder: str) -> dict[str, Any]:
        """Its entry in InputDataConfig. `folder` is not used."""
        source = {"S3DataType": "S3Prefix", "S3Uri": self.s3_uri, "S3DataDistributionType": self.distribution}
        content_type = {"ContentType": self.content_type} if self.content_type else {}
        return {
            "ChannelName": self.name,
            "DataSource": {"S3DataSource": source},
            "InputMode": self.mode,
            **content_type,
        }


def _input(name: str, s3_uri: str, local_path: str, distribution: str) -> dict[str, Any]:
    source = {"S3Uri": s3_uri, "LocalPath": local_path, "S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": name, "S3Input": {**source, "S3DataDistributionType": distribution}}


def _places(program: str, image: str, cluster: str, network: str, outputs: str) -> dict[str, str]:
    """Paths of the common fields in a Create request. The arguments differ between the two kinds of jobs."""
    return {
        "role": "RoleArn",
        "image": f"{program}.{image}",
        "entrypoint": f"{program}.ContainerEntrypoint",
        "arguments": f"{program}.ContainerArguments",
        "environment": "Environment",
        "instance_types": f"{cluster}.InstanceType",
        "instance_count": f"{cluster}.InstanceCount",
        "volume_gb": f"{cluster}.VolumeSizeInGB",
        "volume_kms_key": f"{cluster}.VolumeKmsKeyId",
        "max_runtime_seconds": "StoppingCondition.MaxRuntimeInSeconds",
        "subnets": f"{network}VpcConfig.Subnets",
        "security_groups": f"{network}VpcConfig.SecurityGroupIds",
        "network_isolation": f"{network}EnableNetworkIsolation",
        "encrypt_between_instances": f"{network}EnableInterContainerTrafficEncryption",
        "output_kms_key": f"{outputs}.KmsKeyId",
        "tags": "Tags",
    }


def part(request: Mapping[str, Any], place: str, default: Any = None) -> Any:
    """The value at a path of a request, such as `StoppingCondition.MaxRuntimeInSeconds`."""
    value: Any = request
    for name in place.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return default if value is None else value


@dataclass(frozen=True, kw_only=True)
class Job:
    """The common attributes of Processing and Training jobs.

    `key` names the work within a Dagster run: an asset, a partition, a part of a range. It may contain any character. An
    empty key is derived from the context. Jobs of one step need different keys.

    Raises ValueError if `request` names the job, TypeError if a single value stands for a collection.
    """

    word: ClassVar[str]
    """Processing or Training, as in the names of SageMaker's API calls."""
    places: ClassVar[Mapping[str, str]]
    """Path of each field in the Create request. Fields that are not here only concern the client."""

    image: str = ""
    """Registry address of the image, preferably with a digest: `…@sha256:…`."""
    role: str = ""
    """ARN of the job's execution role."""
    instance_types: tuple[str, ...] = ()
    """Types in order of preference. The next one is tried if a type has no capacity or no quota. Empty if `request` has
    InstanceGroups or InstancePreferences."""
    key: str = ""
    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    instance_count: int = 1
    volume_gb: int | None = 30
    max_runtime_seconds: int | None = 3600
    """None: SageMaker's default, one day."""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    volume_kms_key: str = ""
    output_kms_key: str = ""
    network_isolation: bool = False
    """Allowed only with `pipes=False`: an isolated container reaches neither S3 nor Dagster Pipes."""
    encrypt_between_instances: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    """Characters that AWS does not allow in a tag become `_`. Values are cut off after 256 characters."""
    identity: str = ""
    """Identifies the work in a later run, instead of inputs, hyperparameters and extras. Set it if these differ between tries of
    the same work, for instance by a time of day."""
    extras: Mapping[str, Any] = field(default_factory=dict)
    """Extras of this job's Pipes context, added to those of `run`."""
    retryable_exit_codes: Container[int] = ()
    """Exit codes of the container after which Dagster's retry policy may try again, for instance `range(1, 64)`."""
    pipes: bool = True
    """Whether the container opens Dagster Pipes. If so, the job succeeds only after it has closed them."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """Other parts of the Create request. They override the generated parts; variables and tags are added. Their instance
    type and count, runtime and spot are copied to the fields of this job."""

    def __post_init__(self) -> None:
        if f"{self.word}JobName" in self.request:
            raise ValueError(
                f"{self.word}JobName: the client names its jobs, so that a retry finds them. Remove it from the request, and "
                "set the job's `key` or the client's `name_prefix` instead."
            )
        for name in ("instance_types", "entrypoint", "arguments", "subnets", "security_groups"):
            if isinstance(value := getattr(self, name), str):
                raise TypeError(
                    f"{name} is the text {value!r:.80}, a tuple of texts is needed: ({value!r:.80},)"
                )
        if isinstance(self.retryable_exit_codes, int):
            code = self.retryable_exit_codes
            raise TypeError(f"retryable_exit_codes is {code}, a collection is needed: ({code},)")
        for name, value in self._stated():
            object.__setattr__(self, name, value)

    @classmethod
    def of_request(cls, request: Mapping[str, Any], **fields: Any) -> Self:
        """A job from the parameters of boto3's Create call without the job's name. `fields` sets the other fields."""
        return cls(**{"volume_gb": None, "max_runtime_seconds": None, "request": request, **fields})

    @property
    def cluster(self) -> Mapping[str, Any]:
        """The part of `request` about instances."""
        return part(self.request, self.places["instance_types"].rpartition(".")[0], {})

    def _stated(self) -> Iterator[tuple[str, Any]]:
        """Fields that `request` states, with their values."""
        cluster = self.cluster
        if "InstanceType" in cluster:
            yield "instance_types", (cluster["InstanceType"],)
        counts = [group["InstanceCount"] for group in cluster.get("InstanceGroups", ())]
        counts = counts or [item.get("InstanceCount") for item in cluster.get("InstancePreferences", ())][:1]
        if count := sum(count or 0 for count in counts):
            yield "instance_count", count
        for name in {"instance_count", "max_runtime_seconds", "spot"} & set(self.places):
            value = part(self.request, self.places[name])
            if value is not None:
                yield name, value


@dataclass(frozen=True, kw_only=True)
class ProcessingJob(Job):
    """A SageMaker Processing job."""

    word = "Processing"
    places: ClassVar[Mapping[str, str]] = {
        **_places(
            "AppSpecification",
            "ImageUri",
            "ProcessingResources.ClusterConfig",
            "NetworkConfig.",
            "ProcessingOutputConfig",
        ),
        "inputs": "ProcessingInputs",
        "outputs": "ProcessingOutputConfig.Outputs",
    }

    inputs: tuple[S3Input | InlineInput, ...] = ()
    outputs: tuple[S3Output, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TrainingJob(Job):
    """A SageMaker Training job. With `spot` and `checkpoint_s3`, an interrupted job continues from its checkpoint."""

    word = "Training"
    places: ClassVar[Mapping[str, str]] = {
        **_places("AlgorithmSpecification", "TrainingImage", "ResourceConfig", "", "OutputDataConfig"),
        "channels": "InputDataConfig",
        "hyperparameters": "HyperParameters",
        "output_s3": "OutputDataConfig.S3OutputPath",
        "spot": "EnableManagedSpotTraining",
        "max_wait_seconds": "StoppingCondition.MaxWaitTimeInSeconds",
        "checkpoint_s3": "CheckpointConfig.S3Uri",
        "checkpoint_path": "CheckpointConfig.LocalPath",
        "keep_alive_seconds": "ResourceConfig.KeepAlivePeriodInSeconds",
    }

    channels: tuple[Channel, ...] = ()
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    output_s3: str = ""
    """S3 address for `/opt/ml/model` and `/opt/ml/output/data`. Default: `output` in the attempt's folder."""
    spot: bool = False
    max_wait_seconds: int = 0
    """Spot: the longest time of waiting and running together. 0 means twice `max_runtime_seconds`."""
    checkpoint_s3: str = ""
    checkpoint_path: str = "/opt/ml/checkpoints"
    keep_alive_seconds: int = 0
    """Warm pool: how long the instances are kept, and paid for, until the next job uses them."""
