"""Forecasts follow the counts and the plan of their issue date: once for each content, also after a retry."""

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
def inputs(materialise: Callable[..., None]) -> None:
    """The inputs of forecasting and monitoring exist."""
    materialise("features/departure_features", "first", *PLANNED)
    materialise("loads/stop_loads", "first", CLOSED)


def requests(tick: Tick, job: str) -> list[RunRequest]:
    return [request for request in tick(CHAIN).run_requests or [] if request.job_name == job]


def test_forecasts_wait_for_counts_and_plan(
    tick: Tick, record_run: Callable[..., None], inputs: None
) -> None:
    record_run("plan", ISSUED)
    assert not requests(tick, "forecasting")
    record_run("counts", ISSUED)
    (run,) = requests(tick, "forecasting")
    assert run.partition_key == ISSUED
    assert run.tags[ISSUE_DATE_TAG] == ISSUED


@pytest.mark.parametrize("status", [FAILED, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELED])
def test_counts_without_success_have_no_follow_up(
    tick: Tick, record_run: Callable[..., None], inputs: None, status: DagsterRunStatus
) -> None:
    record_run("plan", ISSUED)
    record_run("counts", ISSUED, status)
    assert not tick(CHAIN).run_requests


def test_forecasts_follow_retried_counts(tick: Tick, record_run: Callable[..., None], inputs: None) -> None:
    record_run("plan", ISSUED)
    failed = record_run("counts", ISSUED, FAILED)
    assert not requests(tick, "forecasting")
    record_run(
        "counts", ISSUED, **{"dagster/parent_run_id": failed.run_id, "dagster/is_resume_retry": "true"}
    )
    assert [run.partition_key for run in requests(tick, "forecasting")] == [ISSUED]


def test_newer_failure_overrides_older_success(
    tick: Tick, record_run: Callable[..., None], inputs: None
) -> None:
    record_run("plan", ISSUED)
    record_run("counts", ISSUED)
    record_run("counts", ISSUED, FAILED)
    assert not tick(CHAIN).run_requests


def test_counts_and_plan_must_share_issue_date(
    tick: Tick, record_run: Callable[..., None], inputs: None
) -> None:
    record_run("plan", "2026-03-29")
    record_run("counts", ISSUED)
    assert not requests(tick, "forecasting")


def test_same_content_has_same_run_key(
    tick: Tick, record_run: Callable[..., None], inputs: None, materialise: Callable[..., None]
) -> None:
    record_run("plan", ISSUED)
    record_run("counts", ISSUED)
    first, second = requests(tick, "forecasting") + requests(tick, "forecasting")
    assert first.run_key == second.run_key, "Dagster starts one run for each key"
    materialise("features/departure_features", "corrected", PLANNED[3])
    (changed,) = requests(tick, "forecasting")
    assert changed.run_key != first.run_key


def test_forecast_is_requested_again_only_after_new_counts(
    tick: Tick, record_run: Callable[..., None], inputs: None
) -> None:
    record_run("plan", ISSUED)
    record_run("counts", ISSUED)
    record_run("forecasting", ISSUED, FAILED)
    assert not requests(tick, "forecasting"), "`ruter-dagster retry` continues a failed run"
    record_run("counts", ISSUED)
    assert len(requests(tick, "forecasting")) == 1


def test_forecasts_need_loads_of_day_before(
    tick: Tick, record_run: Callable[..., None], materialise: Callable[..., None]
) -> None:
    materialise("features/departure_features", "first", *PLANNED)
    record_run("plan", ISSUED)
    record_run("counts", ISSUED)
    assert not requests(tick, "forecasting")


def test_monitoring_follows_counts_of_closed_date(
    tick: Tick, record_run: Callable[..., None], inputs: None
) -> None:
    record_run("counts", ISSUED)
    (run,) = requests(tick, "monitoring")
    assert run.partition_key == CLOSED


def test_each_tick_requests_a_few_other_samples(
    tick: Tick, record_run: Callable[..., None], materialise: Callable[..., None]
) -> None:
    days = [date(2026, 2, 1) + timedelta(days) for days in range(12)]
    for asset in ("features/departure_features", "loads/stop_loads"):
        materialise(asset, "first", *map(str, days))
    for day in days:
        record_run("counts", str(day + timedelta(1)))
    keys = [[run.partition_key for run in requests(tick, "sampling")] for _ in range(3)]
    assert [len(of_tick) for of_tick in keys] == [5, 5, 5]
    assert sorted({key for of_tick in keys for key in of_tick}) == [str(day) for day in days], (
        "dates that were requested before do not delay other dates"
    )


def test_runs_without_issue_date_have_no_follow_up(
    tick: Tick, instance: DagsterInstance, inputs: None
) -> None:
    from dagster._core.test_utils import create_run_for_test

    for job in ("counts", "plan"):
        create_run_for_test(instance, job_name=job, status=DagsterRunStatus.SUCCESS)
    assert not tick(CHAIN).run_requests


def test_tides_without_timetable_is_monitored_after_forecast(
    tick: Tick, record_run: Callable[..., None], materialise: Callable[..., None]
) -> None:
    """The plan of a date follows from its counts, so that the issue date itself has counts."""
    (chain,) = chain_sensors(TIDES, JOBS, ASSETS)
    materialise("loads/stop_loads", "first", ISSUED)
    record_run("forecasting", ISSUED)
    (run,) = tick(chain).run_requests or []
    assert (run.job_name, run.partition_key) == ("monitoring", ISSUED)


def test_tides_with_timetable_is_monitored_after_counts(
    tick: Tick, record_run: Callable[..., None], materialise: Callable[..., None]
) -> None:
    """With a timetable, forecasts are issued before the counts of the date."""
    settings = load_settings(_env_file=None, source="tides", tides_path="somewhere", gtfs_path="feeds")
    (chain,) = chain_sensors(settings, JOBS, ASSETS)
    materialise("loads/stop_loads", "first", CLOSED)
    record_run("forecasting", ISSUED)
    assert not tick(chain).run_requests
    record_run("counts", ISSUED)
    (run,) = tick(chain).run_requests or []
    assert (run.job_name, run.partition_key) == ("monitoring", CLOSED)


def test_timetable_sets_issue_date_to_next_day() -> None:
    with_timetable = load_settings(
        _env_file=None, source="tides", tides_path="somewhere", gtfs_path="feeds", history_start="2026-01-01"
    )
    closed = date.fromisoformat(CLOSED)
    assert [issue_date_of(closed, settings).isoformat() for settings in (SETTINGS, with_timetable, TIDES)] == [
        ISSUED, ISSUED, "2026-03-26",
    ]  # fmt: skip
    plan = plan_request(closed, with_timetable, load_operator("ruter"))
    assert (plan.tags[ASSET_PARTITION_RANGE_START_TAG], plan.tags[ASSET_PARTITION_RANGE_END_TAG]) == (
        PLANNED[0], PLANNED[-1],
    )  # fmt: skip


def test_late_counts_do_not_forecast_older_issue_date(
    tick: Tick, record_run: Callable[..., None], inputs: None
) -> None:
    record_run("forecasting", "2026-03-31")
    for job in ("plan", "counts"):
        record_run(job, ISSUED)
    assert not requests(tick, "forecasting")


def test_corrected_counts_do_not_forecast_older_issue_date(
    tick: Tick, record_run: Callable[..., None], inputs: None
) -> None:
    """Consumers take the newest message as the newest forecast. Monitoring still follows the corrected counts."""
    for job in ("plan", "counts", "forecasting"):
        record_run(job, ISSUED)
    record_run("counts", ISSUED)
    assert requests(tick, "forecasting"), "without a newer issue date, corrected counts are forecast again"
    record_run("forecasting", "2026-03-31")
    assert not requests(tick, "forecasting")
    assert [run.partition_key for run in requests(tick, "monitoring")] == [CLOSED]


@pytest.mark.parametrize(
    ("counted", "weekdays_only", "enough"),
    [(34, False, False), (35, False, True), (35, True, False), (60, True, True)],
)
def test_training_needs_counts_and_sample_before_evaluation_period(
    instance: DagsterInstance,
    materialise: Callable[..., None],
    counted: int,
    weekdays_only: bool,
    enough: bool,
) -> None:
    """35 dates leave 14 before an evaluation of 14 days. With counts of Monday to Friday only, 35 dates are too few."""
    days = [date(2026, 3, 27) - timedelta(ago) for ago in range(120)]
    days = [day for day in days if not weekdays_only or day.weekday() < 5][:counted]
    materialise("loads/stop_loads", "first", *map(str, days))
    sampled = days[: 28 if not weekdays_only else counted - 15]
    materialise("features/training_sample", "first", *map(str, sampled))
    assert has_enough_to_train(instance, 14) == enough


def test_training_needs_training_sample(instance: DagsterInstance, materialise: Callable[..., None]) -> None:
    materialise("loads/stop_loads", "first", *(str(date(2026, 3, 27) - timedelta(ago)) for ago in range(40)))
    assert not has_enough_to_train(instance, 14)


def test_date_whose_truth_becomes_final_is_scored_again(
    tick: Tick, record_run: Callable[..., None], inputs: None, materialise: Callable[..., None]
) -> None:
    record_run("monitoring", ISSUED)
    assert not requests(tick, "final_truth"), "the date was never scored"
    materialise("monitoring/forecast_performance", "first", "2026-03-15")
    (run,) = requests(tick, "final_truth")
    assert run.partition_key == "2026-03-15", "14 days before the newest date with counts"
    record_run("final_truth", ISSUED, **run.tags)
    record_run("monitoring", ISSUED)
    assert not requests(tick, "final_truth"), "its content is the same"


def test_challenger_forecasts_only_if_set(
    tick: Tick, record_run: Callable[..., None], materialise: Callable[..., None]
) -> None:
    materialise("forecasts/load_forecasts", "first", ISSUED)
    record_run("forecasting", ISSUED)
    assert not requests(tick, "challenger")
    (with_challenger,) = chain_sensors(load_settings(_env_file=None, challenger="newest"), JOBS, ASSETS)
    (run,) = [run for run in tick(with_challenger).run_requests or [] if run.job_name == "challenger"]
    assert run.partition_key == ISSUED
