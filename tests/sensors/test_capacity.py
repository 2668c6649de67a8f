"""A plan that the stored forecasts did not use is applied to today's forecasts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from dagster import (
    AssetMaterialization,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
)
from dagster._core.events import StepMaterializationData
from dagster._core.test_utils import create_run_for_test, freeze_time

from ruter_dagster.compat.tags import PARTITION_NAME_TAG
from ruter_dagster.config.operator import load_operator
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES
from ruter_dagster.orchestration.capacity import JOB
from ruter_dagster.sensors.capacity import capacity_sensors
from tests.scripted_launcher import JOBS
from tests.sensors.conftest import Tick

DAYS = ("2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23")
PLAN, FORECASTS = "quality/planned_departures", "forecasts/load_forecasts"
NOW = datetime(2026, 11, 20, 7, tzinfo=UTC)
FAILED = DagsterRunStatus.FAILURE
(SENSOR,) = capacity_sensors(load_settings(_env_file=None, source="demo"), load_operator("ruter"), JOBS)


class Day:
    """Records the plan, the forecasts and the runs of issue date `DAYS[0]`, and ticks the sensor."""

    def __init__(self, instance: DagsterInstance, tick: Tick) -> None:
        self._instance, self._tick = instance, tick
        self._passed: dict[str, str] = {}

    def plan(self, version: str, *days: str, run_id: str = "by hand", verdict: str = "passed") -> None:
        for day in days or DAYS:
            self._record(PLAN, day, run_id, content_hash=f"{version}-{verdict}")
            if verdict == "passed":
                self._passed[day] = version

    def forecast(self, run_id: str = "by hand", used: str | None = None) -> None:
        """The forecasts of a run that used the present plan, or this version of it."""
        dates = dict.fromkeys(DAYS, used) if used else dict(self._passed)
        inputs = {PLANNED_DEPARTURES.name: {"snapshot_id": "1", "dates": dates}}
        self._record(FORECASTS, DAYS[0], run_id, content_hash="any", inputs=inputs)

    def requests(self, after: timedelta = timedelta()) -> list[str | None]:
        """The run keys that a tick requests."""
        with freeze_time(NOW + after):
            result = self._tick(SENSOR)
        assert {run.partition_key for run in result.run_requests or []} <= {DAYS[0]}
        self._tags = [dict(run.tags) for run in result.run_requests or []]
        return [run.run_key for run in result.run_requests or []]

    def run(self, status: DagsterRunStatus = DagsterRunStatus.SUCCESS, *, forecasts: bool = True) -> None:
        """A run of the newest request, which wrote forecasts or failed before."""
        (tags,) = self._tags
        with freeze_time(NOW):
            started = DagsterRunStatus.STARTED if status == FAILED else status
            tags = {**tags, PARTITION_NAME_TAG: DAYS[0]}
            run = create_run_for_test(self._instance, job_name=JOB, status=started, tags=tags)
            if forecasts:
                self.forecast(run.run_id)
            if status == FAILED:
                self._instance.report_run_failed(run)

    def _record(self, asset: str, day: str, run_id: str, **metadata: object) -> None:
        event = AssetMaterialization(asset.split("/"), partition=day, metadata=metadata)  # pyright: ignore[reportArgumentType]
        kind = DagsterEventType.ASSET_MATERIALIZATION.value
        self._instance.report_dagster_event(
            DagsterEvent(kind, "any", event_specific_data=StepMaterializationData(event)), run_id
        )


@pytest.fixture
def day(instance: DagsterInstance, tick: Tick) -> Day:
    return Day(instance, tick)


@pytest.fixture
def forecast_day(day: Day) -> Day:
    """Its forecasts used the first plan."""
    day.plan("first")
    day.forecast()
    return day


def test_day_without_forecasts_requests_nothing(day: Day) -> None:
    day.plan("first")
    assert day.requests() == []


def test_changed_plan_is_applied_once(forecast_day: Day) -> None:
    assert forecast_day.requests() == []
    forecast_day.plan("second", DAYS[3])
    assert len(forecast_day.requests()) == 1
    forecast_day.run(DagsterRunStatus.STARTED, forecasts=False)
    assert forecast_day.requests() == [], "it is running"


def test_change_before_the_first_tick_is_applied(forecast_day: Day) -> None:
    """For example, the daemon was down while the plan was copied."""
    forecast_day.plan("second")
    assert len(forecast_day.requests()) == 1
    forecast_day.run()
    assert forecast_day.requests() == []


def test_vehicle_that_changes_back_and_forth_is_applied_each_time(forecast_day: Day) -> None:
    keys = []
    for version in ("shortened", "first", "shortened"):
        forecast_day.plan(version)
        keys += forecast_day.requests()
        forecast_day.run()
    # Dagster drops a request whose key it knows.
    assert len(set(keys)) == 3


@pytest.mark.parametrize("forecasts", [False, True], ids=["before_forecasts", "before_publication"])
def test_failed_run_is_requested_again_after_a_pause(forecast_day: Day, forecasts: bool) -> None:
    forecast_day.plan("second")
    first = forecast_day.requests()
    forecast_day.run(FAILED, forecasts=forecasts)
    assert forecast_day.requests(after=timedelta(minutes=14)) == []
    again = forecast_day.requests(after=timedelta(minutes=16))
    assert len({*first, *again}) == 2
    forecast_day.run()
    assert forecast_day.requests(after=timedelta(minutes=16)) == []


def test_forecasts_by_an_older_plan_are_corrected(forecast_day: Day) -> None:
    forecast_day.plan("second")
    forecast_day.requests()
    forecast_day.run()
    forecast_day.forecast(used="first")
    assert len(forecast_day.requests()) == 1


def test_plan_that_failed_its_checks_is_not_applied(forecast_day: Day) -> None:
    forecast_day.plan("second", verdict="failed")
    assert forecast_day.requests() == []


def test_other_dates_request_nothing(forecast_day: Day) -> None:
    forecast_day.plan("second", "2026-11-19", "2026-11-24")
    assert forecast_day.requests() == []


def test_plan_of_the_daily_chain_is_left_to_it(
    forecast_day: Day, record_run: Callable[..., DagsterRun]
) -> None:
    plan = record_run("plan", DAYS[0])
    forecast_day.plan("second", run_id=plan.run_id)
    assert forecast_day.requests() == [], "forecasting follows"
    record_run("forecasting", DAYS[0], DagsterRunStatus.STARTED)
    assert forecast_day.requests() == [], "forecasting runs"


def test_change_after_an_unchanged_plan_of_the_chain_is_applied(
    forecast_day: Day, record_run: Callable[..., DagsterRun]
) -> None:
    plan = record_run("plan", DAYS[0])
    forecast_day.plan("first", run_id=plan.run_id)
    forecast_day.plan("second", DAYS[1])
    assert len(forecast_day.requests()) == 1
