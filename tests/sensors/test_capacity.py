"""A plan that is copied again on the day itself is applied to today's forecasts, once for each content."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from dagster import SensorDefinition

from ruter_dagster.config.operator import load_operator
from ruter_dagster.config.settings import load_settings
from ruter_dagster.sensors import capacity as module
from ruter_dagster.sensors.capacity import capacity_sensors
from tests.scripted_launcher import JOBS
from tests.sensors.conftest import Tick

DAYS = ("2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23")
PLAN = "quality/planned_departures"


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> SensorDefinition:
    now = datetime(2026, 11, 20, 7, tzinfo=UTC)
    monkeypatch.setattr(module, "get_current_datetime", lambda _: now)
    settings = load_settings(_env_file=None, source="demo")
    (sensor,) = capacity_sensors(settings, load_operator("ruter"), JOBS)
    return sensor


@pytest.fixture
def forecast(materialise: Callable[..., None]) -> None:
    materialise(PLAN, "first", *DAYS)
    materialise("forecasts/load_forecasts", "first", DAYS[0])


def requests(result) -> list[str | None]:
    return [run.partition_key for run in result.run_requests or []]


def test_day_without_forecasts_requests_nothing(tick: Tick, changed, materialise) -> None:
    materialise(PLAN, "first", *DAYS)
    assert "no forecasts yet" in (tick(changed).skip_message or "")


def test_changed_plan_is_applied_once(tick: Tick, changed, forecast, materialise) -> None:
    assert requests(tick(changed)) == []
    materialise(PLAN, "second", DAYS[0])
    result = tick(changed)
    assert requests(result) == ["2026-11-20"]
    assert requests(tick(changed)) == []
    materialise(PLAN, "second", DAYS[0])
    assert requests(tick(changed)) == [], "the same content"
    materialise(PLAN, "third", DAYS[3])
    assert requests(tick(changed)) == ["2026-11-20"]


def test_other_dates_request_nothing(tick: Tick, changed, forecast, materialise) -> None:
    tick(changed)
    materialise(PLAN, "second", "2026-11-19", "2026-11-24")
    assert requests(tick(changed)) == []


def test_plan_of_the_daily_chain_is_left_to_it(
    tick: Tick, changed, forecast, materialise, record_run
) -> None:
    record_run("plan", DAYS[0])
    tick(changed)
    record_run("plan", DAYS[0])
    materialise(PLAN, "second", *DAYS)
    assert requests(tick(changed)) == []
    materialise(PLAN, "third", DAYS[1])
    assert requests(tick(changed)) == ["2026-11-20"]
