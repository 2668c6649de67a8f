"""Converts the operator's settings (operator.toml) to the plain values that `forecasting` takes."""

from __future__ import annotations

import polars as pl

from ruter_dagster.config.operator import Operator
from ruter_dagster.contracts.drift import DriftMetric
from ruter_dagster.forecasting.calendar import Event, OperatingCalendar, Rename
from ruter_dagster.forecasting.carry_over import CarryOver
from ruter_dagster.forecasting.occupancy import OccupancyThresholds


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


def thresholds_of(operator: Operator) -> OccupancyThresholds:
    """The operator's thresholds of the occupancy levels."""
    return OccupancyThresholds(**operator.occupancy.model_dump())


def has_default_seats(operator: Operator) -> pl.Expr:
    """Whether the seats of a departure are the operator's default for its line or mode, so that its vehicle may be unknown."""
    capacities = operator.capacities
    defaults = [
        pl.col(column).replace_strict(
            {name: capacity.seats for name, capacity in known.items()},
            default=None,
            return_dtype=pl.Int32,
        )
        for column, known in (("line_id", capacities.lines), ("mode", capacities.modes))
        if known
    ]
    return (pl.col("seats") == pl.coalesce(defaults)).fill_null(False) if defaults else pl.lit(False)


def carry_over_of(operator: Operator) -> CarryOver:
    """The operator's rules for passengers who stay on board between trips."""
    loads = operator.loads
    return CarryOver(loads.carry_over, loads.lines, loads.longest_wait_minutes)


def drift_metrics_of(operator: Operator) -> tuple[DriftMetric, ...]:
    """The drift metrics with the operator's thresholds."""
    return operator.drift.resolved()
