"""Forecasts follow once counts and plan of their issue date have passed: once for each content, and after a retry too."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunRequest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from ruter_dagster.config.operator import load_operator
from ruter_dagster.config.settings import load_settings
from ruter_dagster.sensors.chain import (
    ISSUE_DATE_TAG,
    chain_sensors,
    has_enough_to_train,
    issue_date_of,
    plan_request,
)
from tests.scripted_launcher import ASSETS, JOBS
from tests.sensors.conftest import Tick

SETTINGS = load_settings(_env_file=None)
TIDES = load_settings(_env_file=None, source="tides", tides_path="somewhere")
(CHAIN,) = chain_sensors(SETTINGS, JOBS, ASSETS)
ISSUED = "2026-03-30"
CLOSED = "2026-03-29"
PLANNED = ("2026-03-30", "2026-03-31", "2026-04-01", "2026-04-02")
FAILED = DagsterRunStatus.FAILURE


@pytest.fixture
def inputs(holds: Callable[..., None]) -> None:
    """The day's chain has made what forecasting and monitoring read."""
    holds("features/departure_features", "first", *PLANNED)
    holds("loads/stop_loads", "first", CLOSED)


def asked_for(tick: Tick, job: str) -> list[RunRequest]:
    return [request for request in tick(CHAIN).run_requests or [] if request.job_name == job]


def test_forecasts_wait_for_counts_and_plan(tick: Tick, ended: Callable[..., None], inputs: None) -> None:
    ended("plan", ISSUED)
    assert not asked_for(tick, "forecasting")
    ended("counts", ISSUED)
    (run,) = asked_for(tick, "forecasting")
    assert run.partition_key == ISSUED
    assert run.tags[ISSUE_DATE_TAG] == ISSUED


@pytest.mark.parametrize("status", [FAILED, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELED])
def test_nothing_follows_counts_that_have_not_passed(
    tick: Tick, ended: Callable[..., None], inputs: None, status: DagsterRunStatus
) -> None:
    ended("plan", ISSUED)
    ended("counts", ISSUED, status)
    assert not tick(CHAIN).run_requests


def test_forecasts_follow_counts_that_a_retry_made_pass(
    tick: Tick, ended: Callable[..., None], inputs: None
) -> None:
    ended("plan", ISSUED)
    failed = ended("counts", ISSUED, FAILED)
    assert not asked_for(tick, "forecasting")
    ended("counts", ISSUED, **{"dagster/parent_run_id": failed.run_id, "dagster/is_resume_retry": "true"})
    assert [run.partition_key for run in asked_for(tick, "forecasting")] == [ISSUED]


def test_an_older_success_does_not_count_once_a_newer_run_failed(
    tick: Tick, ended: Callable[..., None], inputs: None
) -> None:
    ended("plan", ISSUED)
    ended("counts", ISSUED)
    ended("counts", ISSUED, FAILED)
    assert not tick(CHAIN).run_requests


def test_runs_of_other_issue_dates_do_not_complete_each_other(
    tick: Tick, ended: Callable[..., None], inputs: None
) -> None:
    ended("plan", "2026-03-29")
    ended("counts", ISSUED)
    assert not asked_for(tick, "forecasting")


def test_one_key_for_one_content(
    tick: Tick, ended: Callable[..., None], inputs: None, holds: Callable[..., None]
) -> None:
    ended("plan", ISSUED)
    ended("counts", ISSUED)
    first, second = asked_for(tick, "forecasting") + asked_for(tick, "forecasting")
    assert first.run_key == second.run_key, "Dagster makes one run of a key"
    holds("features/departure_features", "corrected", PLANNED[3])
    (changed,) = asked_for(tick, "forecasting")
    assert changed.run_key != first.run_key


def test_a_forecast_that_was_asked_for_is_not_asked_for_again_until_something_ran_anew(
    tick: Tick, ended: Callable[..., None], inputs: None
) -> None:
    ended("plan", ISSUED)
    ended("counts", ISSUED)
    ended("forecasting", ISSUED, FAILED)
    assert not asked_for(tick, "forecasting"), "a failed run is for `ruter-dagster retry`"
    ended("counts", ISSUED)
    assert len(asked_for(tick, "forecasting")) == 1


def test_nothing_is_asked_for_without_loads_of_the_day_before(
    tick: Tick, ended: Callable[..., None], holds: Callable[..., None]
) -> None:
    holds("features/departure_features", "first", *PLANNED)
    ended("plan", ISSUED)
    ended("counts", ISSUED)
    assert not asked_for(tick, "forecasting")


def test_monitoring_of_the_closed_date_follows_counts_alone(
    tick: Tick, ended: Callable[..., None], inputs: None
) -> None:
    ended("counts", ISSUED)
    (run,) = asked_for(tick, "monitoring")
    assert run.partition_key == CLOSED


def test_a_tick_asks_for_a_few_samples_and_the_next_for_others(
    tick: Tick, ended: Callable[..., None], holds: Callable[..., None]
) -> None:
    days = [date(2026, 2, 1) + timedelta(days) for days in range(12)]
    for asset in ("features/departure_features", "loads/stop_loads"):
        holds(asset, "first", *map(str, days))
    for day in days:
        ended("counts", str(day + timedelta(1)))
    asked = [[run.partition_key for run in asked_for(tick, "sampling")] for _ in range(3)]
    assert [len(keys) for keys in asked] == [5, 5, 5]
    assert sorted({key for keys in asked for key in keys}) == [str(day) for day in days], (
        "dates that were asked for before do not keep the others waiting"
    )


def test_runs_that_no_chain_started_are_left_alone(
    tick: Tick, instance: DagsterInstance, inputs: None
) -> None:
    from dagster._core.test_utils import create_run_for_test

    for job in ("counts", "plan"):
        create_run_for_test(instance, job_name=job, status=DagsterRunStatus.SUCCESS)
    assert not tick(CHAIN).run_requests


def test_tides_is_monitored_when_it_was_forecast(
    tick: Tick, ended: Callable[..., None], holds: Callable[..., None]
) -> None:
    """Its plan of a date comes with the counts of that date, so that the issue date is itself counted."""
    (chain,) = chain_sensors(TIDES, JOBS, ASSETS)
    holds("loads/stop_loads", "first", ISSUED)
    ended("forecasting", ISSUED)
    (run,) = tick(chain).run_requests or []
    assert (run.job_name, run.partition_key) == ("monitoring", ISSUED)


def test_tides_with_a_timetable_is_monitored_when_counted(
    tick: Tick, ended: Callable[..., None], holds: Callable[..., None]
) -> None:
    """Its forecasts are issued before the counts of the date, as with any source that has a timetable."""
    settings = load_settings(_env_file=None, source="tides", tides_path="somewhere", gtfs_path="feeds")
    (chain,) = chain_sensors(settings, JOBS, ASSETS)
    holds("loads/stop_loads", "first", CLOSED)
    ended("forecasting", ISSUED)
    assert not tick(chain).run_requests
    ended("counts", ISSUED)
    (run,) = tick(chain).run_requests or []
    assert (run.job_name, run.partition_key) == ("monitoring", CLOSED)


def test_a_timetable_sets_the_issue_date_to_the_next_day() -> None:
    timed = load_settings(
        _env_file=None, source="tides", tides_path="somewhere", gtfs_path="feeds", history_start="2026-01-01"
    )
    closed = date.fromisoformat(CLOSED)
    assert [issue_date_of(closed, settings).isoformat() for settings in (SETTINGS, timed, TIDES)] == [
        ISSUED, ISSUED, "2026-03-26",
    ]  # fmt: skip
    plan = plan_request(closed, timed, load_operator("ruter"))
    assert (plan.tags[ASSET_PARTITION_RANGE_START_TAG], plan.tags[ASSET_PARTITION_RANGE_END_TAG]) == (
        PLANNED[0], PLANNED[-1],
    )  # fmt: skip


def test_late_counts_do_not_forecast_an_issue_date_behind_the_newest(
    tick: Tick, ended: Callable[..., None], inputs: None
) -> None:
    ended("forecasting", "2026-03-31")
    for job in ("plan", "counts"):
        ended(job, ISSUED)
    assert not asked_for(tick, "forecasting")


def test_corrected_counts_do_not_forecast_an_issue_date_behind_the_newest(
    tick: Tick, ended: Callable[..., None], inputs: None
) -> None:
    """Readers take the newest message for the newest forecast; monitoring still follows the corrected counts."""
    for job in ("plan", "counts", "forecasting"):
        ended(job, ISSUED)
    ended("counts", ISSUED)
    assert asked_for(tick, "forecasting"), "without a newer issue date, changed counts are forecast again"
    ended("forecasting", "2026-03-31")
    assert not asked_for(tick, "forecasting")
    assert [run.partition_key for run in asked_for(tick, "monitoring")] == [CLOSED]


@pytest.mark.parametrize(
    ("counted", "weekdays_only", "enough"),
    [(34, False, False), (35, False, True), (35, True, False), (60, True, True)],
)
def test_training_waits_for_counts_and_for_sample_before_the_evaluation(
    instance: DagsterInstance, holds: Callable[..., None], counted: int, weekdays_only: bool, enough: bool
) -> None:
    """35 dates leave 14 before an evaluation of 14 days; where only Monday to Friday are counted, the first features do not."""
    days = [date(2026, 3, 27) - timedelta(ago) for ago in range(120)]
    days = [day for day in days if not weekdays_only or day.weekday() < 5][:counted]
    holds("loads/stop_loads", "first", *map(str, days))
    sampled = days[: 28 if not weekdays_only else counted - 15]
    holds("features/training_sample", "first", *map(str, sampled))
    assert has_enough_to_train(instance, 14) == enough


def test_training_waits_while_nothing_is_sampled(
    instance: DagsterInstance, holds: Callable[..., None]
) -> None:
    holds("loads/stop_loads", "first", *(str(date(2026, 3, 27) - timedelta(ago)) for ago in range(40)))
    assert not has_enough_to_train(instance, 14)
