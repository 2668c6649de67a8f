"""The fields of a job in YAML. They have the names and meanings of `ProcessingJob` and `TrainingJob`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dagster_sagemaker.components.templates import TemplateText
from dagster_sagemaker.jobs import Channel, InlineInput, Job, ProcessingJob, S3Input, S3Output, TrainingJob

Number = int | TemplateText
Flag = bool | TemplateText
Scalar = str | int | float | bool
"""Numbers and booleans become texts in JSON's notation: `3`, `0.1`, `true`."""
Distribution = Literal["FullyReplicated", "ShardedByS3Key"]


class Fields(BaseModel):
    """Refuses unknown fields."""

    model_config = ConfigDict(extra="forbid")


class InputFields(Fields):
    """Files of a Processing job: an S3 prefix, or a text that is uploaded."""

    name: str
    local_path: str = Field(description="Folder in the container, below `/opt/ml/processing/`.")
    s3_uri: str = Field("", description="S3 prefix whose files are copied to `local_path`.")
    distribution: Distribution = "FullyReplicated"
    content: str = Field("", description="A text instead of `s3_uri`; `filename` receives it.")
    filename: str = ""

    @model_validator(mode="after")
    def _has_one_source(self) -> InputFields:
        if bool(self.s3_uri) == bool(self.filename):
            raise ValueError(f"input {self.name!r} needs either `s3_uri`, or `content` and `filename`")
        return self

    def value(self) -> S3Input | InlineInput:
        if self.filename:
            return InlineInput(self.name, self.content, self.local_path, self.filename)
        return S3Input(self.name, self.s3_uri, self.local_path, self.distribution)


class OutputFields(Fields):
    """Files of a Processing job that SageMaker uploads."""

    name: str
    local_path: str = Field(description="Folder in the container, below `/opt/ml/processing/`.")
    s3_uri: str = Field(description="S3 prefix that receives the files.")
    upload: Literal["EndOfJob", "Continuous"] = "EndOfJob"

    def value(self) -> S3Output:
        return S3Output(**self.model_dump())


class ChannelFields(Fields):
    """Files that a Training job finds at `/opt/ml/input/data/<name>`."""

    name: str
    s3_uri: str
    mode: Literal["File", "FastFile", "Pipe"] = "File"
    distribution: Distribution = "FullyReplicated"
    content_type: str = ""

    def value(self) -> Channel:
        return Channel(**self.model_dump())


class JobFields(Fields):
    """The common fields of both kinds of jobs."""

    image: str = Field(
        "", description="Registry address of the image, preferably with a digest: `…@sha256:…`."
    )
    role: str = Field("", description="ARN of the job's execution role.")
    instance_types: list[str] = Field(
        [],
        description="Types in order of preference. The next one is tried if a type has no capacity or no quota.",
        examples=[["ml.m5.xlarge", "ml.m6i.xlarge"]],
    )
    entrypoint: list[Scalar] = Field([], description="Command of the container. Default: that of the image.")
    arguments: list[Scalar] = Field([], description="Arguments of the command.")
    environment: dict[str, Scalar] = Field({}, description="Environment variables of the container.")
    instance_count: Number = 1
    volume_gb: Number | None = Field(30, description="Size of each instance's volume in GB.")
    max_runtime_seconds: Number | None = Field(3600, description="SageMaker stops the job after this time.")
    subnets: list[str] = []
    security_groups: list[str] = []
    volume_kms_key: str = ""
    output_kms_key: str = ""
    network_isolation: Flag = Field(False, description="Allowed only with `pipes: false`.")
    encrypt_between_instances: Flag = False
    tags: dict[str, Scalar] = Field({}, description="Tags of the job in AWS.")
    key: str = Field("", description="Name of the work within a run. Default: asset and partition.")
    identity: str = Field("", description="Identifies the work in a later run, instead of its parameters.")
    extras: dict[str, Any] = Field({}, description="What the container reads with `pipes.get_extra(name)`.")
    retryable_exit_codes: list[int] | TemplateText = Field(
        [],
        description="Exit codes of the container after which the retry policy may try again.",
        examples=[[1, 75], "{{ range(1, 64) }}"],
    )
    pipes: Flag = Field(True, description="Whether the container opens Dagster Pipes.")
    request: dict[str, Any] = Field({}, description="Other parts of the Create request, in boto3's names.")


class ProcessingJobFields(JobFields):
    """A SageMaker Processing job."""

    inputs: list[InputFields] = []
    outputs: list[OutputFields] = []


class TrainingJobFields(JobFields):
    """A SageMaker Training job."""

    channels: list[ChannelFields] = []
    hyperparameters: dict[str, Scalar] = {}
    output_s3: str = Field("", description="S3 address of the model. Default: below `artifacts`.")
    spot: Flag = Field(False, description="Whether to use spot instances.")
    max_wait_seconds: Number = Field(0, description="Spot: longest time of waiting and running together.")
    checkpoint_s3: str = Field("", description="S3 prefix of checkpoints; spot jobs continue from them.")
    checkpoint_path: str = "/opt/ml/checkpoints"
    keep_alive_seconds: Number = Field(0, description="Warm pool: how long the instances are kept.")


_TEXTS = {"entrypoint", "arguments", "environment", "hyperparameters", "tags"}
_EXACT = {"request", "extras", "retryable_exit_codes"}


def job_of(fields: JobFields) -> Job:
    """The job that rendered fields describe."""
    values = {name: _value(name, getattr(fields, name)) for name in fields.model_fields_set}
    if isinstance(fields, TrainingJobFields):
        return TrainingJob(**values)
    return ProcessingJob(**values)


def _value(name: str, value: Any) -> Any:
    if name in _EXACT:
        return value
    if isinstance(value, Mapping):
        return {key: _text(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_item(name, item) for item in value)
    return value


def _item(name: str, item: Any) -> Any:
    if name in _TEXTS:
        return _text(item)
    return item.value() if hasattr(item, "value") else item


def _text(value: Scalar) -> str:
    return value if isinstance(value, str) else json.dumps(value)
