"""Real passenger counts from TIDES tables: what stop visits, performed trips and vehicles mean as raw tables of ours.

How files are found and cells are read belongs in tides_files.py and tides_tables.py.
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
from ruter_dagster.sources.tides_tables import TableReader
from ruter_dagster.sources.tides_vocabulary import (
    IN_SERVICE,
    ROUTE_TYPES_BY_MODE,
    SCHEDULED,
    STOP_VISITS,
    TRIPS_PERFORMED,
    VEHICLES,
)
from ruter_dagster.sources.visit_rules import (
    CAPACITY_UNKNOWN,
    FAULT,
    FILE,
    LINE,
    SEEN,
    UPDATED,
    first_of_each,
    judge_visits,
    split_by_place,
    to_rejected,
    without_impossible_capacities,
)

_TRIP = ("service_date", "trip_id_performed")
_MODES = {route_type: mode for mode, route_types in ROUTE_TYPES_BY_MODE.items() for route_type in route_types}


@dataclass(frozen=True)
class TidesReading:
    """Raw tables of some dates. `rejected` are visits that were set aside; `counts` says how many were left out or mended."""

    stop_visits: pl.DataFrame
    planned_departures: pl.DataFrame
    rejected: pl.DataFrame
    counts: dict[str, int]


class TidesSource:
    """TIDES tables below a folder or object-store prefix, as CSV or Parquet.

    - `trip_id` is the scheduled trip's; where it is null, performed more than once on the date, or the name of another
      performed trip, the performed trip's. `stop_sequence` is `trip_stop_sequence`: TIDES requires it, from 1, and it
      identifies the visit, while the scheduled sequence is optional and empty at added stops.
    - Trips that are not in service or canceled, visits that were skipped or are missing, and visits without a load
      and without boardings and alightings, unless their trip is counted elsewhere, are left out and counted. A null trip type means in service, a null
      schedule relationship means scheduled, a null direction (a circular line, say) means 0.
    - A row that breaks a rule (visit_rules.py), whose trip trips_performed lacks or has with a fault, is set aside with its
      reason. A vehicle that the vehicles lack has no known capacity.
    - TIDES carries no timetable: the plan is the identity and schedule columns of the scheduled trips' visits, skipped
      ones and canceled trips included, and no count. So it reaches no further than the visits do. Its capacities are
      those of the vehicle that ran, else the operator's defaults.
    - The scheduled time is the departure's, at a trip's last stop the arrival's; an unscheduled visit has its actual one.
    """

    def __init__(
        self,
        location: str | Path,
        time_zone: str,
        route_types: Mapping[str, str] | None = None,
        capacities: Capacities | None = None,
    ) -> None:
        """The operator's time zone, modes of TIDES route types and capacities of unknown vehicles."""
        self._reader = TableReader(location, time_zone)
        self._time_zone = time_zone
        self._modes = modes_of(route_types or {})
        self._capacities = capacities or Capacities()

    @classmethod
    def of(cls, settings: Settings, operator: Operator | None = None) -> TidesSource:
        """The tables that the settings name, read with the operator's time zone and modes."""
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
        """One raw table of `dates` in one pass; the counts are those of visits. Raises `DateAbsent` where none has rows."""
        if table.name == contract.WEATHER_FORECASTS.name:
            return Reading(empty_frame(table))
        reading = self.read(dates)
        is_visits = table.name == contract.STOP_VISITS.name
        rows = reading.stop_visits if is_visits else reading.planned_departures
        there = set(rows["service_date"].unique())
        rejected = reading.rejected if is_visits else reading.rejected.clear()
        # A date of which every row was set aside is there: why it has no visits is for the reader to say.
        there |= set(rejected["service_date"].unique())
        if not there:
            raise self._none_there(table, dates)
        absent = tuple(day for day in dates if day not in there)
        return Reading(rows, absent, reading.counts if is_visits else {}, rejected=rejected)

    def date_sizes(self, dates: Sequence[date]) -> dict[date, int]:
        """Bytes of stop visits of each date, as they would be in CSV; a file of many dates is taken to have as much of each."""
        files = self._reader.folder.files(STOP_VISITS)
        dated = [file for file in files if file.service_date is None or file.service_date in dates]
        sizes = Counter({file.path: self._reader.csv_size(file) for file in dated})
        shared = sum(sizes[file.path] for file in files if file.service_date is None)
        each = shared // max(1, len(self.available_dates())) if shared else 0
        own = Counter({file.service_date: 0 for file in files})
        for file in files:
            own[file.service_date] += sizes[file.path]
        return {day: own[day] + each for day in dates}

    def read(self, dates: Collection[date]) -> TidesReading:
        """Both raw tables of all `dates` in one pass; dates that the source lacks have no rows.

        Raises `BadInput` where a file, or a column of one, cannot be read.
        """
        visits = self._reader.read(STOP_VISITS, dates)
        trips = unique_trips(self._reader.read(TRIPS_PERFORMED, dates))
        vehicles = unique_vehicles(self._reader.read(VEHICLES))
        stops = _stops(visits.frame, _journeys(trips.frame, self._modes), vehicles.frame)
        stops = with_optional_columns(stops, contract.PLANNED_DEPARTURES)
        placed, lost = split_by_place(stops.filter(_of_service), self._time_zone)
        judged = judge_visits(placed, lost)
        counts = Counter({name: stops.select(condition.sum()).item() for name, condition in _COUNTS.items()})
        for more in (judged.counts, visits.repairs, trips.repairs, vehicles.repairs):
            counts.update(more)
        return TidesReading(
            judged.kept,
            self._plan(placed),
            to_rejected(judged.rejected, self._reader.original_rows(STOP_VISITS, judged.rejected)),
            {name: number for name, number in counts.items() if number},
        )

    def _plan(self, placed: pl.DataFrame) -> pl.DataFrame:
        plan = first_of_each(placed.filter(_PLANNED)).select(contract.PLANNED_DEPARTURES.column_names)
        return with_default_capacities(conform(plan, contract.PLANNED_DEPARTURES), self._capacities)

    def _none_there(self, table: contract.Table, dates: Sequence[date]) -> DateAbsent:
        known = self.available_dates()
        there = (
            f"it has {len(known)} dates from {min(known)} to {max(known)}"
            if known
            else "it has no date at all"
        )
        what = "counted visit" if table.name == contract.STOP_VISITS.name else "planned departure"
        asked = f"on {dates[0]}" if len(dates) == 1 else f"from {min(dates)} to {max(dates)}"
        return DateAbsent(f"TIDES folder {self._reader.folder.location} has no {what} {asked}; {there}")


_served = pl.col("schedule_relationship").is_in(["Skipped", "Missing"]).not_().fill_null(True)
_on_the_road = pl.col("in_service") & ~pl.col("canceled")
_of_service = pl.col("in_service").fill_null(True) | pl.col(FAULT).is_not_null()
"""Visits of passengers' trips, and those of which nobody knows whether they are."""
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
    "left out, stop skipped or missing": _on_the_road & ~_served,
    "kept, direction assumed to be 0": _on_the_road & _served & pl.col("direction_assumed"),
    "kept, vehicle that vehicles lacks: capacity unknown": pl.col("vehicle_lost"),
}
_SAME_TRIP = "repaired, one of several equal rows of a trip kept"
_SAME_VEHICLE = "repaired, one of several equal rows of a vehicle kept"
_VEHICLES_DIFFER = "repaired, vehicle with several different rows: capacity unknown"
_NO_TRIP = "trip_id_performed is not in trips_performed"
_PLACE = (FILE, LINE)


def _stops(visits: pl.DataFrame, journeys: pl.DataFrame, vehicles: pl.DataFrame) -> pl.DataFrame:
    """One row a visit, with what is known of its trip and vehicle."""
    known = pl.col("trip_known").fill_null(False)
    stops = visits.join(journeys, on=_TRIP, how="left", suffix="_trip", maintain_order="left").with_columns(
        pl.coalesce(FAULT, "trip_fault", pl.when(~known).then(pl.lit(_NO_TRIP))).alias(FAULT),
        vehicle_id=pl.coalesce("vehicle_id", "vehicle_id_trip"),
        **_visit_columns(),
    )
    stops = stops.with_columns((_on_the_road & _served).fill_null(False).alias(SEEN))
    return stops.join(vehicles, on="vehicle_id", how="left", maintain_order="left").with_columns(
        vehicle_lost=pl.col(SEEN) & pl.col("vehicle_id").is_not_null() & pl.col("vehicle_known").is_null()
    )


def unique_trips(trips: TableRows) -> TableRows:
    """One row a trip: of equal ones the first, of different ones one with a fault that says so."""
    rows = trips.frame.filter(pl.col("trip_id_performed").is_not_null())
    repairs = trips.repairs.copy()
    if nameless := trips.frame.height - rows.height:
        repairs["left out, row of trips_performed without trip_id_performed"] += nameless
    if not rows.select(pl.struct(*_TRIP).is_duplicated().any()).item():
        return TableRows(rows, repairs)
    different = rows.unique(pl.exclude(_PLACE), keep="first", maintain_order=True)
    repairs[_SAME_TRIP] += rows.height - different.height
    conflict = pl.when(pl.len().over(_TRIP) > 1).then(pl.lit("has several different rows"))
    marked = different.with_columns(pl.coalesce(FAULT, conflict).alias(FAULT))
    return TableRows(marked.unique(_TRIP, keep="first", maintain_order=True), repairs)


def unique_vehicles(vehicles: TableRows) -> TableRows:
    """One row a vehicle, with its seats and total capacity, null where they are impossible or several rows differ.

    The plan takes capacities from here too, and no rule of visits judges it.
    """
    whole = pl.when(pl.col(FAULT).is_null())
    rows = vehicles.frame.filter(pl.col("vehicle_id").is_not_null()).select(
        "vehicle_id",
        seats=whole.then("capacity_seated"),
        total_capacity=whole.then(pl.col("capacity_seated") + pl.col("capacity_standing")),
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
    """The mode of every route type: an operator's own first."""
    return _MODES | dict(route_types)


def _journeys(trips: pl.DataFrame, modes: Mapping[str, str]) -> pl.DataFrame:
    """One row a performed trip: its identity, line, mode, direction, whether it ran and was planned, and what is wrong with it."""
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
    """Why no visit of a trip can be used; null where they can."""
    fault = pl.format("trip in trips_performed: {}", FAULT)
    modeless = pl.format(
        "route_type {} is none of "
        + ", ".join(contract.MODES)
        + "; add its mode to [route_types] of the operator file",
        pl.col("route_type").fill_null("nothing"),
    )
    in_service = pl.col("in_service")
    return pl.coalesce(
        fault,
        pl.when(in_service & pl.col("route_id").is_null()).then(
            pl.lit("route_id has no value in trips_performed")
        ),
        pl.when(in_service & pl.col("mode").is_null()).then(modeless),
    )


def _scheduled_id_is_unique(trips: pl.DataFrame) -> pl.Series:
    """Whether the scheduled trip's name can stand for this performed trip on its date, and for no other."""
    once = (pl.len().over("service_date", "trip_id_scheduled") == 1) & pl.col(
        "trip_id_scheduled"
    ).is_not_null()
    others = trips.select("service_date", trip_id_scheduled="trip_id_performed", other="trip_id_performed")
    named = trips.join(others, on=["service_date", "trip_id_scheduled"], how="left", maintain_order="left")
    free = (pl.col("other").is_null() | (pl.col("other") == pl.col("trip_id_performed"))).fill_null(True)
    return named.select(once & free).to_series()


def _visit_columns() -> dict[str, pl.Expr]:
    """Our columns of a visit from those of TIDES. Boardings are null only where no door counted."""
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
