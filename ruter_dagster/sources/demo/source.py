"""The demo network as a source of raw data, and its true loads, which no real source has."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl
from numpy.typing import NDArray

from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS
from ruter_dagster.contracts.validation import conform, with_optional_columns
from ruter_dagster.sources.demo.counters import count
from ruter_dagster.sources.demo.faults import Faults, counted_vehicles
from ruter_dagster.sources.demo.fleet import Fleet, build_fleet
from ruter_dagster.sources.demo.network import Scale
from ruter_dagster.sources.demo.simulation import simulate, timetable_of
from ruter_dagster.sources.demo.timetable import Timetable
from ruter_dagster.sources.demo.weather import forecast_of

TIME_ZONE = ZoneInfo("Europe/Oslo")
_COUNTS = ("boardings", "alightings", "departure_load")


class DemoSource:
    """A simulated network around Oslo with every date. The same seed, scale and faults always give the same rows."""

    def __init__(self, seed: int = 20, scale: Scale = "demo", faults: Faults = ()) -> None:
        self._seed: int = seed
        self._scale: Scale = scale
        self._faults: Faults = faults

    def available_dates(self) -> None:
        """None, because every date has visits. Callers decide which dates are past."""
        return

    def stop_visits(self, service_date: date) -> pl.DataFrame:
        """Contract `raw.stop_visits`: the reported counts of the date."""
        passengers = simulate(self._seed, self._scale, service_date, self._faults)
        fleet, timetable, vehicle = (
            build_fleet(self._seed, self._scale),
            passengers.timetable,
            passengers.vehicle,
        )
        counts = count(self._seed, fleet, passengers, service_date, self._faults)
        departures = _departures(timetable, service_date).drop("seats", "total_capacity")
        visits = departures.with_columns(
            trip_id_performed=pl.col("trip_id") + f":{service_date}",
            vehicle_id=timetable.departures(fleet.vehicle_ids.gather(vehicle)),
            delay=_column(timetable, counts.delay),
            boardings=_column(timetable, counts.boardings),
            alightings=_column(timetable, counts.alightings),
            departure_load=_column(timetable, counts.departure_load),
            seats=timetable.departures(fleet.seats[vehicle]),
            total_capacity=timetable.departures(fleet.total_capacity[vehicle]),
            block_id=pl.lit(None, pl.String),
        )
        visits = visits.with_columns(
            actual_departure_time=pl.col("scheduled_departure_time") + pl.duration(seconds="delay")
        )
        visits = self._without_failed_counters(visits.drop("delay"), timetable, fleet, service_date)
        return conform(visits.filter(pl.Series(timetable.flat(counts.arrived))), STOP_VISITS)

    def _without_failed_counters(
        self, visits: pl.DataFrame, timetable: Timetable, fleet: Fleet, service_date: date
    ) -> pl.DataFrame:
        counted = counted_vehicles(timetable.network, fleet, service_date, self._faults)
        has_counts = pl.col("vehicle_id").is_in(fleet.vehicle_ids.filter(pl.Series(counted)).to_list())
        return visits.with_columns(pl.when(has_counts).then(pl.col(name)).alias(name) for name in _COUNTS)

    def planned_departures(self, service_date: date) -> pl.DataFrame:
        """Contract `raw.planned_departures`: the timetable of the date, past or future."""
        timetable = timetable_of(self._seed, self._scale, service_date, self._faults)
        departures = _departures(timetable, service_date)
        return conform(with_optional_columns(departures, PLANNED_DEPARTURES), PLANNED_DEPARTURES)

    def weather_forecasts(self, issue_date: date) -> pl.DataFrame:
        """Contract `raw.weather_forecasts`: hours 4 to 29 of the issue date and the three dates after it."""
        return forecast_of(self._seed, issue_date)

    def truth(self, service_date: date) -> pl.DataFrame:
        """The true loads: one row per planned departure, lost trips included.

        Columns: service_date, trip_id, stop_sequence, boardings, alightings, load (passengers), mean_load (the
        expected load without the random noise), seats and total_capacity of the vehicle that ran.
        """
        passengers = simulate(self._seed, self._scale, service_date, self._faults)
        fleet, timetable = build_fleet(self._seed, self._scale), passengers.timetable
        return timetable.frame.select(
            pl.lit(service_date).alias("service_date"),
            "trip_id",
            "stop_sequence",
            *(
                _column(timetable, getattr(passengers, name)).alias(name)
                for name in ("boardings", "alightings", "load", "mean_load")
            ),
            timetable.departures(fleet.seats[passengers.vehicle]).alias("seats"),
            timetable.departures(fleet.total_capacity[passengers.vehicle]).alias("total_capacity"),
        )


def _column(timetable: Timetable, matrix: NDArray) -> pl.Series:
    return pl.Series(timetable.flat(matrix))


def _departures(timetable: Timetable, service_date: date) -> pl.DataFrame:
    """The timetable's departures on a date, with the date and the planned times in UTC."""
    midnight = _service_midnight(service_date)
    return timetable.frame.select(
        pl.lit(service_date).alias("service_date"),
        pl.exclude("minute"),
        (pl.lit(midnight, pl.Datetime("us", "UTC")) + pl.duration(minutes="minute")).alias(
            "scheduled_departure_time"
        ),
    )


def _service_midnight(service_date: date) -> datetime:
    """Start of the service day: noon minus 12 hours, so that planned clock times also hold on days when the clocks change."""
    noon = datetime.combine(service_date, time(12), tzinfo=TIME_ZONE)
    return noon.astimezone(UTC) - timedelta(hours=12)
