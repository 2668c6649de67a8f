"""Real passenger counts from TIDES tables: what stop visits, performed trips and vehicles mean as raw tables of ours.

How files are found and cells are read belongs in tides_files.py and tides_tables.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from ruter_dagster.contracts import tables as contract
from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.frames import conform, empty_frame
from ruter_dagster.forecasting.slots import slot_hour
from ruter_dagster.operator import Operator, operator_of
from ruter_dagster.settings import Settings
from ruter_dagster.sources.base import DateAbsent, Reading
from ruter_dagster.sources.tides_tables import TableReader
from ruter_dagster.sources.tides_vocabulary import (
    IN_SERVICE,
    ROUTE_TYPES_BY_MODE,
    SCHEDULED,
    STOP_VISITS,
    TRIPS_PERFORMED,
    VEHICLES,
    TidesTable,
)

_TRIP = ("service_date", "trip_id_performed")
_MODES = {route_type: mode for mode, route_types in ROUTE_TYPES_BY_MODE.items() for route_type in route_types}
_EXAMPLES = 5


@dataclass(frozen=True)
class TidesReading:
    """Raw tables of some dates; `counts` says how many visits were left out or completed, and why."""

    stop_visits: pl.DataFrame
    planned_departures: pl.DataFrame
    counts: dict[str, int]


class TidesSource:
    """TIDES tables below a folder or object-store prefix, as CSV or Parquet.

    - `trip_id` is the scheduled trip's; where it is null, performed more than once on the date, or the name of another
      performed trip, the performed trip's. `stop_sequence` is `trip_stop_sequence`: TIDES requires it, from 1, and it
      identifies the visit, while the scheduled sequence is optional and empty at added stops.
    - Trips that are not in service or canceled, trips without any count, and visits that were skipped or are missing are
      left out and counted. A visit without a load and without boardings and alightings stays in its trip, without
      counts: its passengers are missing there. A null trip type means in service, a null schedule relationship means
      scheduled, a null direction (a circular line, say) means 0.
    - TIDES carries no timetable: the plan is the identity and schedule columns of the scheduled trips' visits, skipped
      ones and canceled trips included, and no count. So it reaches no further than the visits do. Its capacities are
      those of the vehicle that ran.
    - The scheduled time is the departure's, at a trip's last stop the arrival's; an unscheduled visit has its actual one.
    """

    def __init__(
        self, location: str | Path, time_zone: str, route_types: Mapping[str, str] | None = None
    ) -> None:
        """`time_zone` is the operator's; `route_types` are its own modes of TIDES route types."""
        self._reader = TableReader(location)
        self._time_zone = time_zone
        self._modes = _MODES | dict(route_types or {})

    @classmethod
    def of(cls, settings: Settings, operator: Operator | None = None) -> TidesSource:
        """The tables that the settings name, read with the operator's time zone and modes."""
        operator = operator or operator_of(settings)
        return cls(settings.tides_path or "", operator.time_zone, operator.route_types)

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
        if table.name == contract.STOP_VISITS.name:
            rows, counts = reading.stop_visits, reading.counts
        else:
            rows, counts = reading.planned_departures, {}
        if rows.is_empty():
            raise self._none_there(table, dates)
        there = set(rows["service_date"].unique())
        return Reading(rows, tuple(day for day in dates if day not in there), counts)

    def read(self, dates: Collection[date]) -> TidesReading:
        """Both raw tables of all `dates` in one pass; dates that the source lacks have no rows.

        Raises `BadInput` where files or cells cannot be read, or a row refers to nothing.
        """
        visits = self._reader.read(STOP_VISITS, dates)
        trips = self._unique(TRIPS_PERFORMED, self._reader.read(TRIPS_PERFORMED, dates), _TRIP)
        vehicles = self._unique(VEHICLES, self._reader.read(VEHICLES), ("vehicle_id",))
        stops = self._stops(visits, _journeys(trips, self._modes), vehicles)
        self._check_day(stops)
        return TidesReading(
            conform(stops.filter(_VISITED).select(contract.STOP_VISITS.column_names), contract.STOP_VISITS),
            conform(
                stops.filter(_PLANNED).select(contract.PLANNED_DEPARTURES.column_names),
                contract.PLANNED_DEPARTURES,
            ),
            {name: stops.select(condition.sum()).item() for name, condition in _COUNTS.items()},
        )

    def _stops(self, visits: pl.DataFrame, journeys: pl.DataFrame, vehicles: pl.DataFrame) -> pl.DataFrame:
        """One row a visit, with what is known of its trip and vehicle."""
        unknown = visits.join(journeys, on=_TRIP, how="anti")
        self._refuse(
            unknown,
            (*_TRIP, "trip_stop_sequence"),
            "has visits of trips that trips_performed lacks; add the trips",
        )
        stops = visits.join(journeys, on=_TRIP, suffix="_trip").with_columns(
            vehicle_id=pl.coalesce("vehicle_id", "vehicle_id_trip"), **_visit_columns()
        )
        lost = stops.filter(pl.col("vehicle_id").is_not_null()).join(vehicles, on="vehicle_id", how="anti")
        self._refuse(
            lost, ("vehicle_id", *_TRIP), "has visits of vehicles that vehicles lacks; add the vehicles"
        )
        nowhere = stops.filter(pl.col("in_service") & pl.col("line_id").is_null())
        self._refuse(nowhere, _TRIP, "has visits of trips without route_id; add it in trips_performed")
        modeless = stops.filter(pl.col("in_service") & pl.col("mode").is_null())
        self._refuse(
            modeless,
            ("route_type", *_TRIP),
            "has visits of trips whose route_type is none of "
            f"{', '.join(contract.MODES)}; add it in trips_performed, or its mode to [route_types] of the operator file",
        )
        return stops.join(
            vehicles.select(
                "vehicle_id",
                seats="capacity_seated",
                total_capacity=pl.col("capacity_seated") + pl.col("capacity_standing"),
            ),
            on="vehicle_id",
            how="left",
        )

    def _check_day(self, stops: pl.DataFrame) -> None:
        hour = slot_hour("scheduled_departure_time", "service_date", self._time_zone)
        self._refuse(
            stops.filter(hour.is_between(0, 47).not_()),
            ("service_date", "trip_id_performed", "trip_stop_sequence", "scheduled_departure_time"),
            "has visits scheduled outside their service date, which lasts from its midnight to the second one after, "
            f"in {self._time_zone}; correct service_date or the time",
        )

    def _refuse(self, rows: pl.DataFrame, shown: Collection[str], problem: str) -> None:
        if rows.height:
            raise BadInput(
                f"stop_visits in {self._reader.folder.location} {problem} ({rows.height:,} rows, e.g. {_examples(rows, shown)})"
            )

    def _unique(self, table: TidesTable, rows: pl.DataFrame, key: tuple[str, ...]) -> pl.DataFrame:
        repeated = rows.filter(pl.struct(key).is_duplicated())
        if repeated.height:
            raise BadInput(
                f"{table.name} in {self._reader.folder.location} has several rows of one {', '.join(key)}; keep one of each "
                f"({repeated.height:,} rows, e.g. {_examples(repeated, key)})"
            )
        return rows

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
_counted = pl.col("departure_load").is_not_null() | (
    pl.col("boardings").is_not_null() & pl.col("alightings").is_not_null()
)
_on_the_road = pl.col("in_service") & ~pl.col("canceled")
_trip_counted = (_counted & _served).any().over(_TRIP)
_VISITED = _on_the_road & _served & _trip_counted
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
    "left out, trip not counted": _on_the_road & _served & ~_trip_counted,
    "kept, visit not counted": _VISITED & ~_counted,
    "kept, direction assumed to be 0": _VISITED & pl.col("direction_assumed"),
}


def _journeys(trips: pl.DataFrame, modes: Mapping[str, str]) -> pl.DataFrame:
    """One row a performed trip: its identity, line, mode, direction, and whether it ran and was planned."""
    in_service = (pl.col("trip_type") == IN_SERVICE).fill_null(True)
    relationship = pl.col("schedule_relationship").fill_null(SCHEDULED)
    trips = trips.with_columns(in_service=in_service)
    return trips.select(
        *_TRIP,
        "in_service",
        "vehicle_id",
        "route_type",
        trip_id=pl.when(_scheduled_id_is_unique(trips))
        .then("trip_id_scheduled")
        .otherwise("trip_id_performed"),
        line_id="route_id",
        mode=pl.col("route_type").replace_strict(modes, default=None, return_dtype=pl.String),
        direction_id=pl.col("direction_id").fill_null(0),
        direction_assumed=pl.col("direction_id").is_null(),
        block_id="block_id",
        canceled=relationship == "Canceled",
        planned=relationship.is_in([SCHEDULED, "Canceled"]),
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
        "boardings": pl.coalesce(pl.col("boarding_1") + pl.col("boarding_2"), "boarding_1", "boarding_2"),
        "alightings": pl.coalesce(
            pl.col("alighting_1") + pl.col("alighting_2"), "alighting_1", "alighting_2"
        ),
    }


def _examples(rows: pl.DataFrame, shown: Collection[str]) -> str:
    few = rows.select(shown).unique(maintain_order=True).head(_EXAMPLES).to_dicts()
    return "; ".join(" ".join(f"{name}={value}" for name, value in row.items()) for row in few)
