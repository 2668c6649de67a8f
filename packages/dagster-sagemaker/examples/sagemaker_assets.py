"""A code location with two assets that are SageMaker jobs: copy it, and put in your own account, image, role and bucket.

    dagster dev -f examples/sagemaker_assets.py

The image needs Python, dagster-pipes, boto3 and your own code, which reports as `container_code` below does.
"""

import json
import sys
from pathlib import Path

from dagster import (
    AssetExecutionContext,
    DailyPartitionsDefinition,
    Definitions,
    RetryPolicy,
    WeeklyPartitionsDefinition,
    asset,
)

from dagster_sagemaker import (
    InlineInput,
    PipesSageMakerProcessingClient,
    PipesSageMakerTrainingClient,
    ProcessingJob,
    S3Output,
    TrainingJob,
)

ACCOUNT = "123456789012"
IMAGE = f"{ACCOUNT}.dkr.ecr.eu-north-1.amazonaws.com/jobs@sha256:{'0' * 64}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/sagemaker-jobs"
BUCKET = "s3://my-bucket"
CHECKPOINT = Path("/opt/ml/checkpoints/trees.json")
PRICES = {"ml.m5.xlarge": 0.23, "ml.m6i.xlarge": 0.23}


def container_code() -> None:
    """What runs in the image: `python -m my_jobs features` or `train` calls it."""
    import boto3
    from dagster_pipes import PipesS3ContextLoader, PipesS3MessageWriter, open_dagster_pipes

    s3 = boto3.client("s3")
    with open_dagster_pipes(
        context_loader=PipesS3ContextLoader(s3), message_writer=PipesS3MessageWriter(s3, interval=2)
    ) as pipes:
        pipes.log.info(f"partition {pipes.partition_key}")
        rows = train(pipes.get_extra("trees"), CHECKPOINT) if sys.argv[1] == "train" else 0
        pipes.report_asset_materialization(metadata={"rows": rows}, data_version="1")


def train(trees: int, checkpoint: Path) -> int:
    """Goes on from the checkpoint that SageMaker has laid out, if any; what is written there it uploads as it comes."""
    grown = json.loads(checkpoint.read_text()) if checkpoint.exists() else 0
    for tree in range(grown, trees):
        # … grow it …
        checkpoint.write_text(json.dumps(tree + 1))
    checkpoint.write_text("0")  # the next training of this partition begins anew
    return trees - grown


@asset(
    partitions_def=DailyPartitionsDefinition("2026-01-01"), retry_policy=RetryPolicy(max_retries=2, delay=60)
)
def features(context: AssetExecutionContext, processing: PipesSageMakerProcessingClient):
    """A day's features: short, many, no spot; parameters come as a file."""
    day = context.partition_key
    job = ProcessingJob(
        image=IMAGE,
        role=ROLE,
        entrypoint=("python", "-m", "my_jobs"),
        arguments=("features",),
        instance_types=("ml.m5.xlarge", "ml.m6i.xlarge"),
        max_runtime_seconds=1800,
        inputs=(
            InlineInput(
                name="parameters",
                content=json.dumps({"day": day}),
                local_path="/opt/ml/processing/input/parameters",
                filename="parameters.json",
            ),
        ),
        outputs=(S3Output("features", "/opt/ml/processing/output", f"{BUCKET}/features/{day}/"),),
        retryable_exit_codes=range(1, 64),
        tags={"project": "loads"},
    )
    yield from processing.run(context=context, job=job).get_results()


@asset(
    deps=[features],
    partitions_def=WeeklyPartitionsDefinition("2026-01-04"),
    retry_policy=RetryPolicy(max_retries=2, delay=60),
)
def model(context: AssetExecutionContext, training: PipesSageMakerTrainingClient):
    """A week's model, on spot instances; where one is taken away, or the run fails, the next goes on from the checkpoint."""
    job = TrainingJob(
        image=IMAGE,
        role=ROLE,
        entrypoint=("python", "-m", "my_jobs"),
        arguments=("train",),
        instance_types=("ml.m5.xlarge", "ml.m6i.xlarge"),
        max_runtime_seconds=2 * 3600,
        spot=True,
        checkpoint_s3=f"{BUCKET}/checkpoints/{context.partition_key}/",
        output_s3=f"{BUCKET}/models/",
    )
    yield from training.run(context=context, job=job, extras={"trees": 500}).get_results()


defs = Definitions(
    assets=[features, model],
    resources={
        "processing": PipesSageMakerProcessingClient(f"{BUCKET}/artifacts", prices=PRICES),
        "training": PipesSageMakerTrainingClient(f"{BUCKET}/artifacts", prices=PRICES),
    },
)
