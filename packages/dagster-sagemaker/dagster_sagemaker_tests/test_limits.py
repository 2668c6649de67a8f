"""No limit of SageMaker's model is forgotten: each one of each field that is filled is broken in turn, and must be told."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any

import botocore.session
import pytest

from dagster_sagemaker import (
    Channel,
    InlineInput,
    LimitsExceeded,
    S3Input,
    S3Output,
    create_request,
    preflight,
)
from dagster_sagemaker_tests.conftest import processing, training

MODEL = botocore.session.get_session().get_service_model("sagemaker")
COMMON = {
    "entrypoint": ("python", "-m", "jobs"),
    "arguments": ("features",),
    "environment": {"LEVEL": "info"},
    "instance_count": 2,
    "volume_gb": 50,
    "max_runtime_seconds": 600,
    "subnets": ("subnet-1",),
    "security_groups": ("sg-1",),
    "volume_kms_key": "key/1",
    "output_kms_key": "key/2",
    "encrypt_between_instances": True,
    "network_isolation": True,
    "tags": {"project": "loads"},
}
NOT_IN_THE_REQUEST = {"key", "extras", "identity", "retryable_exit_codes", "pipes", "request"}
PLACE = "/opt/ml/processing/"

PROCESSING = processing(
    **COMMON,
    inputs=(
        S3Input("counts", "s3://bucket/counts/", PLACE + "counts"),
        InlineInput("parameters", "{}", PLACE + "parameters", "parameters.json"),
    ),
    outputs=(S3Output("report", PLACE + "report", "s3://bucket/reports/"),),
)
ON_DEMAND = training(
    **COMMON,
    channels=(Channel("counts", "s3://bucket/counts/", content_type="text/csv"),),
    hyperparameters={"trees": "500"},
    output_s3="s3://bucket/models/",
    checkpoint_s3="s3://bucket/checkpoints/",
    checkpoint_path="/opt/ml/kept",
    keep_alive_seconds=600,
)
SPOT = training(**COMMON, spot=True, max_wait_seconds=1200)
REQUESTS = {
    "Processing": (
        "CreateProcessingJob",
        create_request(PROCESSING, "n", "ml.m5.large", folder="s3://b/f"),
    ),
    "Training": ("CreateTrainingJob", create_request(ON_DEMAND, "n", "ml.m5.large", folder="s3://b/f")),
    "spot Training": ("CreateTrainingJob", create_request(SPOT, "n", "ml.m5.large", folder="s3://b/f")),
}

Path = tuple[Any, ...]


def limits(shape: Any, value: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Every place in a request, its shape and its value."""
    yield path, shape, value
    if shape.type_name == "structure":
        for name, item in value.items():
            yield from limits(shape.members[name], item, (*path, name))
    elif shape.type_name == "list":
        for number, item in enumerate(value):
            yield from limits(shape.member, item, (*path, number))
    elif shape.type_name == "map":
        for name, item in value.items():
            yield from limits(shape.value, item, (*path, name))


def broken(shape: Any, value: Any) -> Iterator[Any]:
    """Values that break each limit of a shape by one."""
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if shape.type_name in ("integer", "long"):
        yield from ([most + 1] if most is not None else []) + ([least - 1] if least is not None else [])
    elif shape.type_name == "list":
        yield from ([(value * (most + 1))[: most + 1]] if most is not None else []) + ([[]] if least else [])
    elif shape.type_name == "map":
        (entry,) = value.values()
        yield {f"name{number}": entry for number in range(most + 1)}
        yield from ({name: entry} for name in broken(shape.key, next(iter(value))))
    elif shape.type_name == "string":
        if shape.enum:
            yield "none of them"
        if most is not None:
            yield value + "x" * (most + 1 - len(value))
        if least:
            yield ""
        # Patterns of any text but a line's end are broken by that, the others by it too.
        if shape.metadata.get("pattern") not in (None, r"[\S\s]*"):
            yield value + "\n;"


def changed(request: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    request = copy.deepcopy(request)
    holder: Any = request
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return request


@pytest.mark.parametrize(("operation", "request_"), REQUESTS.values(), ids=REQUESTS)
def test_each_limit_of_the_model_is_checked(operation: str, request_: dict[str, Any]):
    preflight(request_)
    passed, tried = [], 0
    for path, shape, value in limits(MODEL.operation_model(operation).input_shape, request_):
        for wrong in broken(shape, value):
            tried += 1
            try:
                preflight(changed(request_, path, wrong))
            except LimitsExceeded:
                continue
            passed.append((path, str(wrong)[:60]))
    assert not passed
    assert tried > 40


@pytest.mark.parametrize("jobs", [(PROCESSING,), (ON_DEMAND, SPOT)], ids=["Processing", "Training"])
def test_requests_of_this_test_have_all_job_fields(jobs: Any):
    """A new field must be filled above, so that its limits are tried."""
    for entry in fields(jobs[0]):
        default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
        filled = any(getattr(job, entry.name) != default for job in jobs)
        assert filled or entry.name in NOT_IN_THE_REQUEST, entry.name
