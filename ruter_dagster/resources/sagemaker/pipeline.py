"""From jobs in an order to a SageMaker Pipeline definition. Which jobs there are, and what runs one now, belongs elsewhere.

A step's arguments are the Create request that the client would send, less the job's name, with placeholders in it.
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
    preflight,
    processing_request,
    training_request,
)
from ruter_dagster.contracts.errors import PermanentFailure

SCHEMA_VERSION = "2020-12-01"
ROLE, IMAGE, ISSUE_DATE = "Parameters.Role", "Parameters.Image", "Parameters.IssueDate"
STARTED = "Execution.StartDateTime"
"""When the execution was started, in ISO 8601: the same for each of its steps."""
_PLACEHOLDER = re.compile(r"(Parameters|Execution)\.\w+")

RETRY_POLICIES: tuple[Mapping[str, Any], ...] = (
    # SageMaker's own faults, when it starts a step and while the job runs.
    {"BackoffRate": 2.0, "IntervalSeconds": 10, "MaxAttempts": 8, "ExceptionType": ["Step.SERVICE_FAULT", "Step.THROTTLING"]},
    {"BackoffRate": 2.0, "IntervalSeconds": 60, "MaxAttempts": 3, "ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR"]},
    # No instance now, or as many as the quota allows: waits of 1, 2, 4, … minutes, four hours in all.
    {"BackoffRate": 2.0, "IntervalSeconds": 60, "ExpireAfterMin": 240, "ExceptionType": ["SageMaker.CAPACITY_ERROR", "SageMaker.RESOURCE_LIMIT"]},
)  # fmt: skip
"""For each step, with exponential backoff. What the job itself says is wrong is not retried: most of it no retry cures."""


@dataclass(frozen=True)
class PipelineStep:
    """A job as a step. `name` is an asset key. Image and role of the job, and the `arguments` it takes here, may be placeholders."""

    name: str
    description: str
    job: ProcessingJob | TrainingJob
    arguments: tuple[str, ...]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class PipelineDefaults:
    """Default values of the pipeline's parameters; `output` is the S3 address where Training puts its archives."""

    role: str
    image: str
    issue_date: str
    output: str


def render_pipeline(steps: Sequence[PipelineStep], defaults: PipelineDefaults) -> dict[str, Any]:
    """The definition as JSON values. Raises PermanentFailure where SageMaker would refuse a step's job, every fault named."""
    types = {kind: _usual_type(steps, kind) for kind in ("Processing", "Training")}
    values = {
        "Role": defaults.role,
        "Image": defaults.image,
        "IssueDate": defaults.issue_date,
        **{f"{kind}InstanceType": found for kind, found in types.items() if found},
    }
    requests = {step.name: _request(step, types, defaults) for step in steps}
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
        "Steps": [_step(step, requests[step.name]) for step in steps],
    }


def step_name(key: str) -> str:
    """An asset key as a step's name: letters, digits and hyphens, `raw/stop_visits` as `raw-stop-visits`."""
    return re.sub(r"[^A-Za-z0-9]+", "-", key)[:64]


def _step(step: PipelineStep, request: dict[str, Any]) -> dict[str, Any]:
    kind = _kind(step)
    arguments = {name: value for name, value in request.items() if name != f"{kind}JobName"}
    rendered = {
        "Name": step_name(step.name),
        "Type": kind,
        "Arguments": _placeholders(arguments),
        "DisplayName": step.name,
        "Description": step.description,
        "RetryPolicies": [dict(policy) for policy in RETRY_POLICIES],
    }
    return rendered | ({"DependsOn": [step_name(name) for name in step.after]} if step.after else {})


def _request(step: PipelineStep, types: Mapping[str, str], defaults: PipelineDefaults) -> dict[str, Any]:
    """The Create request; a job whose settings name an instance type of its own keeps that."""
    kind, own = _kind(step), step.job.instance_types[0]
    instance_type = f"Parameters.{kind}InstanceType" if own == types[kind] else own
    name, folder = step_name(step.name)[:32].rstrip("-"), f"{defaults.output}/{step_name(step.name)}"
    job = replace(step.job, arguments=step.arguments)
    if isinstance(job, TrainingJob):
        return training_request(replace(job, hyperparameters={}), name, instance_type, folder=folder)
    return processing_request(replace(job, inputs=()), name, instance_type)


def _require_limits(requests: Mapping[str, dict[str, Any]]) -> None:
    faults = []
    for request in requests.values():
        try:
            preflight(_filled(request))
        except LimitsExceeded as exceeded:
            faults.append(str(exceeded))
    if faults:
        raise PermanentFailure("\n".join(faults))


def _filled(value: Any) -> Any:
    """The request with a value of the right form for each placeholder: what a placeholder holds is known at the start only."""
    if isinstance(value, dict):
        return {name: _filled(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner) for inner in value]
    if value == ROLE:
        return "arn:aws:iam::123456789012:role/any"
    return "ml.any" if isinstance(value, str) and value.endswith("InstanceType") else value


def _placeholders(value: Any) -> Any:
    """`Parameters.X` and `Execution.X`, as a whole text, become what a pipeline fills in."""
    if isinstance(value, dict):
        return {name: _placeholders(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_placeholders(inner) for inner in value]
    return {"Get": value} if isinstance(value, str) and _PLACEHOLDER.fullmatch(value) else value


def _usual_type(steps: Sequence[PipelineStep], kind: str) -> str:
    """The instance type that most jobs of a kind prefer; empty where there is no such job."""
    counted = Counter(step.job.instance_types[0] for step in steps if _kind(step) == kind)
    return counted.most_common(1)[0][0] if counted else ""


def _kind(step: PipelineStep) -> str:
    return "Training" if isinstance(step.job, TrainingJob) else "Processing"
