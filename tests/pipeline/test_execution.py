"""Both pipelines run without Dagster: the rendered steps, their jobs in SageMaker's double, the tables in its lake."""

from __future__ import annotations

from datetime import date, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import boto3
import pytest

from ruter_dagster.commands.pipeline_definition import pipeline_definition
from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.contracts.container import BASE_VARIABLE, Container
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import (
    MODEL_NAME,
    Balance,
    Features,
    Forecast,
    JobParameters,
    Levels,
    Sample,
    Snapshot,
)
from ruter_dagster.contracts.tables import (
    LOAD_FORECASTS,
    PLANNED_DEPARTURES,
    STOP_LOADS,
    STOP_VISITS,
    WEATHER_FORECASTS,
)
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import Reporter
from ruter_dagster.publishing.broker import Broker
from ruter_dagster.publishing.cluster import cluster_connection
from ruter_dagster.publishing.consumer import read_markers
from sagemaker_double.control import Remote
from tests.jobs.demo_jobs import quality_check
from tests.pipeline.execution import execute

D = date(2026, 11, 20)
STARTED = "2026-11-20T03:30:00.000Z"
ROLE = "arn:aws:iam::123456789012:role/jobs"

pytestmark = pytest.mark.extended


def days(first: int, last: int) -> tuple[date, ...]:
    return tuple(D + timedelta(day) for day in range(first, last + 1))


def history() -> list[JobParameters]:
    """What former days left: counts and plans of seven weeks, three weeks to train on, and yesterday's forecast."""

    counted, planned, featured, issued = days(-49, -2), days(-49, -1), days(-23, -1), days(-20, -1)
    return [
        Snapshot(table=PLANNED_DEPARTURES.name, dates=planned, of_range=True),
        quality_check(PLANNED_DEPARTURES, *planned),
        Snapshot(table=STOP_VISITS.name, dates=counted, of_range=True),
        quality_check(STOP_VISITS, *counted),
        Balance(dates=counted, of_range=True),
        quality_check(STOP_LOADS, *counted),
        Snapshot(table=WEATHER_FORECASTS.name, dates=days(-24, -1), of_range=True),
        quality_check(WEATHER_FORECASTS, *days(-24, -1)),
        Features(dates=featured, of_range=True),
        quality_check(DEPARTURE_FEATURES, *featured),
        Levels(dates=issued, of_range=True),
        quality_check(LEVELS, *issued),
        Sample(dates=days(-23, -2), rows=1000, seed=1, of_range=True),
    ]


def context_of(settings: Settings, parameters: JobParameters, folder: Path) -> JobContext:
    return JobContext(settings, parameters, Container(folder), Reporter(None))


@pytest.fixture
def settings(
    sagemaker_double: Remote,
    kafka_broker: Broker,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """Settings of an environment in AWS, with a lake that is empty."""
    for name, value in {
        "RUTER_ENVIRONMENT": "test",
        "RUTER_LAKE": "s3://lake/ruter",
        "RUTER_MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "RUTER_STATE_DIR": str(tmp_path / "state"),
        "RUTER_EVALUATION_DAYS": "7",
        "KAFKA_BOOTSTRAP_SERVERS": kafka_broker.bootstrap_servers,
        "RUTER_KAFKA_TOPIC_PREFIX": topic_prefix,
    }.items():
        monkeypatch.setenv(name, value)
    sagemaker_double.set(base_variable=BASE_VARIABLE)
    place = {"LocationConstraint": "eu-west-1"}
    boto3.client("s3").create_bucket(Bucket="lake", CreateBucketConfiguration=place)
    return load_settings(_env_file=None)


def test_the_chain_of_an_issue_date_runs_without_dagster(
    settings: Settings, sagemaker_double: Remote, aws: Any, tmp_path: Path
):
    for parameters in history():
        job = import_module(f"ruter_dagster.jobs.{parameters.job}")
        job.run(parameters, context_of(settings, parameters, tmp_path))

    def run(name: str, **given: str) -> list[str]:
        definition = pipeline_definition(name, settings, role=ROLE, image="image@sha256:0")
        return execute(definition, given, STARTED, aws("sagemaker"), sagemaker_double)

    assert len(run("training")) == 4
    seen = context_of(settings, Forecast(dates=(D,)), tmp_path)
    champion = seen.models.newest_champion(MODEL_NAME, D - timedelta(1))
    assert champion and seen.models.load(MODEL_NAME, champion).training_cutoff == D - timedelta(2)

    assert len(run("daily", IssueDate="today")) == 19, (
        "today is the operator's day when the execution was started"
    )
    seen = context_of(settings, Forecast(dates=(D,)), tmp_path)
    forecasts = seen.store.read(LOAD_FORECASTS, [D])
    assert set(forecasts["model_version"]) == {champion}
    (marker,) = read_markers(cluster_connection(settings)).values()
    assert (marker.issue_date, marker.calls) == (D, forecasts.height)
