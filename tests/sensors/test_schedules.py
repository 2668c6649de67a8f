"""The clock asks for the day that has closed, in the operator's own time."""

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


def settings_with(**more: object) -> Settings:
    return load_settings(_env_file=None, history_start="2026-01-01", **more)


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


def test_counts_are_asked_for_of_the_day_before() -> None:
    (run,), _ = requested("daily_counts", datetime(2026, 3, 30, 4, 30, tzinfo=OSLO), settings_with())
    assert run.partition_key == "2026-03-29"
    assert run.tags[ISSUE_DATE_TAG] == "2026-03-30"


def test_the_day_is_the_operators_and_not_that_of_utc() -> None:
    settings = settings_with(daily_at="23:30")
    (run,), _ = requested("daily_counts", datetime(2026, 3, 29, 22, 30, tzinfo=ZoneInfo("UTC")), settings)
    assert run.partition_key == "2026-03-29", "at 00:30 in Oslo the day before is the 29th"


def test_the_plan_is_one_run_from_the_issue_date_to_three_days_later() -> None:
    (run,), _ = requested("daily_plan", datetime(2026, 3, 30, 4, 30, tzinfo=OSLO), settings_with())
    assert run.tags["dagster/asset_partition_range_start"] == "2026-03-30"
    assert run.tags["dagster/asset_partition_range_end"] == "2026-04-02"
    assert run.tags[ISSUE_DATE_TAG] == "2026-03-30"


def test_days_of_a_source_where_they_arrive_do_not_start_by_the_clock() -> None:
    settings = settings_with(source="tides", tides_path="somewhere")
    runs, reason = requested("daily_counts", datetime(2026, 3, 30, 4, 30, tzinfo=OSLO), settings)
    assert not runs
    assert reason and "new_operating_dates" in reason


def test_times_come_from_the_settings_in_the_operators_time_zone() -> None:
    settings = settings_with(daily_at="05:05", training_at="friday 23:10")
    crons = {
        schedule.name: (schedule.cron_schedule, schedule.execution_timezone)
        for schedule in build_schedules(settings, RUTER, JOBS)
    }
    assert crons == {
        "daily_counts": ("5 5 * * *", "Europe/Oslo"),
        "daily_plan": ("5 5 * * *", "Europe/Oslo"),
        "weekly_training": ("10 23 * * 5", "Europe/Oslo"),
    }


def test_a_chain_before_the_operating_day_has_closed_is_refused() -> None:
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
def test_schedules_run_by_themselves_where_an_operator_relies_on_them(
    environment: str, status: DefaultScheduleStatus
) -> None:
    schedules = build_schedules(settings_with(environment=environment), RUTER, JOBS)
    assert {schedule.default_status for schedule in schedules} == {status}
