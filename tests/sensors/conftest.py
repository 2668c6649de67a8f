"""What the sensors' tests share: a real instance of their own, and ticks as the daemon evaluates them."""

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


def settings_for(slack: SlackStub, **more: object) -> Settings:
    given = {
        "slack_token": TOKEN,
        "slack_api_url": slack.url,
        "dagster_url": "http://dagster.test/",
        "environment": "test",
    }
    return load_settings(_env_file=None, **given | more)


@pytest.fixture
def tick(instance: DagsterInstance) -> Tick:
    """Evaluates a sensor once; like the daemon it keeps the cursor, and not that of a tick that failed."""
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
def ended(instance: DagsterInstance) -> Callable[..., DagsterRun]:
    """Records a run of the chain that has ended (or has not)."""

    def record(
        job: str, issue_date: str, status: DagsterRunStatus = DagsterRunStatus.SUCCESS, **tags: str
    ) -> DagsterRun:
        return create_run_for_test(
            instance, job_name=job, status=status, tags={ISSUE_DATE_TAG: issue_date, **tags}
        )

    return record


@pytest.fixture
def holds(instance: DagsterInstance) -> Callable[..., None]:
    """Records what partitions of an asset hold."""

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
