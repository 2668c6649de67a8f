"""What Describe's answer becomes in the metadata of an asset."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dagster import MetadataValue

from dagster_sagemaker.kinds import PROCESSING, TRAINING
from dagster_sagemaker.metadata import job_metadata

START = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
TRAINED: dict[str, Any] = {
    "TrainingJobName": "loads-0",
    "TrainingJobArn": "arn:aws:sagemaker:eu-north-1:123456789012:training-job/loads-0",
    "TrainingJobStatus": "Completed",
    "TrainingStartTime": START,
    "TrainingEndTime": START + timedelta(hours=1),
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2},
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/models/"},
    "ModelArtifacts": {"S3ModelArtifacts": "s3://bucket/models/loads-0/output/model.tar.gz"},
    "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints"},
    "FinalMetricDataList": [
        {"MetricName": "rmse", "Value": 2.5, "Timestamp": START},
        {"MetricName": "validation:loss", "Value": float("nan"), "Timestamp": START},
    ],
}
PROCESSED: dict[str, Any] = {
    "ProcessingJobName": "loads-0",
    "ProcessingJobStatus": "Completed",
    "ProcessingOutputConfig": {
        "Outputs": [
            {"OutputName": "report", "S3Output": {"S3Uri": "s3://bucket/reports/"}},
            {"OutputName": "features", "FeatureStoreOutput": {"FeatureGroupName": "loads"}},
        ]
    },
}
GROUPS = [
    {"InstanceGroupName": "cpu", "InstanceType": "ml.c5.large", "InstanceCount": 2},
    {"InstanceGroupName": "gpu", "InstanceType": "ml.g5.large", "InstanceCount": 1},
]


def test_training_metadata_has_model_outputs_and_metrics():
    entries = job_metadata(TRAINING, TRAINED)
    assert entries["sagemaker/model_artifact"] == MetadataValue.path(
        "s3://bucket/models/loads-0/output/model.tar.gz"
    )
    assert entries["sagemaker/output"] == MetadataValue.path("s3://bucket/models/loads-0/output/")
    assert entries["sagemaker/checkpoints"] == MetadataValue.path("s3://bucket/checkpoints")
    assert entries["sagemaker/metric/rmse"] == 2.5
    assert entries["sagemaker/metric/validation:loss"] == "nan"
    assert entries["sagemaker/exit_code"] == 0


def test_processing_metadata_has_outputs_by_name():
    entries = job_metadata(PROCESSING, PROCESSED)
    outputs = {name: value for name, value in entries.items() if name.startswith("sagemaker/output")}
    assert outputs == {"sagemaker/output/report": MetadataValue.path("s3://bucket/reports/")}


def test_failed_job_has_an_exit_code_and_no_outputs():
    failed = PROCESSED | {"ProcessingJobStatus": "Failed", "FailureReason": "AlgorithmError: , exit code: 65"}
    entries = job_metadata(PROCESSING, failed)
    assert entries["sagemaker/exit_code"] == 65
    assert "sagemaker/output/report" not in entries


@pytest.mark.parametrize(
    ("cluster", "types", "count", "cost"),
    [
        ({"InstanceType": "ml.c5.large", "InstanceCount": 2}, "ml.c5.large", 2, 2.0),
        ({"InstanceGroups": GROUPS}, "ml.c5.large, ml.g5.large", 3, 7.0),
        (
            {
                "InstancePreferences": [{"InstanceType": "ml.c5.large"}, {"InstanceType": "ml.g5.large"}],
                "SelectedInstanceType": "ml.g5.large",
                "SelectedInstanceCount": 4,
            },
            "ml.g5.large",
            4,
            20.0,
        ),
    ],
    ids=["type", "groups", "preferences"],
)
def test_metadata_has_instances_and_cost_that_ran(cluster, types, count, cost):
    entries = job_metadata(
        TRAINING, TRAINED | {"ResourceConfig": cluster}, prices={"ml.c5.large": 1.0, "ml.g5.large": 5.0}
    )
    assert entries["sagemaker/instance_type"] == types
    assert entries["sagemaker/instance_count"] == count
    assert entries["sagemaker/estimated_cost"] == cost


def test_cost_is_unknown_without_the_price_of_each_type():
    described = TRAINED | {"ResourceConfig": {"InstanceGroups": GROUPS}}
    assert "sagemaker/estimated_cost" not in job_metadata(TRAINING, described, prices={"ml.c5.large": 1.0})
