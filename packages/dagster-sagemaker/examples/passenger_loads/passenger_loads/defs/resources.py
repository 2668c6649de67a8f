"""The client of Training jobs."""

import os

from dagster import Definitions, definitions

from dagster_sagemaker import PipesSageMakerTrainingClient


@definitions
def resources() -> Definitions:
    client = PipesSageMakerTrainingClient(
        f"s3://{os.environ['BUCKET']}/artifacts", prices={"ml.m5.large": 0.12, "ml.m6i.large": 0.12}
    )
    return Definitions(resources={"training": client})
