"""The model: a Training job that is described in Python."""

import os
from collections.abc import Iterator

from dagster import AssetExecutionContext, PipesExecutionResult, RetryPolicy, asset

from dagster_sagemaker import Channel, PipesSageMakerTrainingClient, TrainingJob


@asset(
    deps=["features"],
    group_name="passenger_loads",
    description="The usual load by line, stop and hour.",
    retry_policy=RetryPolicy(max_retries=2, delay=60),
)
def model(
    context: AssetExecutionContext, training: PipesSageMakerTrainingClient
) -> Iterator[PipesExecutionResult]:
    bucket = f"s3://{os.environ['BUCKET']}"
    job = TrainingJob(
        image=os.environ["IMAGE"],
        role=os.environ["ROLE"],
        instance_types=("ml.m5.large", "ml.m6i.large"),
        entrypoint=("python", "train.py"),
        arguments=("/opt/ml",),
        max_runtime_seconds=900,
        channels=(Channel("features", f"{bucket}/features/"),),
        hyperparameters={"weight": "2", "test_days": "2"},
        output_s3=f"{bucket}/models/",
        spot=True,
        request={
            "AlgorithmSpecification": {"MetricDefinitions": [{"Name": "mae", "Regex": "mae=([0-9.]+)"}]}
        },
    )
    yield from training.run(context=context, job=job).get_results()
