"""The sensor of the package dagster_sagemaker is wired with the product's settings. The package tests what it stops."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus, DefaultSensorStatus
from dagster._core.test_utils import create_run_for_test

from dagster_sagemaker.calls import Calls
from dagster_sagemaker.folder import Attempt, Folder, Record
from ruter_dagster.config.settings import load_settings
from ruter_dagster.sensors import unawaited_jobs
from ruter_dagster.sensors.unawaited_jobs import unawaited_job_sensors
from sagemaker_double.control import Remote
from sagemaker_double.requests import processing
from sagemaker_double.settings import Settings as Double
from tests.sensors.conftest import Tick

SETTINGS = load_settings(
    _env_file=None,
    environment="dev",
    lake="s3://lake",
    aws_region=Double.region,
    mlflow_tracking_uri="https://mlflow.example.org",
)


def test_job_below_artifacts_location_is_stopped(
    sagemaker_double: Remote, aws: Any, instance: DagsterInstance, tick: Tick
) -> None:
    aws("s3").create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": Double.region})
    run = create_run_for_test(instance, job_name="counts", status=DagsterRunStatus.STARTED)
    folder = Folder(aws("s3"), Calls(), SETTINGS.artifacts_location, run.run_id, "folder")
    folder.write_record(Record("job", [Attempt(0, "job", "ml.m5.large", False, run.run_id)]))
    aws("sagemaker").create_processing_job(**processing("job", "import time; time.sleep(600)"))
    instance.report_run_canceled(run)
    (sensor,) = unawaited_job_sensors(SETTINGS)
    assert "job stopped" in (tick(sensor).skip_message or "")
    sagemaker_double.wait_for("job", "Stopped")


def test_records_are_read_with_short_calls_in_the_region_of_the_settings(
    instance: DagsterInstance, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients, places = [], []

    def create_client(service: str, region: str | None, **options: float) -> Any:
        clients.append((service, region, options))
        pages = SimpleNamespace(paginate=lambda **place: places.append(place) or [])
        return SimpleNamespace(get_paginator=lambda _: pages)

    monkeypatch.setattr(unawaited_jobs, "client", create_client)
    run = create_run_for_test(instance, job_name="counts", status=DagsterRunStatus.STARTED)
    instance.report_run_canceled(run)
    (sensor,) = unawaited_job_sensors(SETTINGS.model_copy(update={"aws_region": "eu-south-2"}))
    tick(sensor)
    options = {"max_attempts": 1, "timeout": 5.0}
    assert clients == [("sagemaker", "eu-south-2", options), ("s3", "eu-south-2", options)]
    (place,) = places
    assert f"s3://{place['Bucket']}/{place['Prefix']}" == f"{SETTINGS.artifacts_location}/pipes/{run.run_id}/"


def test_sensor_is_on_wherever_jobs_run_in_sagemaker() -> None:
    local = load_settings(_env_file=None, environment="local")
    assert unawaited_job_sensors(local) == []
    for environment in ("s-line1-0a1b2c", "dev", "prod"):
        (sensor,) = unawaited_job_sensors(SETTINGS.model_copy(update={"environment": environment}))
        assert sensor.default_status == DefaultSensorStatus.RUNNING


def test_guide_names_the_sensor() -> None:
    (sensor,) = unawaited_job_sensors(SETTINGS)
    guide = Path(__file__).parents[2] / "docs" / "sagemaker.md"
    assert f"the sensor `{sensor.name}`" in guide.read_text()
