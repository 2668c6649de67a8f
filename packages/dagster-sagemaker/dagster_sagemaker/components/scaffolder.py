"""Writes a `defs.yaml` that loads, for `dg scaffold defs`."""

from __future__ import annotations

from typing import Any, ClassVar

from dagster import Scaffolder, ScaffoldRequest, scaffold_component

_COMMON = {
    "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/jobs:1",
    "role": "arn:aws:iam::123456789012:role/jobs",
    "instance_types": ["ml.m5.large", "ml.m6i.large"],
    "entrypoint": ["python", "job.py"],
    "max_runtime_seconds": 3600,
}


class JobScaffolder(Scaffolder):
    """Names the asset after the folder. The user replaces image, role and S3 addresses."""

    job: ClassVar[dict[str, Any]]

    def scaffold(self, request: ScaffoldRequest[Any]) -> None:
        name = request.target_path.name.replace("-", "_").removesuffix(".yaml")
        attributes = {
            "assets": [{"key": name, "description": "Made by a SageMaker job."}],
            "artifacts": "s3://my-bucket/artifacts",
            "retry_policy": {"max_retries": 2, "delay": 60},
            "job": {**_COMMON, **self.job},
        }
        scaffold_component(request, attributes)


class ProcessingJobScaffolder(JobScaffolder):
    """A Processing job with one output."""

    job: ClassVar[dict[str, Any]] = {
        "outputs": [
            {
                "name": "result",
                "local_path": "/opt/ml/processing/output",
                "s3_uri": "s3://my-bucket/results/",
            }
        ]
    }


class TrainingJobScaffolder(JobScaffolder):
    """A Training job with one channel."""

    job: ClassVar[dict[str, Any]] = {
        "channels": [{"name": "train", "s3_uri": "s3://my-bucket/training/"}],
        "hyperparameters": {"epochs": 3},
        "output_s3": "s3://my-bucket/models/",
    }
