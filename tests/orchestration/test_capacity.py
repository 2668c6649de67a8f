"""Changed vehicles are read from today on, and applied to the forecasts of the issue date without the model."""

from __future__ import annotations

from datetime import date, timedelta

from dagster import AssetKey

from ruter_dagster.definitions import defs
from ruter_dagster.orchestration.capacity import CONFIG, JOB, capacity_runs
from ruter_dagster.orchestration.chain import FORECASTS, TIMETABLE

DAY = date(2026, 11, 20)


def test_plan_of_the_dates_ahead_is_read_first() -> None:
    plan, correction = capacity_runs(DAY, DAY + timedelta(1))
    assert (plan.job, plan.assets) == ("plan", TIMETABLE)
    assert plan.dates == tuple(DAY + timedelta(days) for days in (1, 2, 3))
    assert (correction.job, correction.assets, correction.dates) == (JOB, FORECASTS, (DAY,))
    assert correction.config == CONFIG


def test_past_plan_is_not_read_again() -> None:
    (correction,) = capacity_runs(DAY, DAY + timedelta(4))
    assert correction.job == JOB


def test_job_runs_forecasts_with_its_config() -> None:
    job = defs.resolve_job_def(JOB)
    assert job.asset_layer.executable_asset_keys == set(map(AssetKey.from_user_string, FORECASTS))
    assert job.get_run_config_for_partition_key("2026-11-20") == CONFIG
