"""Renders a SageMaker Pipeline definition from an ordered list of jobs. The caller chooses the jobs.

The arguments of a step are the Create request that the client would send, without the name of the job and with
placeholders.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dagster_sagemaker import (
    LimitsExceeded,
    ProcessingJob,
    TrainingJob,
    create_request,
    preflight,
)
from ruter_dagster.contracts.errors import PermanentFailure

SCHEMA_VERSION = "2020-12-01"
ROLE, IMAGE, ISSUE_DATE = "Parameters.Role", "Parameters.Image", "Parameters.IssueDate"
STARTED = "Execution.StartDateTime"
"""Start time of the execution, in ISO 8601. All steps of an execution have the same."""
_PLACEHOLDER = re.compile(r"(Parameters|Execution)\.\w+")

RETRY_POLICIES: tuple[Mapping[str, Any], ...] = (
    # Errors of SageMaker itself, when it starts a step and while the job runs.
    {"BackoffRate": 2.0, "IntervalSeconds": 10, "MaxAttempts": 8, "ExceptionType": ["Step.SERVICE_FAULT", "Step.THROTTLING"]},
    {"BackoffRate": 2.0, "IntervalSeconds": 60, "MaxAttempts": 3, "ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR"]},
    # No instance is available, or the quota is used up: waits of 1, 2, 4, … minutes, four hours in total.
    {"BackoffRate": 2.0, "IntervalSeconds": 60, "ExpireAfterMin": 240, "ExceptionType": ["SageMaker.CAPACITY_ERROR", "SageMaker.RESOURCE_LIMIT"]},
)  # fmt: skip
"""Retries of each step, with exponential backoff. Errors of the job itself are not retried, because a retry rarely helps."""


@dataclass(frozen=True)
class PipelineStep:
    """A job as a step of the pipeline.

    `name`: an asset key. `arguments`: the arguments of the job in the pipeline. `after`: the steps that run before.
    Image, role and arguments may be placeholders.
    """

    name: str
    description: str
    job: ProcessingJob | TrainingJob
    arguments: tuple[str, ...]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class PipelineDefaults:
    """Default values of the pipeline's parameters. `output`: the S3 address for the archives of Training jobs."""

    role: str
    image: str
    issue_date: str
    output: str


def render_pipeline(steps: Sequence[PipelineStep], defaults: PipelineDefaults) -> dict[str, Any]:
    """The definition as JSON values. Raises PermanentFailure that lists everything that SageMaker would refuse."""
    types = {kind: _most_common_type(steps, kind) for kind in ("Processing", "Training")}
    values = {
        "Role": defaults.role,
        "Image": defaults.image,
        "IssueDate": defaults.issue_date,
        **{f"{kind}InstanceType": instance_type for kind, instance_type in types.items() if instance_type},
    }
    requests = {step.name: _create_request(step, types, defaults) for step in steps}
    _require_limits(requests)
    return {
        "Version": SCHEMA_VERSION,
        "Metadata": {},
        "Parameters": [
            {"Name": name, "Type": "String", "DefaultValue": value} for name, value in values.items()
        ],
        "PipelineExperimentConfig": {
            "ExperimentName": {"Get": "Execution.PipelineName"},
            "TrialName": {"Get": "Execution.PipelineExecutionId"},
        },
        "Steps": [_render_step(step, requests[step.name]) for step in steps],
    }


def step_name(key: str) -> str:
    """The name of a step: the asset key with letters, digits and hyphens only, such as `raw-stop-visits`."""
    return re.sub(r"[^A-Za-z0-9]+", "-", key)[:64]


def _render_step(step: PipelineStep, request: dict[str, Any]) -> dict[str, Any]:
    kind = _kind(step)
    arguments = {name: value for name, value in request.items() if name != f"{kind}JobName"}
    rendered = {
        "Name": step_name(step.name),
        "Type": kind,
        "Arguments": _render_placeholders(arguments),
        "DisplayName": step.name,
        "Description": step.description,
        "RetryPolicies": [dict(policy) for policy in RETRY_POLICIES],
    }
    return rendered | ({"DependsOn": [step_name(name) for name in step.after]} if step.after else {})


def _create_request(
    step: PipelineStep, types: Mapping[str, str], defaults: PipelineDefaults
) -> dict[str, Any]:
    """The Create request of a step. Its instance type is a placeholder, unless the job needs another than most jobs."""
    kind, own = _kind(step), step.job.instance_types[0]
    instance_type = f"Parameters.{kind}InstanceType" if own == types[kind] else own
    name, folder = step_name(step.name)[:32].rstrip("-"), f"{defaults.output}/{step_name(step.name)}"
    job = replace(step.job, arguments=step.arguments)
    if isinstance(job, TrainingJob):
        return create_request(replace(job, hyperparameters={}), name, instance_type, folder=folder)
    return create_request(replace(job, inputs=()), name, instance_type)


def _require_limits(requests: Mapping[str, dict[str, Any]]) -> None:
    faults = []
    for request in requests.values():
        try:
            preflight(_fill_placeholders(request))
        except LimitsExceeded as exceeded:
            faults.append(str(exceeded))
    if faults:
        raise PermanentFailure("\n".join(faults))


def _fill_placeholders(value: Any) -> Any:
    """The request with a valid example for each placeholder. The real values are known only when an execution starts."""
    if isinstance(value, dict):
        return {name: _fill_placeholders(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_fill_placeholders(inner) for inner in value]
    if value == ROLE:
        return "arn:aws:iam::123456789012:role/any"
    return "ml.any" if isinstance(value, str) and value.endswith("InstanceType") else value


def _render_placeholders(value: Any) -> Any:
    """The request with `{"Get": …}` for each text `Parameters.X` or `Execution.X`. SageMaker fills it in."""
    if isinstance(value, dict):
        return {name: _render_placeholders(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_render_placeholders(inner) for inner in value]
    return {"Get": value} if isinstance(value, str) and _PLACEHOLDER.fullmatch(value) else value


def _most_common_type(steps: Sequence[PipelineStep], kind: str) -> str:
    """The instance type that most jobs of a kind prefer. Empty if there is no such job."""
    counts = Counter(step.job.instance_types[0] for step in steps if _kind(step) == kind)
    return counts.most_common(1)[0][0] if counts else ""


def _kind(step: PipelineStep) -> str:
    return "Training" if isinstance(step.job, TrainingJob) else "Processing"
