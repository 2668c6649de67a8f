"""The sensor that tells consumers of forecasts when an issue date is expected, and when it is late.

`publishing/status.py` decides what is due. The other statuses are part of publications.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from dagster import SensorDefinition, SensorEvaluationContext, SkipReason, sensor
from pydantic import BaseModel

from ruter_dagster.compat.clock import get_current_datetime
from ruter_dagster.config.gtfs_location import plans_ahead
from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings
from ruter_dagster.sensors.chain import sensor_status
from ruter_dagster.sensors.child_process import run_module

INTERVAL_SECONDS = 60
SENDING_SECONDS = 45
"""The longest time to read and send statuses. Dagster ends a tick after 60 s."""


class Cursor(BaseModel, frozen=True):
    """The state of the sensor between two ticks: whether `issue_date` was reported as expected, and needs no further status."""

    issue_date: date | None = None
    complete: bool = False


def forecast_status_sensors(settings: Settings, operator: Operator) -> list[SensorDefinition]:
    """The sensor `forecast_status`."""

    @sensor(
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=sensor_status(settings),
        description="Sends the statuses `expected` and `late` of the day's forecasts on the Kafka topic forecast-status, each "
        f"once. Forecasts are late after {settings.publish_by} local time (RUTER_PUBLISH_BY).",
    )
    def forecast_status(context: SensorEvaluationContext) -> Iterator[SkipReason]:
        if not plans_ahead(settings):
            yield SkipReason(f"Forecasts of the source {settings.source} follow the counts, at no fixed time")
            return
        now = get_current_datetime("UTC")
        issue_date = now.astimezone(ZoneInfo(operator.time_zone)).date()
        cursor = Cursor.model_validate_json(context.cursor or "{}")
        if not _is_due(cursor, issue_date, now, settings, operator):
            yield SkipReason(f"Issue date {issue_date} has all its statuses")
            return
        sent, complete = send_statuses(settings, issue_date, now)
        context.update_cursor(Cursor(issue_date=issue_date, complete=complete).model_dump_json())
        yield SkipReason(f"Issue date {issue_date}: {', '.join(sent) or 'no status'} sent")

    return [forecast_status]


def _is_due(cursor: Cursor, issue_date: date, now: datetime, settings: Settings, operator: Operator) -> bool:
    """Whether a status may be due: on the first tick of an issue date, and after its deadline until its statuses are complete."""
    if cursor.issue_date != issue_date:
        return True
    expected_by = datetime.combine(
        issue_date, time.fromisoformat(settings.publish_by), ZoneInfo(operator.time_zone)
    )
    return not cursor.complete and now > expected_by


def send_statuses(settings: Settings, issue_date: date, now: datetime) -> tuple[list[str], bool]:
    """Sends the due statuses in a child process. Returns them, and whether the issue date needs no further one.

    Raises PermanentFailure if the broker does not answer in time; the next tick tries again, and sends no status twice.
    """
    too_slow = (
        f"The statuses of {issue_date} could not be sent in {SENDING_SECONDS} s; the next tick tries again. Check that "
        "the Kafka brokers answer the code location"
    )
    result = run_module(
        settings,
        "ruter_dagster.publishing.status_messages",
        issue_date.isoformat(),
        now.isoformat(),
        seconds=SENDING_SECONDS,
        too_slow=too_slow,
    )
    return result["sent"], result["complete"]
