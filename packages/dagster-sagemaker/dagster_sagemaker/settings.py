"""The settings of a Pipes client, and its boto3 clients."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from dagster import MetadataValue, PipesContextInjector, PipesMessageReader

from dagster_sagemaker.kinds import Kind
from dagster_sagemaker.metadata import Prices, links
from dagster_sagemaker.outcomes import Ending, SageMakerJobFailed
from dagster_sagemaker.pacing import Clock, Pacing


def aws_client(service: str, timeout: float = 20.0) -> Any:
    """A boto3 client for the region of AWS_REGION, AWS_DEFAULT_REGION or the profile.

    Raises `SageMakerJobFailed` without a region. A call waits at most `timeout` seconds. botocore does not retry: its
    pauses would delay other jobs.
    """
    options = {"connect_timeout": min(10.0, timeout), "read_timeout": timeout}
    config = Config(retries={"total_max_attempts": 1}, **options)
    try:
        # boto3 reads only AWS_DEFAULT_REGION; containers in AWS have AWS_REGION.
        session = boto3.DEFAULT_SESSION or boto3.Session()
        session_region = boto3.DEFAULT_SESSION and boto3.DEFAULT_SESSION.region_name
        region = session_region or os.environ.get("AWS_REGION") or None
        return session.client(service, region_name=region, config=config)  # pyright: ignore[reportArgumentType, reportCallIssue]
    except BotoCoreError as error:
        raise SageMakerJobFailed(
            f"Cannot create the boto3 client of {service}: {error} Set AWS_REGION (or AWS_DEFAULT_REGION, or the profile's "
            f"region), or pass one: {service}=boto3.client({service!r}, region_name=…).",
            ending=Ending.REFUSED,
        ) from error


@dataclass
class ClientSettings:
    """The arguments of a client."""

    kind: Kind
    artifacts: str
    clients: Mapping[str, Any]
    """boto3 clients by service. None: created when first needed."""
    follow_logs: bool
    name_prefix: str
    studio_url: str
    prices: Prices | None
    has_job_ends: bool
    """Whether events report the ends of jobs."""
    pacing: Pacing
    clock: Clock
    context_injector: PipesContextInjector | None = None
    message_reader: PipesMessageReader | None = None
    """None: the default reader and injector, which use S3."""

    @cached_property
    def sagemaker(self) -> Any:
        return self.clients["sagemaker"] or aws_client("sagemaker")

    @cached_property
    def s3(self) -> Any:
        return self.clients["s3"] or aws_client("s3")

    @cached_property
    def logs(self) -> Any:
        """None if logs are not followed."""
        return (self.clients["logs"] or aws_client("logs")) if self.follow_logs else None

    def links(self, name: str, kind: Kind | None = None) -> dict[str, MetadataValue]:
        """Links to the job, by default of the client's own kind. The region is empty if a test's client has none."""
        region = getattr(getattr(self.sagemaker, "meta", None), "region_name", "") or ""
        return links(kind or self.kind, name, region, self.studio_url)
