"""Settings of the launcher, and those that all SageMaker jobs of a deployment share.

Settings of single jobs are in a TOML file, which resources/sagemaker/settings.py reads.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from ruter_dagster.config.aws import AwsSettings

NameList = Annotated[tuple[str, ...], NoDecode]


def parse_pairs(text: str, example: str) -> dict[str, str]:
    """The pairs of a setting such as `a=1,b=2`. Raises ValueError, with the example, if a pair has no `=`."""
    pairs = [item.partition("=") for item in text.split(",") if item.strip()]
    if any(not separator for _, separator, _ in pairs):
        raise ValueError(f"write it as {example}")
    return {name.strip(): value.strip() for name, _, value in pairs}


class SageMakerSettings(AwsSettings):
    """Settings of the SageMaker launcher."""

    launcher: Literal["local", "sagemaker"] | None = Field(
        None,
        description="Where jobs run: as processes on this machine, or in SageMaker. Default: local in the environment local, else sagemaker",
    )
    sagemaker_image: str | None = Field(
        None,
        description="Image of the jobs by digest, for instance 123456789012.dkr.ecr.eu-north-1.amazonaws.com/jobs@sha256:…",
    )
    sagemaker_role: str | None = Field(None, description="ARN of the jobs' role")
    sagemaker_roles: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict,
        description="ARN of the role by job, for instance publish=arn:aws:iam::123456789012:role/publish,train=arn:…. "
        "Other jobs have RUTER_SAGEMAKER_ROLE",
    )
    sagemaker_subnets: NameList = Field(
        (), description="Subnets of the jobs, separated by commas; they need security groups"
    )
    sagemaker_security_groups: NameList = Field((), description="Security groups of the jobs")
    sagemaker_kms_key: str | None = Field(None, description="KMS key of the jobs' volumes and outputs")
    sagemaker_jobs: str | None = Field(
        None,
        description="Path of a file with settings of jobs (docs/sagemaker.md). Default: those of the package",
    )
    sagemaker_studio_url: str = Field(
        "",
        description="Address of a job's page in your Studio domain, with {region}, {kind} and {name}. Default: Studio's start page",
    )
    sagemaker_pace: float = Field(
        1.0, gt=0, le=1, description="Factor of all intervals of the client; smaller for a double of AWS"
    )
    job_events_queue: str | None = Field(
        None,
        description="URL of the SQS queue to which EventBridge sends SageMaker's job state changes. Without it, jobs are polled",
    )
    arrivals_queue: str | None = Field(
        None,
        description="URL of the SQS queue to which EventBridge sends S3's events of new raw data. Without it, the source is polled",
    )

    @field_validator("sagemaker_roles", mode="before")
    @classmethod
    def _parse_roles(cls, value: Any) -> Any:
        return parse_pairs(value, "job=role,job=role") if isinstance(value, str) else value

    @field_validator("sagemaker_subnets", "sagemaker_security_groups", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value
