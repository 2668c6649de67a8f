"""What the clock starts: the day's first runs once the operating day has closed, and the weekly training."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dagster import RunRequest, ScheduleDefinition, ScheduleEvaluationContext, SkipReason, schedule

from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings, SettingsError
from ruter_dagster.contracts.jobs import MIN_COUNTED_DATES, MIN_TRAINING_DATES
from ruter_dagster.sensors.chain import (
    counts_request,
    has_enough_to_train,
    plan_request,
    schedule_status,
    starts_on_arrival,
)

WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


def build_schedules(
    settings: Settings, operator: Operator, jobs: Mapping[str, Any]
) -> list[ScheduleDefinition]:
    """`daily_counts`, `daily_plan` and `weekly_training`; `jobs` by name.

    Raises SettingsError where the daily chain would start before the operating day has closed.
    """
    _check_times(settings, operator)
    common: dict[str, Any] = {
        "execution_timezone": operator.time_zone,
        "default_status": schedule_status(settings),
    }
    daily: dict[str, Any] = common | {"cron_schedule": _cron(settings.daily_at)}

    @schedule(
        job=jobs["counts"],
        description="Counts and loads of the operating date that has closed.",
        **daily,
    )
    def daily_counts(context: ScheduleEvaluationContext):
        return _waits(settings) or counts_request(closed_date(context, operator), settings)

    @schedule(
        job=jobs["plan"],
        description="Timetable and features of the issue date and the three days after.",
        **daily,
    )
    def daily_plan(context: ScheduleEvaluationContext):
        return _waits(settings) or plan_request(closed_date(context, operator), settings, operator)

    @schedule(
        job=jobs["training"],
        cron_schedule=_weekly_cron(settings.training_at),
        description="A candidate model on the newest loads, judged, and made champion past the release gate.",
        **common,
    )
    def weekly_training(context: ScheduleEvaluationContext):
        if not has_enough_to_train(context.instance, settings.evaluation_days):
            return SkipReason(
                f"A model needs loads of {MIN_COUNTED_DATES} operating dates, and of {MIN_TRAINING_DATES} in the training sample before the "
                f"newest {settings.evaluation_days} days; until then baselines are published"
            )
        return RunRequest(run_key=f"training {_today(context, operator)}")

    return [daily_counts, daily_plan, weekly_training]


def closed_date(context: ScheduleEvaluationContext, operator: Operator) -> date:
    """The operating date before the day of the tick: of the time that the tick was due, however late it came."""
    return _today(context, operator) - timedelta(1)


def _today(context: ScheduleEvaluationContext, operator: Operator) -> date:
    return context.scheduled_execution_time.astimezone(ZoneInfo(operator.time_zone)).date()


def _waits(settings: Settings) -> SkipReason | None:
    if not starts_on_arrival(settings):
        return None
    return SkipReason(
        f"Days of the source {settings.source} start when they appear there: sensor new_operating_dates"
    )


def _check_times(settings: Settings, operator: Operator) -> None:
    closes = operator.day_closes_at.strftime("%H:%M")
    if settings.daily_at < closes:
        raise SettingsError(
            f"Settings are wrong:\n  RUTER_DAILY_AT={settings.daily_at!r}: allowed: {closes} or later, when the operating "
            f"day of {operator.name} has closed (day_closes_at of its operator file)"
        )


def _cron(time_of_day: str) -> str:
    hour, minute = time_of_day.split(":")
    return f"{int(minute)} {int(hour)} * * *"


def _weekly_cron(weekday_and_time: str) -> str:
    weekday, time_of_day = weekday_and_time.split(" ")
    return _cron(time_of_day).removesuffix("*") + str(WEEKDAYS.index(weekday))
