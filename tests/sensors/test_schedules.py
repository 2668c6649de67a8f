"""Schedules request the operating day that has closed, in the operator's time zone."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from dagster import DagsterInstance, DefaultScheduleStatus, RunRequest, build_schedule_context

from ruter_dagster.config.operator import load_operator
from ruter_dagster.config.settings import Settings, SettingsError, load_settings
from ruter_dagster.sensors.chain import ISSUE_DATE_TAG
from ruter_dagster.sensors.schedules import build_schedules
from tests.scripted_launcher import JOBS, defs

RUTER = load_operator("ruter")
OSLO = ZoneInfo("Europe/Oslo")


def settings_with(**values: object) -> Settings:
    return load_settings(_env_file=None, history_start="2026-01-01", **values)


def requested(name: str, due: datetime, settings: Settings) -> tuple[list[RunRequest], str | None]:
    schedule = next(schedule for schedule in build_schedules(settings, RUTER, JOBS) if schedule.name == name)
    with (
        DagsterInstance.ephemeral() as instance,
        build_schedule_context(
            instance, scheduled_execution_time=due, repository_def=defs.get_repository_def()
        ) as context,
    ):
        result = schedule.evaluate_tick(context)
    return list(result.run_requests or []), result.skip_message


def test_counts_of_day_before_are_requested() -> None:
    (run,), _ = requested("daily_counts", datetime(2026, 3, 30, 4, 30, tzinfo=OSLO), settings_with())
    assert run.partition_key == "2026-03-29"
    assert run.tags[ISSUE_DATE_TAG] == "2026-03-30"


def test_date_is_in_time_zone_of_operator() -> None:
    settings = settings_with(daily_at="23:30")
    (run,), _ = requested("daily_counts", datetime(2026, 3, 29, 22, 30, tzinfo=ZoneInfo("UTC")), settings)
    assert run.partition_key == "2026-03-29", "at 00:30 in Oslo the day before is the 29th"


def test_plan_is_one_run_of_four_dates() -> None:
    (run,), _ = requested("daily_plan", datetime(2026, 3, 30, 4, 30, tzinfo=OSLO), settings_with())
    assert run.tags["dagster/asset_partition_range_start"] == "2026-03-30"
    assert run.tags["dagster/asset_partition_range_end"] == "2026-04-02"
    assert run.tags["ruter/dates"] == "2026-03-30 to 2026-04-02", "the list of runs hides the two others"
    assert run.tags[ISSUE_DATE_TAG] == "2026-03-30"


def test_schedules_skip_sources_whose_dates_arrive() -> None:
    settings = settings_with(source="tides", tides_path="somewhere")
    runs, reason = requested("daily_counts", datetime(2026, 3, 30, 4, 30, tzinfo=OSLO), settings)
    assert not runs
    assert reason and "new_operating_dates" in reason


def test_schedule_times_come_from_settings() -> None:
    settings = settings_with(daily_at="05:05", training_at="friday 23:10")
    crons = {
        schedule.name: (schedule.cron_schedule, schedule.execution_timezone)
        for schedule in build_schedules(settings, RUTER, JOBS)
    }
    assert crons == {
        "daily_counts": ("5 5 * * *", "Europe/Oslo"),
        "daily_plan": ("5 5 * * *", "Europe/Oslo"),
        "weekly_training": ("10 23 * * 5", "Europe/Oslo"),
        "weekly_retention": ("0 13 * * 6", "Europe/Oslo"),
    }


def test_daily_chain_before_closed_day_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"RUTER_DAILY_AT='03:59': allowed: 04:00 or later"):
        build_schedules(settings_with(daily_at="03:59"), RUTER, JOBS)


@pytest.mark.parametrize(
    ("environment", "status"),
    [
        ("local", DefaultScheduleStatus.STOPPED),
        ("s-mine-1a2b3c", DefaultScheduleStatus.STOPPED),
        ("dev", DefaultScheduleStatus.RUNNING),
        ("prod", DefaultScheduleStatus.RUNNING),
    ],
)
def test_schedules_run_only_in_deployed_environments(environment: str, status: DefaultScheduleStatus) -> None:
    schedules = build_schedules(settings_with(environment=environment), RUTER, JOBS)
    assert {schedule.default_status for schedule in schedules} == {status}
