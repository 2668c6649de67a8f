"""What the platform refuses at Create, beyond what boto3 checks before it asks."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from sagemaker_double.control import Remote
from sagemaker_double.limits import matches
from sagemaker_double.requests import processing, training

SPOT: dict[str, Any] = {"EnableManagedSpotTraining": True}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (processing("a_b"), "regular expression"),
        (processing("a" * 64), "less than or equal to 63"),
        (processing("job", Environment={"LONG": "x" * 257}), "less than or equal to 256"),
        (processing("job", Environment={"1ST": "x"}), "regular expression"),
        (processing("job", Tags=[{"Key": "dates", "Value": "a|b"}]), "regular expression"),
        (processing("job", Tags=[{"Key": "a", "Value": ""}, {"Key": "a", "Value": ""}]), "more than once"),
        (processing("job", Tags=[{"Key": "aws:x", "Value": ""}]), "reserved"),
        (processing("job", AppSpecification={"ImageUri": "i", "ContainerArguments": ["a\nb"]}), "regular expression"),
        (processing("job", StoppingCondition={"MaxRuntimeInSeconds": 777601}), "777600"),
        (training("job", HyperParameters={"long": "x" * 2501}), "2500"),
        (training("job", StoppingCondition={"MaxRuntimeInSeconds": 2419201}), "2419200"),
        (training("job", **SPOT), "Invalid MaxWaitTimeInSeconds"),
        (training("job", StoppingCondition={"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 2}), "only for jobs"),
    ],
)  # fmt: skip
def test_a_request_beyond_a_limit_is_refused(
    sagemaker_double: Remote, aws: Any, request_: dict[str, Any], words: str
) -> None:
    create = "create_processing_job" if "ProcessingJobName" in request_ else "create_training_job"
    with pytest.raises(ClientError, match=words) as refused:
        getattr(aws("sagemaker"), create)(**request_)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert sagemaker_double.jobs() == []


def test_all_faults_of_a_request_are_told_at_once(sagemaker_double: Remote, aws: Any) -> None:
    with pytest.raises(ClientError, match="2 validation errors"):
        aws("sagemaker").create_processing_job(**processing("a_b", Environment={"LONG": "x" * 257}))


def test_training_takes_longer_variables_than_processing(sagemaker_double: Remote, aws: Any) -> None:
    aws("sagemaker").create_training_job(**training("job", Environment={"LONG": "x" * 512}))
    assert sagemaker_double.wait_for("job")["status"] == "Completed"


def test_javas_letter_classes_are_letters_of_any_script() -> None:
    pattern = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)"
    assert matches(pattern, "Blåbærveien 7 @ ÆØÅ/2025-01-01")
    assert not matches(pattern, "a|b")
    assert not matches(pattern, "[a]")
