"""Converts the operator's settings (operator.toml) to the plain values that `forecasting` takes."""

from __future__ import annotations

from ruter_dagster.config.operator import Operator
from ruter_dagster.forecasting.calendar import Event, OperatingCalendar, Rename
from ruter_dagster.forecasting.carry_over import CarryOver


def calendar_of(operator: Operator) -> OperatingCalendar:
    """The operator's holidays, events and renames. Raises `OperatorError` if the country's holidays are unknown."""
    operator.require_public_holidays()
    return OperatingCalendar(
        country=operator.country,
        time_zone=operator.time_zone,
        school_holidays=operator.school_holiday_dates(),
        subdivision=operator.subdivision,
        events=tuple(
            Event(event.date, event.from_hour, event.to_hour, event.lines, event.stops)
            for event in operator.events
        ),
        renames=tuple(
            Rename(
                "line_id" if rename.line else "stop_id",
                rename.was,
                rename.line or rename.stop or "",
                rename.first,
            )
            for rename in operator.renames
        ),
    )


def carry_over_of(operator: Operator) -> CarryOver:
    """The operator's rules for passengers who stay on board between trips."""
    loads = operator.loads
    return CarryOver(loads.carry_over, loads.lines, loads.longest_wait_minutes)
