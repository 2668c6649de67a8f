"""`ruter-dagster capacities`: applies changed vehicles of the plan to the forecasts of an issue date, and publishes the correction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from dagster import DagsterInstance

from ruter_dagster.commands.rerun import broker_of
from ruter_dagster.compat.clock import get_current_datetime
from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import Settings
from ruter_dagster.config.state_folder import require_writable_state
from ruter_dagster.contracts.dates import date_spans
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import asset_of
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.orchestration.capacity import capacity_runs
from ruter_dagster.orchestration.event_log import content_hashes, newest_materialisation
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.orchestration.runs import RunRequest, execute, new_log

_FORECASTS = asset_of(LOAD_FORECASTS.name)


def apply(settings: Settings, issue_date: date | None, print_line: Callable[[str], None]) -> int:
    """Applies the plan to the forecasts of `issue_date`, by default the newest. Returns the number of changed departures.

    Raises `PermanentFailure` if there are no forecasts, or if a run fails.
    """
    if settings.lake is None:
        require_writable_state(settings)
    with open_instance() as instance:
        forecast_dates = content_hashes(instance, _FORECASTS)
        if not forecast_dates or (issue_date and issue_date.isoformat() not in forecast_dates):
            raise PermanentFailure(
                f"There are no forecasts{f' of {issue_date}' if issue_date else ''}. Materialise {_FORECASTS} first"
            )
        day = issue_date or date.fromisoformat(max(forecast_dates))
        today = get_current_datetime(operator_of(settings).time_zone).date()
        with broker_of(settings):
            for request in capacity_runs(day, today):
                print_line(f"{', '.join(request.assets)}, {date_spans(request.dates)}")
                _execute(request, instance, settings)
        event = newest_materialisation(instance, _FORECASTS, day.isoformat())
    assert event is not None, f"{_FORECASTS} was just materialised"
    return round(float(str(event.metadata["changed_capacities"].value)))


def _execute(request: RunRequest, instance: DagsterInstance, settings: Settings) -> None:
    outcome = execute(request, instance, new_log(settings.source_dir / "logs", "capacities"), lambda _: None)
    if not outcome.succeeded:
        raise PermanentFailure(f"Run {outcome.run_id} failed: {outcome.failure}\nLog: {outcome.log}")
