"""What to run: the description of a Processing or a Training job, free of names, attempts and Dagster. Nothing here calls AWS."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class S3Input:
    """An S3 prefix that SageMaker lays out as files below `local_path` of a Processing job."""

    name: str
    s3_uri: str
    local_path: str
    distribution: Literal["FullyReplicated", "ShardedByS3Key"] = "FullyReplicated"


@dataclass(frozen=True)
class InlineInput:
    """A small text that the client uploads beside the job's messages, and SageMaker lays out as `local_path/filename`."""

    name: str
    content: str
    local_path: str
    filename: str


@dataclass(frozen=True)
class S3Output:
    """Files below `local_path` that SageMaker uploads to `s3_uri`."""

    name: str
    local_path: str
    s3_uri: str
    upload: Literal["EndOfJob", "Continuous"] = "EndOfJob"


@dataclass(frozen=True)
class Channel:
    """An S3 prefix that a Training job finds at `/opt/ml/input/data/<name>`."""

    name: str
    s3_uri: str
    mode: Literal["File", "FastFile", "Pipe"] = "File"
    distribution: Literal["FullyReplicated", "ShardedByS3Key"] = "FullyReplicated"
    content_type: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What Processing and Training jobs have in common.

    `key` names the work within a Dagster run: an asset, a partition, a chunk. It may hold any character; left empty it is
    derived from the context. Two jobs of one step need different keys.
    """

    image: str
    """Registry address of the image, best by digest: `…@sha256:…`."""
    role: str
    """ARN of the job's execution role."""
    instance_types: tuple[str, ...]
    """In order of preference: where one has no capacity, or no quota at all, the next is tried."""
    key: str = ""
    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    instance_count: int = 1
    volume_gb: int = 30
    max_runtime_seconds: int = 3600
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    volume_kms_key: str = ""
    output_kms_key: str = ""
    network_isolation: bool = False
    """Without network the container reaches neither S3 nor Dagster Pipes: only with `pipes=False`."""
    encrypt_between_instances: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    """Characters that AWS refuses in a tag become `_`, values end at 256 characters."""
    identity: str = ""
    """By what a later run knows this work again, in place of inputs, hyperparameters and extras: for those that differ with each
    try though the work is the same, a time of day say."""
    extras: Mapping[str, Any] = field(default_factory=dict)
    """For this job's Pipes context, on top of what `run` is given."""
    retryable_exit_codes: Container[int] = ()
    """Exit codes of the container after which Dagster's retry policy may try again, `range(1, 64)` say."""
    pipes: bool = True
    """Whether the container opens Dagster Pipes. One that does succeeds only once it has closed them."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """Anything else of the Create request, merged over what is built here."""


@dataclass(frozen=True, kw_only=True)
class ProcessingJob(Job):
    """A SageMaker Processing job."""

    inputs: tuple[S3Input | InlineInput, ...] = ()
    outputs: tuple[S3Output, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TrainingJob(Job):
    """A SageMaker Training job. With `spot`, `checkpoint_s3` lets an interrupted one go on where it was."""

    channels: tuple[Channel, ...] = ()
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    output_s3: str = ""
    """Where `/opt/ml/model` and `/opt/ml/output/data` go; left empty, beside the job's messages."""
    spot: bool = False
    max_wait_seconds: int = 0
    """Spot: waiting and running together; left 0, twice `max_runtime_seconds`."""
    checkpoint_s3: str = ""
    checkpoint_path: str = "/opt/ml/checkpoints"
    keep_alive_seconds: int = 0
    """Warm pool: how long the instances are kept, and paid for, for the next job that needs the same."""
