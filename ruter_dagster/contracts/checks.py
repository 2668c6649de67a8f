"""The declared quality checks: what is measured on each date of each table, and its bounds.

Dagster's asset checks and the Great Expectations suites are both built from them, so that they always agree. Plain Python;
the measurement belongs in `quality`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.tables import (
    PLANNED_DEPARTURES,
    STOP_LOADS,
    STOP_VISITS,
    WEATHER_FORECASTS,
    Table,
)

Severity = Literal["ERROR", "WARN"]
"""ERROR blocks the date for every reader; WARN only reports."""


@dataclass(frozen=True)
class Check:
    """One number measured on each date of a table, and its bounds. A date that cannot be measured passes.

    `unit` describes the number, e.g. "rows without a required value". A missing bound is None.
    """

    name: str
    table: str
    severity: Severity
    description: str
    unit: str
    minimum: float | None = None
    maximum: float | None = None

    @property
    def counts_faults(self) -> bool:
        """Whether the number counts rows that must not exist."""
        return self.severity == "ERROR" and self.minimum is None and self.maximum == 0

    @property
    def expected(self) -> str:
        """The bounds in words: `no rows that share their key`, `0.75 to 1.25 times the usual rows`."""
        if self.counts_faults:
            return f"no {self.unit}"
        if self.minimum is None:
            return f"at most {self.maximum:g} {self.unit}"
        if self.maximum is None:
            return f"at least {self.minimum:g} {self.unit}"
        return f"{self.minimum:g} to {self.maximum:g} {self.unit}"


MEAN_RATIO = (0.5, 1.6)
"""Bounds of a day's mean over the usual mean of its weekday: wide enough for holidays and seasons."""
ROWS_RATIO = (0.75, 1.25)
SHARE_CHANGE = 0.10
"""How far a share may lie from the usual share of its weekday."""
MISSING_JOURNEYS = 0.10
"""Share of planned journeys that may lack rows."""
VEHICLE_IMBALANCE = 0.05
"""A vehicle is out of balance if |boardings - alightings| / (boardings + alightings) of its day is larger."""
IMBALANCED_VEHICLES = 0.10
"""Share of the day's vehicles that may be out of balance."""

LOW_COUNTS = 0.65
"""A vehicle's counts over those of other vehicles at the same stops and hours. Below it a door's counter may be defective."""


UNKNOWN_STOPS = 0.02
"""Share of a date's stop visits that may be at unknown stop points, unless the operator file sets another limit."""

UNKNOWN_SEATS = 0.1
"""Share of a date's planned departures that may lack seats."""

MAX_REJECTED_ROWS = 0.005
"""Share of a date's stop visits that may be rejected without a warning: a few broken cells are normal."""


def _faults(table: Table, name: str, description: str, unit: str) -> Check:
    """An ERROR check: no such row may exist."""
    return Check(name, table.name, "ERROR", description, unit, maximum=0)


def _row_checks(table: Table) -> Iterator[Check]:
    """Checks of the contract's columns, rows and rules."""
    yield _faults(
        table,
        "columns_as_contracted",
        "The table has exactly the columns of the contract, with their types",
        "columns missing, unknown or of another type",
    )
    if not table.may_be_empty:
        yield Check(
            "rows_present",
            table.name,
            "ERROR",
            "Every requested date has rows",
            "rows on the date",
            minimum=1,
        )
    partition = f"No row lies outside the dates of {table.partition}"
    on_day = " and every planned departure is on its service day" if _on_service_day(table) else ""
    yield _faults(table, "dates_within_partition", partition + on_day, "rows outside their date")
    yield _faults(
        table, "key_is_unique", f"One row for each {', '.join(table.key)}", "rows that share their key"
    )
    yield from _value_checks(table)
    for rule in table.rules:
        yield _faults(table, rule.name, rule.description, f"rows against the rule {rule.name}")


def _value_checks(table: Table) -> Iterator[Check]:
    """Checks of each column's values."""
    required = ", ".join(column.name for column in table.columns if column.required)
    yield _faults(
        table,
        "required_values_present",
        f"No null in a required column: {required}",
        "rows without a required value",
    )
    ranged = ", ".join(
        column.name
        for column in table.columns
        if column.type == "float64" or column.minimum is not None or column.maximum is not None
    )
    if ranged:
        yield _faults(
            table,
            "values_within_range",
            f"Numbers are finite and within the contract's range: {ranged}",
            "rows with a value out of range",
        )
    allowed = ", ".join(column.name for column in table.columns if column.allowed)
    if allowed:
        yield _faults(
            table,
            "values_allowed",
            f"Only values that the contract allows: {allowed}",
            "rows with an unknown value",
        )


def _on_service_day(table: Table) -> bool:
    return {"service_date", "scheduled_departure_time"} <= set(table.column_names)


def _usual_checks(table: Table) -> Iterator[Check]:
    """Checks of rows, nulls, boardings and loads compared with the same weekdays before."""

    def usual(name: str, measure: str, unit: str, bounds: tuple[float | None, float | None]) -> Check:
        return Check(
            name, table.name, "WARN", f"{measure} compared with the same weekdays before", unit, *bounds
        )

    rise, change = (None, SHARE_CHANGE), (-SHARE_CHANGE, SHARE_CHANGE)
    yield usual("rows_near_usual", "Number of rows", "times the usual rows", ROWS_RATIO)
    # Levels of a class of days (school holidays) become null when its last dates leave the window, which is normal.
    if table is not LEVELS and any(not column.required for column in table.columns):
        nulls = "Largest rise of the share of nulls among optional columns,"
        yield usual("nulls_near_usual", nulls, "above the usual share", rise)
    if "boardings" in table.column_names:
        yield usual("boardings_near_usual", "Mean boardings of a visit", "times the usual mean", MEAN_RATIO)
    if load_column(table):
        loads, zeros = "Mean load of the mode that differs most,", "Share of visits with nobody on board"
        yield usual("loads_near_usual", loads, "times the usual mean", MEAN_RATIO)
        yield usual("zero_loads_near_usual", zeros, "from the usual share", change)


def compared_with_plan(table: Table) -> bool:
    """Whether the checks of the table also read the planned departures of its dates."""
    return "trip_id" in table.column_names and table is not PLANNED_DEPARTURES


def load_column(table: Table) -> str | None:
    """The column with the load of a stop visit; None if the table has none."""
    return next((name for name in ("load", "departure_load") if name in table.column_names), None)


_STOP_POINTS_KNOWN = Check(
    "stop_points_known",
    STOP_VISITS.name,
    "WARN",
    "Every stop point occurs in the date's timetable. Without a timetable: in the plans, or else the visits, of the eight "
    "weeks before",
    "rows at a stop point that no planned departure serves",
    maximum=0,
)
FEW_UNKNOWN_STOPS = Check(
    "few_visits_at_unknown_stops",
    STOP_VISITS.name,
    "ERROR",
    "Rows at a stop point that no planned departure serves. `share_of_date` in [rejects] of the operator file sets the limit. "
    "Not judged if fewer than `least_trips` trips have such rows",
    "of the rows at unknown stop points",
    maximum=UNKNOWN_STOPS,
)
_BALANCED = (
    _faults(
        STOP_LOADS,
        "trips_end_empty",
        "Nobody is on board after a trip's last stop, except passengers who stay for the vehicle's next trip. Only trips with "
        "counted boardings and alightings",
        "last stops of trips with passengers on board",
    ),
    _faults(
        STOP_LOADS,
        "loads_follow_counts",
        "A load equals the load before plus boardings minus alightings, if they are counted. Before a trip's first stop it is "
        "the load that the vehicle carried over",
        "rows whose load differs from the load before plus boardings minus alightings",
    ),
)
_VEHICLES_BALANCED = Check(
    "vehicles_balanced",
    STOP_VISITS.name,
    "WARN",
    f"Vehicles whose boardings and alightings of the day differ by over {VEHICLE_IMBALANCE:.0%} of their sum",
    "of the vehicles out of balance",
    maximum=IMBALANCED_VEHICLES,
)
_VEHICLES_COUNT_ALIKE = Check(
    "vehicles_count_alike",
    STOP_VISITS.name,
    "WARN",
    f"Vehicles that counted under {LOW_COUNTS:.0%} of what others counted on the same line, stop and hour, over the date and the "
    "six before it. A door may be dead in both directions",
    "vehicles with low counts",
    maximum=0,
)


_FEW_REJECTED_ROWS = Check(
    "few_rejected_rows",
    STOP_VISITS.name,
    "WARN",
    "Rows that broke a rule and were written to raw.rejected_visits instead",
    "of the rows rejected",
    maximum=MAX_REJECTED_ROWS,
)
NO_DATE_BLOCKED = Check(
    "no_date_blocked",
    STOP_VISITS.name,
    "ERROR",
    "No date is unreadable, or has more rejected rows than [rejects] in the operator file allows. The rows of a blocked date are "
    "not changed. The other dates of a range continue",
    "dates blocked",
    maximum=0,
)
"""A check of `raw/stop_visits` itself, because a blocked date has no new rows for a quality report."""

_FEW_UNKNOWN_SEATS = Check(
    "few_unknown_seats",
    PLANNED_DEPARTURES.name,
    "WARN",
    "Planned departures without seats. Their occupancy level is `unknown`, and their probability above the seats is null. "
    "Add the vehicles, or [capacities] in the operator file",
    "of the departures without known seats",
    maximum=UNKNOWN_SEATS,
)


def _journeys_as_planned(table: Table, maximum: float) -> Check:
    return Check(
        "journeys_as_planned",
        table.name,
        "WARN",
        "Planned service journeys without any row; judged only if planned departures are known",
        "of the planned journeys missing",
        maximum=maximum,
    )


_OWN_CHECKS: dict[str, tuple[Check, ...]] = {
    STOP_VISITS.name: (
        FEW_UNKNOWN_STOPS,
        _STOP_POINTS_KNOWN,
        _FEW_REJECTED_ROWS,
        _VEHICLES_BALANCED,
        _VEHICLES_COUNT_ALIKE,
        _journeys_as_planned(STOP_VISITS, MISSING_JOURNEYS),
    ),
    PLANNED_DEPARTURES.name: (_FEW_UNKNOWN_SEATS,),
    STOP_LOADS.name: (*_BALANCED, _journeys_as_planned(STOP_LOADS, MISSING_JOURNEYS)),
    DEPARTURE_FEATURES.name: (_journeys_as_planned(DEPARTURE_FEATURES, 0),),
}


def checks_of(table: Table) -> tuple[Check, ...]:
    """All checks of a table, ERROR checks first."""
    checks = (*_row_checks(table), *_OWN_CHECKS.get(table.name, ()), *_usual_checks(table))
    return tuple(sorted(checks, key=lambda check: check.severity))


CHECKED_TABLES = (
    STOP_VISITS,
    PLANNED_DEPARTURES,
    WEATHER_FORECASTS,
    STOP_LOADS,
    DEPARTURE_FEATURES,
    LEVELS,
)
CHECKS: dict[str, tuple[Check, ...]] = {table.name: checks_of(table) for table in CHECKED_TABLES}
"""The checks of every table that has a quality report, by the table's name."""
