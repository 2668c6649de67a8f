"""The sums of operating dates from which drift is computed. Those of a date are stored until one of its inputs changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.date_windows import (
    DRIFT_PLAN_DAYS,
    DRIFT_REFERENCE_DAYS,
    DRIFT_VERDICT_DAYS,
)
from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.tables import (
    DRIFT_SUMS,
    FORECAST_PERFORMANCE,
    PLANNED_DEPARTURES,
    STOP_LOADS,
    STOP_VISITS,
    Table,
)
from ruter_dagster.forecasting.drift_sums import (
    JOURNEY_COLUMNS,
    LOAD_COLUMNS,
    PERFORMANCE_COLUMNS,
    VISIT_COLUMNS,
    DriftSums,
)
from ruter_dagster.forecasting.sensor_health import PLAN_COLUMNS, SENSOR_LOAD_COLUMNS, SensorSums
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.input_tables import Verdict
from ruter_dagster.jobs.provenance import code_hash
from ruter_dagster.storage.snapshots import TableSnapshot

_INPUTS: dict[Table, tuple[Verdict, tuple[str, ...]]] = {
    STOP_LOADS: ("skip", tuple(dict.fromkeys((*LOAD_COLUMNS, *SENSOR_LOAD_COLUMNS)))),
    FORECAST_PERFORMANCE: ("ignore", PERFORMANCE_COLUMNS),
    PLANNED_DEPARTURES: ("skip", PLAN_COLUMNS),
    STOP_VISITS: ("skip", VISIT_COLUMNS),
}
"""The inputs of a date's sums: what to do with dates without a passed verdict, and the columns that are read."""
_DATES_PER_WRITE = 14
"""New sums are written for this many dates at once, to limit memory."""

Versions = Mapping[Table, Mapping[date, str]]


def read_sums(dates: Sequence[date], context: JobContext) -> DriftSums:
    """Sums of the dates and of the dates before them with which they are compared.

    Dates whose inputs are unchanged are read from `DRIFT_SUMS`. Those of the others are computed, one date at a time to limit
    memory, and stored.
    """
    first = dates[0] - timedelta(DRIFT_VERDICT_DAYS)
    days = day_range(first - timedelta(DRIFT_REFERENCE_DAYS), dates[-1])
    versions = _input_versions(days, context)
    used = {*versions[STOP_LOADS], *versions[FORECAST_PERFORMANCE], *dates}
    known = [day for day in days if day in used]
    _record_used(versions, known, first, context)
    hashes = {day: _input_hash(day, versions, context) for day in known}
    stored = context.store.snapshot(DRIFT_SUMS)
    unchanged = stored.unchanged_dates(hashes)
    compared = first - timedelta(DRIFT_PLAN_DAYS)
    changed = {day: input_hash for day, input_hash in hashes.items() if day not in unchanged}
    return DriftSums.joined(
        [_stored_sums(stored, list(unchanged), compared), *_new_sums(changed, compared, versions, context)]
    )


def _input_versions(days: Sequence[date], context: JobContext) -> Versions:
    """The version of each date of each input."""
    return {
        table: context.tables.versions(table, days, missing="skip", verdict=verdict)
        for table, (verdict, _) in _INPUTS.items()
    }


def _record_used(versions: Versions, known: Sequence[date], first: date, context: JobContext) -> None:
    """Records the versions on which the drift depends. `first` is the first date of which values are computed."""
    for table, of_table in versions.items():
        # Visits give the values of a date, but none of the dates with which it is compared.
        days = [day for day in known if table is not STOP_VISITS or day >= first]
        context.tables.record(table, {day: of_table[day] for day in days if day in of_table})


def _input_hash(day: date, versions: Versions, context: JobContext) -> str:
    """Hash of everything that a date's sums depend on: versions of its inputs, time zone and code."""
    inputs = {table.name: of_table.get(day) for table, of_table in versions.items()}
    content = json.dumps([code_hash(__file__), context.operator.time_zone, inputs], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _stored_sums(stored: TableSnapshot, days: Sequence[date], compared: date) -> DriftSums:
    """The stored sums of dates. Only the journeys from `compared` on are read, because they are most of the rows."""
    is_journey = pl.col("measure") == "journeys"
    return DriftSums.of_rows(
        stored.read(days, ordered=False, where=~is_journey),
        stored.read(
            [day for day in days if day >= compared], JOURNEY_COLUMNS, ordered=False, where=is_journey
        ),
    )


def _new_sums(
    changed: Mapping[date, str], compared: date, versions: Versions, context: JobContext
) -> Iterator[DriftSums]:
    """Computes and stores the sums of dates. Journeys before `compared` are left out afterwards to limit memory."""
    days = list(changed)
    for start in range(0, len(days), _DATES_PER_WRITE):
        block = days[start : start + _DATES_PER_WRITE]
        sums = {day: _sums_of(day, versions, context) for day in context.track(block, "Dates summed")}
        rows = pl.concat(part.to_rows() for part in sums.values())
        context.write_part(DRIFT_SUMS, rows, block, {day: changed[day] for day in block})
        yield from (part if day >= compared else _without_journeys(part) for day, part in sums.items())


def _without_journeys(sums: DriftSums) -> DriftSums:
    return replace(sums, sensors=replace(sums.sensors, journeys=sums.sensors.journeys.clear()))


def _sums_of(day: date, versions: Versions, context: JobContext) -> DriftSums:
    loads, performance, plan, visits = (
        context.tables.snapshot(table).read([day] if day in versions[table] else [], columns, ordered=False)
        for table, (_, columns) in _INPUTS.items()
    )
    sensors = SensorSums.of(loads, plan, context.operator.time_zone)
    return DriftSums.of([day], performance, loads, visits, sensors)
