"""Fixtures of the sensor tests: ticks as the daemon evaluates them, and recorded runs and materialisations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

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

from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.sensors.alerts import alert_sensors
from ruter_dagster.sensors.chain import ISSUE_DATE_TAG
from tests.scripted_launcher import ASSETS, defs
from tests.slack_stub import TOKEN, SlackStub, running_slack

NOW = datetime(2026, 3, 30, 5, 0, tzinfo=UTC)
"""The time of ticks of the sensor `alerts`: seven in the morning after the newest closed operating date, 2026-03-29."""

Tick = Callable[..., SensorExecutionData]


class Clock:
    """The time that the sensor `alerts` reads. Each tick is a second later; tests move it further."""

    def __init__(self) -> None:
        self.now = NOW

    def read(self, _: str) -> datetime:
        self.pass_time(seconds=1)
        return self.now

    def pass_time(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("ruter_dagster.sensors.alerts.get_current_datetime", clock.read)
    return clock


def alerts_of(settings: Settings) -> SensorDefinition:
    (sensor,) = alert_sensors(settings, operator_of(settings), ASSETS)
    return sensor


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
        "alert_quiet_minutes": 0,
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
