"""Schedules: the first runs of the daily chain after the operating day has closed, and the weekly training."""

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

RETENTION_CRON = "0 13 * * 6"
"""Saturdays at 13:00, when neither the daily chain nor the training runs."""
WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


def build_schedules(
    settings: Settings, operator: Operator, jobs: Mapping[str, Any]
) -> list[ScheduleDefinition]:
    """The schedules `daily_counts`, `daily_plan`, `weekly_training` and `weekly_retention`. `jobs`: the jobs by name.

    Raises SettingsError if the daily chain would start before the operating day has closed.
    """
    _require_closed_day(settings, operator)
    common: dict[str, Any] = {
        "execution_timezone": operator.time_zone,
        "default_status": schedule_status(settings),
    }
    daily: dict[str, Any] = common | {"cron_schedule": _cron(settings.daily_at)}

    @schedule(
        job=jobs["counts"],
        description="Counts and loads of the operating date that has just closed.",
        **daily,
    )
    def daily_counts(context: ScheduleEvaluationContext):
        return _skip_on_arrival(settings) or counts_request(closed_date(context, operator), settings)

    @schedule(
        job=jobs["plan"],
        description="Timetable and features of the issue date and the three days after.",
        **daily,
    )
    def daily_plan(context: ScheduleEvaluationContext):
        return _skip_on_arrival(settings) or plan_request(closed_date(context, operator), settings, operator)

    @schedule(
        job=jobs["training"],
        cron_schedule=_weekly_cron(settings.training_at),
        description="Trains a model on the newest loads, evaluates it, and makes it champion if it passes the release gate.",
        **common,
    )
    def weekly_training(context: ScheduleEvaluationContext):
        if not has_enough_to_train(context.instance, settings.evaluation_days):
            return SkipReason(
                f"A model needs loads of {MIN_COUNTED_DATES} operating dates, and a training sample of {MIN_TRAINING_DATES} dates "
                f"before the newest {settings.evaluation_days} days. Until then, baselines are published"
            )
        return RunRequest(run_key=f"training {_today(context, operator)}")

    @schedule(
        job=jobs["retention"],
        cron_schedule=RETENTION_CRON,
        description="Deletes old forecasts, scores, snapshots and files. RUTER_…_RETENTION_DAYS set how old.",
        **common,
    )
    def weekly_retention(context: ScheduleEvaluationContext):
        return RunRequest(run_key=f"retention {_today(context, operator)}")

    return [daily_counts, daily_plan, weekly_training, weekly_retention]


def closed_date(context: ScheduleEvaluationContext, operator: Operator) -> date:
    """The operating date before the day for which the tick was scheduled. A late tick has the same date."""
    return _today(context, operator) - timedelta(1)


def _today(context: ScheduleEvaluationContext, operator: Operator) -> date:
    return context.scheduled_execution_time.astimezone(ZoneInfo(operator.time_zone)).date()


def _skip_on_arrival(settings: Settings) -> SkipReason | None:
    """A reason to skip if the sensor `new_operating_dates` starts the chain, else None."""
    if not starts_on_arrival(settings):
        return None
    return SkipReason(
        f"The sensor new_operating_dates starts dates of the source {settings.source} when they arrive"
    )


def _require_closed_day(settings: Settings, operator: Operator) -> None:
    """Raises SettingsError if the daily chain would start before the operating day has closed."""
    closes = operator.day_closes_at.strftime("%H:%M")
    if settings.daily_at < closes:
        raise SettingsError(
            f"Settings are wrong:\n  RUTER_DAILY_AT={settings.daily_at!r}: allowed: {closes} or later, when the operating "
            f"day of {operator.name} has closed (day_closes_at in its operator file)"
        )


def _cron(time_of_day: str) -> str:
    hour, minute = time_of_day.split(":")
    return f"{int(minute)} {int(hour)} * * *"


def _weekly_cron(weekday_and_time: str) -> str:
    weekday, time_of_day = weekday_and_time.split(" ")
    return _cron(time_of_day).removesuffix("*") + str(WEEKDAYS.index(weekday))
