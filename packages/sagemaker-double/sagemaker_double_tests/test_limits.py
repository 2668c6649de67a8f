"""Requests that the double refuses, and boto3 sends."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from sagemaker_double.control import Remote
from sagemaker_double.limits import matches
from sagemaker_double.requests import processing, training

SPOT: dict[str, Any] = {"EnableManagedSpotTraining": True}
FILE_SYSTEM = {
    "FileSystemDataSource": {
        "FileSystemId": "fs-12345678",
        "FileSystemAccessMode": "ro",
        "FileSystemType": "EFS",
        "DirectoryPath": "/x",
    }
}
ALGORITHM = training("job")["AlgorithmSpecification"] | {"MetricDefinitions": [{"Name": "x", "Regex": "("}]}


def input_to(path: str) -> dict[str, Any]:
    return {
        "InputName": "x",
        "S3Input": {"S3Uri": "s3://bucket/x", "LocalPath": path, "S3DataType": "S3Prefix"},
    }


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
        (training("job", InputDataConfig=[{"ChannelName": "x", "DataSource": FILE_SYSTEM}]), "S3DataSource only"),
        (training("job", CheckpointConfig={"S3Uri": "s3://bucket/x", "LocalPath": "/tmp/x"}), "below /opt/ml only"),
        (training("job", AlgorithmSpecification=ALGORITHM), "cannot read the Regex"),
        (processing("job", ProcessingInputs=[input_to("/opt/ml/processing-x")]), "must be an absolute path"),
        (processing("job", ProcessingInputs=[input_to("/opt/ml/processing/../x")]), "must be an absolute path"),
    ],
)  # fmt: skip
def test_request_above_a_limit_is_refused(
    sagemaker_double: Remote, aws: Any, request_: dict[str, Any], words: str
) -> None:
    create = "create_processing_job" if "ProcessingJobName" in request_ else "create_training_job"
    with pytest.raises(ClientError, match=words) as refused:
        getattr(aws("sagemaker"), create)(**request_)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert sagemaker_double.jobs() == []


def test_error_names_all_faults_of_a_request(sagemaker_double: Remote, aws: Any) -> None:
    with pytest.raises(ClientError, match="2 validation errors"):
        aws("sagemaker").create_processing_job(**processing("a_b", Environment={"LONG": "x" * 257}))


def test_training_takes_longer_variables_than_processing(sagemaker_double: Remote, aws: Any) -> None:
    aws("sagemaker").create_training_job(**training("job", Environment={"LONG": "x" * 512}))
    assert sagemaker_double.wait_for("job")["status"] == "Completed"


def test_java_letter_class_matches_letters_of_any_script() -> None:
    pattern = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)"
    assert matches(pattern, "Blåbærveien 7 @ ÆØÅ/2025-01-01")
    assert not matches(pattern, "a|b")
    assert not matches(pattern, "[a]")
