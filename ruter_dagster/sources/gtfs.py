"""Planned departures of a GTFS feed, by service date.

gtfs_files.py finds the files, gtfs_tables.py reads their cells, and matching.py matches counts to the plan.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import polars as pl

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES
from ruter_dagster.contracts.validation import with_optional_columns
from ruter_dagster.sources.gtfs_calendar import ServiceCalendar, read_calendar, read_validity
from ruter_dagster.sources.gtfs_files import FeedFiles
from ruter_dagster.sources.gtfs_schema import AGENCY, FREQUENCIES, GTFS_FILES, ROUTES, STOPS, TRIPS
from ruter_dagster.sources.gtfs_stop_times import StopTimes, read_stop_times
from ruter_dagster.sources.gtfs_tables import Findings, clock, parse_column, read_table, seconds

_BASIC_MODES = {
    0: "tram", 1: "metro", 2: "rail", 3: "bus", 4: "boat", 5: "tram", 7: "rail", 11: "bus", 12: "metro"
}  # fmt: skip
_EXTENDED_MODES = (
    (100, 199, "rail"), (200, 299, "bus"), (400, 699, "metro"), (700, 899, "bus"), (900, 999, "tram"), (1000, 1099, "boat"),
    (1200, 1299, "boat"), (1400, 1499, "rail"),
)  # fmt: skip

_VALIDITIES: dict[tuple[str, str], tuple[str, date, date]] = {}
"""Version, first and last valid date of each feed, by name and identity."""


class Feed:
    """One GTFS feed. Its validity is read immediately, its trips and stop times when a date is requested.

    - `trip_id` is GTFS's. Each run of a trip in frequencies.txt, with exact times or not, is `<trip_id>@HH:MM:SS`.
    - `stop_sequence` counts the trip's stops from 1, as TIDES does. The feed's own numbers only give the order.
    - Times count from noon minus 12 hours in `agency_timezone`, so a journey keeps its clock time on days of 23 and 25 hours.
      The time of a stop is its departure, at the last stop its arrival.
    - A missing or unreadable time of a stop is interpolated evenly between its neighbours.
    - Faulty trips and stop times are left out and counted, up to 2 % of them.
    """

    def __init__(
        self, files: FeedFiles, time_zone: str, route_types: Mapping[str, str] | None = None
    ) -> None:
        """`time_zone` is the operator's; `route_types` are the operator's own modes of route types. Raises `BadInput`."""
        self.files, self.findings = files, Findings(files)
        self._operator_zone, self._modes = time_zone, route_types or {}
        # One process opens the same feed several times (source, file versions). It reads the calendar of an unchanged feed once.
        key = (files.name, files.identity)
        if key not in _VALIDITIES:
            files.require(*(file.name for file in GTFS_FILES if file.presence == "required"))
            _VALIDITIES[key] = read_validity(files, self.calendar)
        self.version, self.first, self.last = _VALIDITIES[key]
        self._stop_times: StopTimes | None = None
        self._loaded: frozenset[date] = frozenset()

    @cached_property
    def calendar(self) -> ServiceCalendar:
        return read_calendar(self.files)

    @property
    def name(self) -> str:
        return self.files.name

    @property
    def order(self) -> tuple[date, date, str]:
        """Sort key: the date in the name, or else the first valid date; then the version. Newer feeds have greater keys."""
        return (self.files.published or self.first, self.first, f"{self.version} {self.name}")

    def is_valid(self, day: date) -> bool:
        return self.first <= day <= self.last

    def departures(self, day: date, batch: Collection[date] = ()) -> pl.DataFrame:
        """Planned departures of a date: contract `raw.planned_departures` with null capacities. It may be empty.

        Only trips of `day` and of the dates in `batch` are loaded at first. A later request for another date loads all trips.
        Raises `BadInput` if the feed cannot be read or too many of its rows are faulty.
        """
        stop_times = self._stop_times_of(day, batch)
        active = self._active(day)
        regular = stop_times.rows_of(active.filter(~pl.col("by_frequency"))["trip"].to_numpy())
        rows = [regular.with_columns(run=pl.lit(None, pl.String)), self._runs(active, stop_times)]
        return self._contract_rows(pl.concat(rows), day)

    @cached_property
    def stops(self) -> pl.DataFrame:
        """Stops in order of their number `stop`: stop_id, stop_code, stop_name, latitude, longitude."""
        rows = read_table(self.files, STOPS.name, STOPS.required, STOPS.optional)
        degrees = {
            name: pl.col(column).cast(pl.Float64, strict=False)
            for name, column in (("latitude", "stop_lat"), ("longitude", "stop_lon"))
        }
        on_earth = degrees["latitude"].abs().le(90) & degrees["longitude"].abs().le(180)
        return (
            rows.filter(pl.col("stop_id").is_not_null())
            .unique("stop_id", keep="first", maintain_order=True)
            .select(
                "stop_id",
                "stop_code",
                "stop_name",
                **{name: pl.when(on_earth).then(value) for name, value in degrees.items()},
            )
            .with_row_index("stop")
        )

    @cached_property
    def routes(self) -> pl.DataFrame:
        """Lines: route_id, route_short_name, line_name, mode (null if the route type has no mode)."""
        rows = read_table(self.files, ROUTES.name, ROUTES.required, ROUTES.optional)
        types = rows["route_type"].unique().drop_nulls().to_list()
        modes = {kind: mode for kind in types if (mode := _mode(kind, self._modes))}
        mode = pl.col("route_type").replace_strict(modes, default=None, return_dtype=pl.String)
        return rows.unique("route_id", keep="first", maintain_order=True).select(
            "route_id",
            "route_short_name",
            line_name=pl.coalesce("route_short_name", "route_long_name"),
            mode=mode,
        )

    @cached_property
    def trips(self) -> pl.DataFrame:
        """Valid trips in order of trip_id, with their number `trip`. Invalid trips are left out and counted."""
        rows = read_table(self.files, TRIPS.name, TRIPS.required, TRIPS.optional)
        known_routes = self.routes["route_id"].implode()
        faults = {
            "trips without trip_id": pl.col("trip_id").is_null(),
            "trips repeated": pl.col("trip_id").is_first_distinct().not_(),
            "trips of a service_id that calendar.txt and calendar_dates.txt lack": ~pl.col(
                "service_id"
            ).is_in(self.calendar.ids.implode()),
            "trips of a route_id that routes.txt lacks": ~pl.col("route_id").is_in(known_routes),
        }
        kept = self.findings.without_faulty_rows(
            rows, faults, "trips.txt", ("trip_id", "service_id", "route_id")
        )
        trips = kept.join(self.routes, on="route_id", maintain_order="left")
        modeless = trips.filter(pl.col("mode").is_null())
        self.findings.note(
            "trips whose route_type has no mode (add it to [route_types] of the operator file)",
            modeless.height,
            f"route {modeless['route_id'][0]}" if modeless.height else "",
        )
        return (
            trips.filter(pl.col("mode").is_not_null())
            .sort("trip_id")
            .with_row_index("trip")
            .with_columns(
                direction_id=pl.when(pl.col("direction_id") == "1").then(1).otherwise(0).cast(pl.Int32),
                by_frequency=pl.col("trip_id").is_in(self._frequencies["trip_id"].implode()),
            )
        )

    def _active(self, day: date) -> pl.DataFrame:
        """The trips that run on a date."""
        return self.trips.filter(pl.col("service_id").is_in(list(self.calendar.services(day))))

    def _stop_times_of(self, day: date, batch: Collection[date]) -> StopTimes:
        """Stop times: of the batch's trips at first, of all trips once another date is requested."""
        if self._stop_times is None:
            self._loaded = frozenset([day, *batch])
            services = frozenset().union(*(self.calendar.services(other) for other in self._loaded))
            trips = self.trips.filter(pl.col("service_id").is_in(list(services)))["trip"]
            self._stop_times = self._read_stop_times(trips)
        elif day not in self._loaded and len(self._loaded):
            self._loaded = frozenset()
            self._stop_times = None  # frees the memory before all trips are read
            self._stop_times = self._read_stop_times(self.trips["trip"])
        return self._stop_times

    def _read_stop_times(self, selected: pl.Series) -> StopTimes:
        trips = self.trips.select("trip_id", "trip", selected=pl.col("trip").is_in(selected.implode()))
        return read_stop_times(self.files, trips, self.stops, self.findings)

    @cached_property
    def _frequencies(self) -> pl.DataFrame:
        """Runs by frequency: trip_id, start, end, headway (seconds)."""
        name = "frequencies.txt"
        if name not in self.files.names:
            return pl.DataFrame(
                schema={"trip_id": pl.String, "start": pl.Int32, "end": pl.Int32, "headway": pl.Int32}
            )
        rows = read_table(self.files, name, FREQUENCIES.required)
        for column in ("start_time", "end_time"):
            rows = parse_column(rows, self.files, name, column, seconds(column), "a time such as 25:10:00")
        headway = pl.col("headway_secs").cast(pl.Int32, strict=False)
        rows = parse_column(
            rows,
            self.files,
            name,
            "headway_secs",
            pl.when(headway > 0).then(headway),
            "a whole number of seconds above 0",
        )
        return rows.select("trip_id", start="start_time", end="end_time", headway="headway_secs")

    def _runs(self, active: pl.DataFrame, stop_times: StopTimes) -> pl.DataFrame:
        """Stop times of every run of the trips in frequencies.txt: the trip's own times, shifted to the run's start."""
        trips = active.filter("by_frequency")
        runs = (
            self._frequencies.join(trips.select("trip_id", "trip"), on="trip_id")
            .with_columns(begin=pl.int_ranges("start", "end", "headway"))
            .explode("begin")
            .drop_nulls("begin")
            .unique(["trip", "begin"])
            .select("trip", pl.col("begin").cast(pl.Int32), run=clock("begin"))
        )
        rows = stop_times.rows_of(trips["trip"].to_numpy())
        first = rows.filter(pl.col("position") == 1).select("trip", first="time")
        shifted = rows.join(first, on="trip").join(runs, on="trip")
        return shifted.select(
            "trip",
            "stop",
            (pl.col("time") - pl.col("first") + pl.col("begin")).alias("time"),
            "position",
            "run",
        )

    def _contract_rows(self, rows: pl.DataFrame, day: date) -> pl.DataFrame:
        """Contract `raw.planned_departures`: the rows with the columns of their trips and stops."""
        start, end, base = self._service_day(day)
        trips, stops = self.trips, self.stops
        by_trip = ("route_id", "mode", "direction_id", "block_id", "line_name")
        trip_ids = trips["trip_id"].gather(rows["trip"])
        frame = pl.DataFrame(
            [
                trip_ids,
                *(trips[name].gather(rows["trip"]) for name in by_trip),
                *(
                    stops[name].gather(rows["stop"])
                    for name in ("stop_id", "stop_name", "latitude", "longitude")
                ),
                rows["position"],
                rows["time"],
                rows["run"],
            ]
        ).rename({"route_id": "line_id", "position": "stop_sequence"})
        departure = pl.lit(base, pl.Datetime("us", "UTC")) + pl.duration(seconds="time")
        planned = frame.with_columns(
            pl.lit(day).alias("service_date"),
            departure.alias("scheduled_departure_time"),
            trip_id=pl.when(pl.col("run").is_null())
            .then("trip_id")
            .otherwise(pl.format("{}@{}", "trip_id", "run")),
        )
        within = planned.filter(pl.col("scheduled_departure_time").is_between(start, end, closed="left"))
        self.findings.note(
            "departures outside their service day, which ends at the second midnight after its start",
            planned.height - within.height,
            str(day),
        )
        return with_optional_columns(within, PLANNED_DEPARTURES).select(PLANNED_DEPARTURES.column_names)

    def _service_day(self, day: date) -> tuple[datetime, datetime, datetime]:
        """Midnight, the second midnight after it, and noon minus 12 hours, all in UTC.

        Raises `BadInput` if the feed's and the operator's clocks differ on the date.
        """
        agency, operator = ZoneInfo(self._time_zone), ZoneInfo(self._operator_zone)
        noon = datetime.combine(day, time(12), agency)
        if noon.utcoffset() != datetime.combine(day, time(12), operator).utcoffset():
            raise BadInput(
                f"GTFS feed {self.name} has the time zone {self._time_zone}, the operator {self._operator_zone}, and their clocks "
                f"differ on {day}: set time_zone in the operator file to the one in agency.txt"
            )
        midnight, second = (
            datetime.combine(day + timedelta(days), time(), operator).astimezone(UTC) for days in (0, 2)
        )
        return midnight, second, noon.astimezone(UTC) - timedelta(hours=12)

    @cached_property
    def _time_zone(self) -> str:
        rows = read_table(self.files, AGENCY.name, AGENCY.required)
        zones = rows["agency_timezone"].unique().drop_nulls().sort().to_list()
        if len(zones) != 1:
            raise BadInput(
                f"{self.name}: agency.txt has {', '.join(zones) or 'no time zone'}; all agencies of a feed must have the same "
                "agency_timezone"
            )
        try:
            ZoneInfo(zones[0])
        except (KeyError, ValueError, OSError):
            raise BadInput(
                f"{self.name}: agency.txt: agency_timezone is {zones[0]!r}, expected a name such as Europe/Oslo"
            ) from None
        return zones[0]


def _mode(route_type: str, own_modes: Mapping[str, str]) -> str | None:
    """The mode of a basic or extended GTFS route type. The operator's own modes override the usual ones."""
    if route_type in own_modes:
        return own_modes[route_type]
    if not route_type.isdigit():
        return None
    number = int(route_type)
    ranges = (mode for first, last, mode in _EXTENDED_MODES if first <= number <= last)
    return _BASIC_MODES.get(number) or next(ranges, None)
