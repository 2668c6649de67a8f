"""Deletes a sandbox's Kafka topics by a SageMaker job of the sandbox: the network of its jobs reaches Kafka, a CI runner may not."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from ruter_dagster.aws.clients import client
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox

JOB = "publish"
"""The job whose role may read the password of Kafka."""
INSTANCE_TYPE = "ml.m5.large"
"""The smallest type whose quota docs/deploy.md requests."""
MAX_SECONDS = 900
POLL_SECONDS = 5.0
_SETTINGS = re.compile(r"(RUTER_)?KAFKA_\w+|RUTER_ENVIRONMENT|RUTER_SECRETS|AWS_REGION|AWS_DEFAULT_REGION")
_MODULE = "ruter_dagster.publishing.topic_deletion"


def delete_sandbox_topics(sandbox: Sandbox, report: Callable[[str], None]) -> list[str]:
    """Runs the deletion and waits for it, about five minutes.

    It is left out, and `report` gets the reason, if nothing can have been published since the last deletion. Raises
    `PermanentFailure` with the reason if the job fails, because topics would be left.
    """
    variables = run_variables(sandbox)
    if variables is None:
        report("topics: none, because there is no task definition of runs, so no run can publish")
        return []
    if not _secret_has_value(variables.get("RUTER_SECRETS")):
        report("topics: none, because the secret has no value, so no job can load its settings")
        return []
    sagemaker = client("sagemaker")
    request = job_request(sandbox, variables)
    name = request["ProcessingJobName"]
    sagemaker.create_processing_job(**request)
    job = _wait(sagemaker, name)
    if job["ProcessingJobStatus"] != "Completed":
        reason = job.get("ExitMessage") or job.get("FailureReason") or job["ProcessingJobStatus"]
        raise PermanentFailure(f"topics {sandbox.topic_prefix}*: the job {name} failed: {reason}")
    return [f"topics and consumer groups {sandbox.topic_prefix}*"]


def run_variables(sandbox: Sandbox) -> dict[str, str] | None:
    """The variables of the sandbox's runs, from their task definition. None if there is none."""
    ecs = client("ecs")
    try:
        answer = ecs.describe_task_definition(taskDefinition=f"{sandbox.name}-run")
    except ecs.exceptions.ClientException:
        return None
    (container,) = answer["taskDefinition"]["containerDefinitions"]
    return {item["name"]: item["value"] for item in container.get("environment", [])}


def job_request(sandbox: Sandbox, variables: Mapping[str, str]) -> dict[str, Any]:
    """The request of the job, with the image, the network and the settings of Kafka that the sandbox's own jobs have."""
    roles = dict(pair.split("=", 1) for pair in variables.get("RUTER_SAGEMAKER_ROLES", "").split(",") if pair)
    request: dict[str, Any] = {
        "ProcessingJobName": f"{sandbox.name}-topics-{uuid4().hex[:12]}",
        "AppSpecification": {
            "ImageUri": variables["RUTER_SAGEMAKER_IMAGE"],
            "ContainerEntrypoint": ["python", "-m", _MODULE],
            "ContainerArguments": [sandbox.id],
        },
        "RoleArn": roles.get(JOB) or variables["RUTER_SAGEMAKER_ROLE"],
        "Environment": {name: value for name, value in variables.items() if _SETTINGS.fullmatch(name)},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": INSTANCE_TYPE, "VolumeSizeInGB": 5}
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": MAX_SECONDS},
        "Tags": [
            {"Key": "project", "Value": "ruter-dagster"},
            {"Key": "environment", "Value": sandbox.id},
        ],
    }
    if key := variables.get("RUTER_SAGEMAKER_KMS_KEY"):
        request["ProcessingResources"]["ClusterConfig"]["VolumeKmsKeyId"] = key
    if subnets := variables.get("RUTER_SAGEMAKER_SUBNETS"):
        groups = variables["RUTER_SAGEMAKER_SECURITY_GROUPS"]
        request["NetworkConfig"] = {
            "VpcConfig": {"Subnets": subnets.split(","), "SecurityGroupIds": groups.split(",")}
        }
    return request


def _secret_has_value(arn: str | None) -> bool:
    """Whether the secret has a version. A process with an empty secret cannot load its settings, so it publishes nothing."""
    if arn is None:
        return True
    secrets = client("secretsmanager")
    try:
        return bool(secrets.describe_secret(SecretId=arn).get("VersionIdsToStages"))
    except secrets.exceptions.ResourceNotFoundException:
        return False


def _wait(sagemaker: Any, name: str) -> dict[str, Any]:
    while True:
        job = sagemaker.describe_processing_job(ProcessingJobName=name)
        if job["ProcessingJobStatus"] not in ("InProgress", "Stopping"):
            return job
        time.sleep(POLL_SECONDS)
