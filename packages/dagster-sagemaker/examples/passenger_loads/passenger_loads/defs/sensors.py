"""Stops jobs that no run waits for."""

import os

from dagster import Definitions, definitions

from dagster_sagemaker import unawaited_jobs_sensor


@definitions
def sensors() -> Definitions:
    return Definitions(sensors=[unawaited_jobs_sensor(f"s3://{os.environ['BUCKET']}/artifacts")])
