"""The sensor that stops SageMaker jobs which no run waits for. The package dagster_sagemaker finds and stops them."""

from __future__ import annotations

from dagster import SensorDefinition

from ruter_dagster.aws.clients import client
from ruter_dagster.config.settings import Settings

CALL_SECONDS = 5.0
"""The longest wait for the answer of one AWS call."""


def unawaited_job_sensors(settings: Settings) -> list[SensorDefinition]:
    """The sensor `unawaited_sagemaker_jobs`, if jobs run in SageMaker.

    It is on in sandboxes too: it starts no run, and jobs that are not stopped cost money there as well.
    """
    if not settings.runs_in_sagemaker:
        return []
    from dagster_sagemaker import unawaited_jobs_sensor

    def short_client(service: str) -> object:
        return client(service, settings.aws_region, max_attempts=1, timeout=CALL_SECONDS)

    return [unawaited_jobs_sensor(settings.artifacts_location, clients=short_client)]
