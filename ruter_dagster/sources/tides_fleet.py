"""The vehicles of performed trips in TIDES tables. Stop visits are only read if trips lack their vehicle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import polars as pl

from ruter_dagster.config.operator import Operator
from ruter_dagster.sources.tides import modes_of, unique_trips, unique_vehicles
from ruter_dagster.sources.tides_schema import STOP_VISITS, TRIPS_PERFORMED, VEHICLES, TidesTable
from ruter_dagster.sources.tides_tables import TableReader
from ruter_dagster.sources.visit_rules import FAULT

_TRIP = ("service_date", "trip_id_performed")
_ADDED = ("Added", "Unscheduled", "Duplicated")
_VISITS = TidesTable(
    STOP_VISITS.name,
    tuple(column for column in STOP_VISITS.columns if column.name in (*_TRIP, "vehicle_id")),
)


def trips_of_dates(location: str, operator: Operator) -> Callable[[Sequence[date]], pl.DataFrame]:
    """A function that returns the valid performed trips of dates.

    Columns: service_date, trip_id_performed, line_id, mode, added (the trip was not in the schedule), seats and
    total_capacity of the vehicle (null if unknown).
    """
    reader = TableReader(location, operator.time_zone)
    modes = modes_of(operator.route_types)

    def read(dates: Sequence[date]) -> pl.DataFrame:
        trips = unique_trips(reader.read(TRIPS_PERFORMED, dates)).frame.filter(pl.col(FAULT).is_null())
        if trips["vehicle_id"].null_count():
            visit_vehicles = (
                reader.read(_VISITS, dates)
                .frame.drop_nulls([*_TRIP, "vehicle_id"])
                .unique(_TRIP, keep="first", maintain_order=True)
            )
            trips = trips.join(visit_vehicles, on=_TRIP, how="left", suffix="_of_visit").with_columns(
                vehicle_id=pl.coalesce("vehicle_id", "vehicle_id_of_visit")
            )
        vehicles = unique_vehicles(reader.read(VEHICLES)).frame
        return trips.join(vehicles, on="vehicle_id", how="left").select(
            *_TRIP,
            line_id="route_id",
            mode=pl.col("route_type").replace_strict(modes, default=None, return_dtype=pl.String),
            added=pl.col("schedule_relationship").is_in(_ADDED).fill_null(False),
            seats="seats",
            total_capacity="total_capacity",
        )

    return read
