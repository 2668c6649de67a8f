"""Real passenger counts from TIDES tables: converts stop visits, performed trips and vehicles to raw tables.

Finding files and reading cells belongs in tides_files.py and tides_tables.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from ruter_dagster.config.operator import Capacities, Operator, operator_of
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts import tables as contract
from ruter_dagster.contracts.validation import conform, empty_frame, with_optional_columns
from ruter_dagster.sources.base import DateAbsent, Reading
from ruter_dagster.sources.default_capacities import with_default_capacities
from ruter_dagster.sources.tides_rows import TableRows
from ruter_dagster.sources.tides_schema import (
    IN_SERVICE,
    ROUTE_TYPES_BY_MODE,
    SCHEDULED,
    STOP_VISITS,
    TRIPS_PERFORMED,
    VEHICLES,
)
from ruter_dagster.sources.tides_tables import TableReader
from ruter_dagster.sources.visit_rules import (
    CAPACITY_UNKNOWN,
    FAULT,
    FILE,
    LINE,
    SERVED,
    UPDATED,
    apply_visit_rules,
    first_row_per_visit,
    split_unplaceable,
    to_rejected,
    without_impossible_capacities,
)

_TRIP = ("service_date", "trip_id_performed")
_MODES = {route_type: mode for mode, route_types in ROUTE_TYPES_BY_MODE.items() for route_type in route_types}


@dataclass(frozen=True)
class TidesReading:
    """Raw tables of some dates. `counts` has the number of visits that were left out or repaired, by kind."""

    stop_visits: pl.DataFrame
    planned_departures: pl.DataFrame
    rejected: pl.DataFrame
    counts: dict[str, int]


class TidesSource:
    """TIDES tables below a folder or object-store prefix, as CSV or Parquet.

    - `trip_id` is the id of the scheduled trip. The performed trip's id replaces a scheduled id that is null, that was
      performed more than once on the date, or that is also the id of another performed trip.
    - `stop_sequence` is `trip_stop_sequence`. TIDES requires it and it identifies the visit; the scheduled sequence is
      optional, and empty at added stops.
    - Trips that are not in service or were canceled, and skipped or missing visits, are left out and counted. So are visits
      without load, boardings and alightings, unless their trip is counted at other stops.
    - A null trip type means in service, a null schedule relationship means scheduled, and a null direction means 0.
    - A row is rejected with a reason if it breaks a rule (visit_rules.py), or if its trip is faulty or missing in
      trips_performed. A vehicle that is missing in vehicles has an unknown capacity.
    - TIDES has no timetable. The plan has the visits of scheduled trips without their counts, skipped visits and canceled
      trips included. So it has no future dates. Its capacities are those of the vehicle that ran, else the operator's defaults.
    - The scheduled time is the departure, at the last stop of a trip the arrival. An unscheduled visit has its actual time.
    """

    def __init__(
        self,
        location: str | Path,
        time_zone: str,
        route_types: Mapping[str, str] | None = None,
        capacities: Capacities | None = None,
    ) -> None:
        """Arguments but the location are the operator's: time zone, modes of TIDES route types, capacities of unknown vehicles."""
        self._reader = TableReader(location, time_zone)
        self._time_zone = time_zone
        self._modes = modes_of(route_types or {})
        self._capacities = capacities or Capacities()

    @classmethod
    def of(cls, settings: Settings, operator: Operator | None = None) -> TidesSource:
        """The tables of the settings, read with the operator's time zone, modes and capacities."""
        operator = operator or operator_of(settings)
        return cls(settings.tides_path or "", operator.time_zone, operator.route_types, operator.capacities)

    def available_dates(self) -> frozenset[date]:
        return self._reader.dates(STOP_VISITS)

    def stop_visits(self, service_date: date) -> pl.DataFrame:
        return self.read_table(contract.STOP_VISITS, [service_date]).rows

    def planned_departures(self, service_date: date) -> pl.DataFrame:
        return self.read_table(contract.PLANNED_DEPARTURES, [service_date]).rows

    def weather_forecasts(self, issue_date: date) -> pl.DataFrame:
        """TIDES has no weather."""
        return empty_frame(contract.WEATHER_FORECASTS)

    def read_table(self, table: contract.Table, dates: Sequence[date]) -> Reading:
        """Reads one raw table on `dates` in one pass. Raises `DateAbsent` if all dates are absent."""
        if table.name == contract.WEATHER_FORECASTS.name:
            return Reading(empty_frame(table))
        reading = self.read(dates)
        is_visits = table.name == contract.STOP_VISITS.name
        rows = reading.stop_visits if is_visits else reading.planned_departures
        present = set(rows["service_date"].unique())
        rejected = reading.rejected if is_visits else reading.rejected.clear()
        # A date with only rejected rows is not absent: the rejected rows explain why it has no visits.
        present |= set(rejected["service_date"].unique())
        if not present:
            raise self._absence(table, dates)
        absent = tuple(day for day in dates if day not in present)
        return Reading(rows, absent, reading.counts if is_visits else {}, rejected=rejected)

    def date_sizes(self, dates: Sequence[date]) -> dict[date, int]:
        """Size of the stop visits of each date, in bytes of CSV. A file of many dates is divided evenly among its dates."""
        files = self._reader.folder.files(STOP_VISITS)
        needed = [file for file in files if file.service_date is None or file.service_date in dates]
        sizes = Counter({file.path: self._reader.csv_size(file) for file in needed})
        shared = sum(sizes[file.path] for file in files if file.service_date is None)
        shared_per_date = shared // max(1, len(self.available_dates())) if shared else 0
        by_date = Counter({file.service_date: 0 for file in files})
        for file in files:
            by_date[file.service_date] += sizes[file.path]
        return {day: by_date[day] + shared_per_date for day in dates}

    def read(self, dates: Collection[date]) -> TidesReading:
        """Reads both raw tables on `dates` in one pass. Dates that the source lacks have no rows.

        Raises `BadInput` if a file or a whole column cannot be read.
        """
        visits = self._reader.read(STOP_VISITS, dates)
        trips = unique_trips(self._reader.read(TRIPS_PERFORMED, dates))
        vehicles = unique_vehicles(self._reader.read(VEHICLES))
        stops = _joined_visits(visits.frame, _journeys(trips.frame, self._modes), vehicles.frame)
        stops = with_optional_columns(stops, contract.PLANNED_DEPARTURES)
        placeable, unplaceable = split_unplaceable(stops.filter(_may_be_in_service), self._time_zone)
        visit_result = apply_visit_rules(placeable, unplaceable)
        counts = Counter({name: stops.select(condition.sum()).item() for name, condition in _COUNTS.items()})
        for further in (visit_result.counts, visits.repairs, trips.repairs, vehicles.repairs):
            counts.update(further)
        return TidesReading(
            visit_result.kept,
            self._plan(placeable),
            to_rejected(
                visit_result.rejected, self._reader.original_rows(STOP_VISITS, visit_result.rejected)
            ),
            {name: number for name, number in counts.items() if number},
        )

    def _plan(self, placeable: pl.DataFrame) -> pl.DataFrame:
        plan = first_row_per_visit(placeable.filter(_PLANNED)).select(
            contract.PLANNED_DEPARTURES.column_names
        )
        return with_default_capacities(conform(plan, contract.PLANNED_DEPARTURES), self._capacities)

    def _absence(self, table: contract.Table, dates: Sequence[date]) -> DateAbsent:
        dates_with_visits = self.available_dates()
        extent = "it has no dates"
        if dates_with_visits:
            extent = f"it has {len(dates_with_visits)} dates from {min(dates_with_visits)} to {max(dates_with_visits)}"
        rows = "counted visit" if table.name == contract.STOP_VISITS.name else "planned departure"
        span = f"on {dates[0]}" if len(dates) == 1 else f"from {min(dates)} to {max(dates)}"
        return DateAbsent(f"TIDES folder {self._reader.folder.location} has no {rows} {span}; {extent}")


_is_served = pl.col("schedule_relationship").is_in(["Skipped", "Missing"]).not_().fill_null(True)
_is_operated = pl.col("in_service") & ~pl.col("canceled")
_may_be_in_service = pl.col("in_service").fill_null(True) | pl.col(FAULT).is_not_null()
"""Visits of trips in service, and visits with a fault, for which this is unknown."""
_PLANNED = (
    pl.col("in_service")
    & pl.col("planned")
    & (pl.col("schedule_relationship") != "Added").fill_null(True)
    & pl.col("has_schedule")
)
_COUNTS = {
    "visits": pl.col("service_date").is_not_null(),
    "left out, trip not in service": ~pl.col("in_service"),
    "left out, trip canceled": pl.col("in_service") & pl.col("canceled"),
    "left out, stop skipped or missing": _is_operated & ~_is_served,
    "kept, direction assumed to be 0": _is_operated & _is_served & pl.col("direction_assumed"),
    "kept, vehicle missing in vehicles: unknown capacity": pl.col("vehicle_is_missing"),
}
_SAME_TRIP = "repaired, one of several equal rows of a trip kept"
_SAME_VEHICLE = "repaired, one of several equal rows of a vehicle kept"
_VEHICLES_DIFFER = "repaired, vehicle with several different rows: unknown capacity"
_NO_TRIP = "trip_id_performed is not in trips_performed"
_LOCATION = (FILE, LINE)


def _joined_visits(visits: pl.DataFrame, journeys: pl.DataFrame, vehicles: pl.DataFrame) -> pl.DataFrame:
    """One row per visit, with the columns of its trip and vehicle."""
    known = pl.col("trip_known").fill_null(False)
    stops = visits.join(journeys, on=_TRIP, how="left", suffix="_trip", maintain_order="left").with_columns(
        pl.coalesce(FAULT, "trip_fault", pl.when(~known).then(pl.lit(_NO_TRIP))).alias(FAULT),
        vehicle_id=pl.coalesce("vehicle_id", "vehicle_id_trip"),
        **_visit_columns(),
    )
    stops = stops.with_columns((_is_operated & _is_served).fill_null(False).alias(SERVED))
    return stops.join(vehicles, on="vehicle_id", how="left", maintain_order="left").with_columns(
        vehicle_is_missing=pl.col(SERVED)
        & pl.col("vehicle_id").is_not_null()
        & pl.col("vehicle_known").is_null()
    )


def unique_trips(trips: TableRows) -> TableRows:
    """One row per trip. A trip with different rows gets one row with a fault."""
    rows = trips.frame.filter(pl.col("trip_id_performed").is_not_null())
    repairs = trips.repairs.copy()
    if without_id := trips.frame.height - rows.height:
        repairs["left out, row of trips_performed without trip_id_performed"] += without_id
    if not rows.select(pl.struct(*_TRIP).is_duplicated().any()).item():
        return TableRows(rows, repairs)
    different = rows.unique(pl.exclude(_LOCATION), keep="first", maintain_order=True)
    repairs[_SAME_TRIP] += rows.height - different.height
    conflict = pl.when(pl.len().over(_TRIP) > 1).then(pl.lit("has several different rows"))
    marked = different.with_columns(pl.coalesce(FAULT, conflict).alias(FAULT))
    return TableRows(marked.unique(_TRIP, keep="first", maintain_order=True), repairs)


def unique_vehicles(vehicles: TableRows) -> TableRows:
    """One row per vehicle, with seats and total capacity. They are null if they are impossible, or if several rows differ.

    The rules of visits also null impossible capacities, but they are not applied to the plan.
    """
    if_valid = pl.when(pl.col(FAULT).is_null())
    rows = vehicles.frame.filter(pl.col("vehicle_id").is_not_null()).select(
        "vehicle_id",
        seats=if_valid.then("capacity_seated"),
        total_capacity=if_valid.then(pl.col("capacity_seated") + pl.col("capacity_standing")),
    )
    repairs = vehicles.repairs.copy()
    rows, repairs[CAPACITY_UNKNOWN] = without_impossible_capacities(rows)
    different = rows.unique(maintain_order=True)
    repairs[_SAME_VEHICLE] += rows.height - different.height
    conflict = pl.len().over("vehicle_id") > 1
    marked = different.with_columns(
        pl.when(~conflict).then(pl.col(name)).alias(name) for name in ("seats", "total_capacity")
    )
    single = marked.unique("vehicle_id", keep="first", maintain_order=True)
    repairs[_VEHICLES_DIFFER] += marked.height - single.height
    return TableRows(single.with_columns(vehicle_known=pl.lit(True)), repairs)


def modes_of(route_types: Mapping[str, str]) -> dict[str, str]:
    """The mode of every route type. The operator's own modes override the usual ones."""
    return _MODES | dict(route_types)


def _journeys(trips: pl.DataFrame, modes: Mapping[str, str]) -> pl.DataFrame:
    """One row per performed trip: ids, line, mode, direction, whether it was operated and planned, and its fault."""
    in_service = (pl.col("trip_type") == IN_SERVICE).fill_null(True)
    relationship = pl.col("schedule_relationship").fill_null(SCHEDULED)
    trips = trips.with_columns(
        in_service=in_service,
        mode=pl.col("route_type").replace_strict(modes, default=None, return_dtype=pl.String),
    )
    return trips.select(
        *_TRIP,
        "in_service",
        "vehicle_id",
        "mode",
        trip_id=pl.when(_scheduled_id_is_unique(trips))
        .then("trip_id_scheduled")
        .otherwise("trip_id_performed"),
        line_id="route_id",
        direction_id=pl.col("direction_id").fill_null(0),
        direction_assumed=pl.col("direction_id").is_null(),
        block_id="block_id",
        canceled=relationship == "Canceled",
        planned=relationship.is_in([SCHEDULED, "Canceled"]),
        trip_known=pl.lit(True),
        trip_fault=_trip_fault(),
    )


def _trip_fault() -> pl.Expr:
    """Why visits of a trip cannot be used; null if they can."""
    without_mode = pl.format(
        "route_type {} is none of "
        + ", ".join(contract.MODES)
        + "; add its mode to [route_types] of the operator file",
        pl.col("route_type").fill_null("nothing"),
    )
    in_service = pl.col("in_service")
    return pl.coalesce(
        pl.format("trip in trips_performed: {}", FAULT),
        pl.when(in_service & pl.col("route_id").is_null()).then(
            pl.lit("route_id has no value in trips_performed")
        ),
        pl.when(in_service & pl.col("mode").is_null()).then(without_mode),
    )


def _scheduled_id_is_unique(trips: pl.DataFrame) -> pl.Series:
    """Whether the scheduled trip's id identifies only this performed trip on its date."""
    is_performed_once = (pl.len().over("service_date", "trip_id_scheduled") == 1) & pl.col(
        "trip_id_scheduled"
    ).is_not_null()
    others = trips.select("service_date", trip_id_scheduled="trip_id_performed", other="trip_id_performed")
    joined = trips.join(others, on=["service_date", "trip_id_scheduled"], how="left", maintain_order="left")
    is_free = (pl.col("other").is_null() | (pl.col("other") == pl.col("trip_id_performed"))).fill_null(True)
    return joined.select(is_performed_once & is_free).to_series()


def _visit_columns() -> dict[str, pl.Expr]:
    """Contract columns from TIDES columns. Boardings are null only if no door was counted."""
    scheduled = pl.coalesce("schedule_departure_time", "schedule_arrival_time")
    actual = pl.coalesce("actual_departure_time", "actual_arrival_time")
    return {
        "stop_sequence": pl.col("trip_stop_sequence"),
        "scheduled_departure_time": pl.coalesce(scheduled, actual),
        "has_schedule": scheduled.is_not_null(),
        UPDATED: actual,
        "boardings": pl.coalesce(pl.col("boarding_1") + pl.col("boarding_2"), "boarding_1", "boarding_2"),
        "alightings": pl.coalesce(
            pl.col("alighting_1") + pl.col("alighting_2"), "alighting_1", "alighting_2"
        ),
    }
