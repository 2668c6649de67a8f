"""Fixtures of the sensor tests: ticks as the daemon evaluates them, and recorded runs and materialisations."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from dagster import (
    AssetMaterialization,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    SensorDefinition,
    build_sensor_context,
)
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.test_utils import create_run_for_test

from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.sensors.chain import ISSUE_DATE_TAG
from tests.scripted_launcher import defs
from tests.slack_stub import TOKEN, SlackStub, running_slack

Tick = Callable[..., SensorExecutionData]


@pytest.fixture
def slack() -> Iterator[SlackStub]:
    with running_slack() as stub:
        yield stub


def settings_for(slack: SlackStub, **values: object) -> Settings:
    defaults = {
        "slack_token": TOKEN,
        "slack_api_url": slack.url,
        "dagster_url": "http://dagster.test/",
        "environment": "test",
    }
    return load_settings(_env_file=None, **defaults | values)


@pytest.fixture
def tick(instance: DagsterInstance) -> Tick:
    """Evaluates a sensor once. Like the daemon, it keeps the cursor of each tick that did not fail."""
    cursors: dict[str, str | None] = {}

    def evaluate(sensor: SensorDefinition) -> SensorExecutionData:
        with build_sensor_context(
            instance=instance, cursor=cursors.get(sensor.name), repository_def=defs.get_repository_def()
        ) as context:
            result = sensor.evaluate_tick(context)
        cursors[sensor.name] = result.cursor
        return result

    return evaluate


@pytest.fixture
def record_run(instance: DagsterInstance) -> Callable[..., DagsterRun]:
    """Records a run of the daily chain with a status."""

    def record(
        job: str, issue_date: str, status: DagsterRunStatus = DagsterRunStatus.SUCCESS, **tags: str
    ) -> DagsterRun:
        return create_run_for_test(
            instance, job_name=job, status=status, tags={ISSUE_DATE_TAG: issue_date, **tags}
        )

    return record


@pytest.fixture
def materialise(instance: DagsterInstance) -> Callable[..., None]:
    """Records materialisations of partitions of an asset, with a content hash."""

    def record(asset: str, content: str, *partitions: str) -> None:
        for partition in partitions:
            instance.report_runless_asset_event(
                AssetMaterialization(
                    asset_key=asset.split("/"),
                    partition=partition,
                    metadata={"content_hash": f"{content} {partition}"},
                )
            )

    return record
