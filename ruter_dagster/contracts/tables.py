"""The one definition of every table: columns, keys, partition, ranges and row rules.

The Iceberg schema, the checks before a commit, the Great Expectations suites and the documentation all come
from here. Plain Python only, so that an asset can name a table without loading polars or pyiceberg.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from ruter_dagster.contracts.date_windows import HORIZON_DAYS

DataType = Literal["string", "int32", "int64", "float64", "boolean", "date", "timestamp"]
"""`timestamp` is microseconds in UTC; `date` is a service date in the operator's time zone."""


@dataclass(frozen=True)
class Column:
    """One column: its type, whether a value is required, the allowed range, and its meaning with the unit."""

    name: str
    type: DataType
    description: str
    required: bool = True
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Rule:
    """A condition on every row: an SQL expression over the columns (null passes)."""

    name: str
    expression: str
    description: str


@dataclass(frozen=True)
class Table:
    """A table's contract. `name` is `<namespace>.<table>`; a write replaces whole dates of `partition`."""

    name: str
    description: str
    partition: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = field(default=())
    may_be_empty: bool = False

    @property
    def namespace(self) -> str:
        return self.name.split(".")[0]

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


MODES = ("bus", "tram", "metro", "boat", "rail")
SOURCES = ("model", "baseline", "fallback")
REASONS = (
    "holiday", "weather", "event", "smallerVehicle", "largerVehicle", "newJourney", "littleHistory", "modelFailed",
)  # fmt: skip
"""Codes of `reasons`, in the order in which a forecast lists them; docs/messages.md describes each."""
SIRI_OCCUPANCY = (
    "unknown",
    "empty",
    "manySeatsAvailable",
    "fewSeatsAvailable",
    "standingRoomOnly",
    "crushedStandingRoomOnly",
    "full",
    "notAcceptingPassengers",
    "undefined",
)

OWN_TIERS = ("departure", "slot")
"""Tiers of an expected load that use counts of the departure itself."""
NO_BASIS = "none"
EXPECTED_TIERS = (
    *OWN_TIERS, "journey", "neighbouring_hours", "line_hour", "stop_hour", "line", "mode_hour", "network", NO_BASIS,
)  # fmt: skip
"""Sources of an expected load, the most trusted first; docs/architecture.md describes each."""

DRIFT_MEASURES = ("errors", "loads", "matched", "imbalances", "vehicles", "lines", "journeys")
"""What `monitoring.drift_sums` adds up."""

SERVICE_DATE = Column(
    "service_date", "date", "Operating date of the journey; the journey may run past midnight"
)
TRIP_ID = Column(
    "trip_id", "string", "Planned service journey; the performed trip's id if no unique plan is known"
)
STOP_SEQUENCE = Column("stop_sequence", "int32", "Order of the stop in the journey, from 1", minimum=1)
LINE_ID = Column("line_id", "string", "Line (TIDES: route_id)")
MODE = Column("mode", "string", "Transport mode", allowed=MODES)
DIRECTION_ID = Column("direction_id", "int32", "Direction of travel, 0 or 1", minimum=0, maximum=1)
STOP_ID = Column("stop_id", "string", "Stop point")
SCHEDULED_DEPARTURE = Column("scheduled_departure_time", "timestamp", "Planned departure from the stop, UTC")
SEATS = Column("seats", "int32", "Seats of the vehicle", required=False, minimum=0, maximum=2000)
TOTAL_CAPACITY = Column(
    "total_capacity",
    "int32",
    "Seats and standing places of the vehicle",
    required=False,
    minimum=0,
    maximum=4000,
)
SLOT_HOUR = Column(
    "slot_hour", "int32", "Local clock hour of the planned departure on the service day, 24+ after midnight",
    minimum=0, maximum=47,
)  # fmt: skip
EXPECTED_TIER = Column(
    "expected_tier", "string", "Source of the expected load, from the departure's own counts to those of the network",
    allowed=EXPECTED_TIERS,
)  # fmt: skip
VEHICLE_ID = Column("vehicle_id", "string", "Vehicle that ran the trip", required=False)
BLOCK_ID = Column(
    "block_id", "string", "Block: trips that one vehicle runs one after the other", required=False
)
TRIP_ID_PERFORMED = Column("trip_id_performed", "string", "Performed trip, as the source names it")

MAX_ON_BOARD = {"bus": 250, "tram": 500, "metro": 1600, "boat": 2000, "rail": 2500}
"""The largest plausible number of passengers by mode, for vehicles with unknown capacity.

The largest vehicles in service carry: bi-articulated buses 200 to 250, the longest trams (Budapest, 56 m) about 350, a double
set of a metro line (Paris, without RER) about 1,100, city ferries up to 2,000, coupled double-decker trains about 2,200.
"""

_WITHIN_CAPACITY = "total_capacity IS NULL OR total_capacity = 0 OR {load} <= 2 * total_capacity"

STOP_VISITS = Table(
    name="raw.stop_visits",
    description="Counts as reported: one row for each stop that a performed trip served, counted or not.",
    partition="service_date",
    key=("service_date", "trip_id", "stop_sequence"),
    columns=(
        SERVICE_DATE,
        TRIP_ID,
        STOP_SEQUENCE,
        TRIP_ID_PERFORMED,
        LINE_ID,
        MODE,
        DIRECTION_ID,
        STOP_ID,
        VEHICLE_ID,
        SCHEDULED_DEPARTURE,
        Column("actual_departure_time", "timestamp", "Observed departure, UTC", required=False),
        Column("boardings", "int32", "Passengers who boarded, as counted", required=False, minimum=0),
        Column("alightings", "int32", "Passengers who alighted, as counted", required=False, minimum=0),
        Column(
            "departure_load",
            "int32",
            "Passengers on board after departure, as counted",
            required=False,
            minimum=0,
        ),
        SEATS,
        TOTAL_CAPACITY,
        BLOCK_ID,
    ),
    rules=(
        Rule(
            "load_within_twice_the_capacity",
            _WITHIN_CAPACITY.format(load="departure_load"),
            "No load is over twice the vehicle's capacity: that is a fault of the counter",
        ),
        Rule(
            "counted",
            "MAX(CASE WHEN departure_load IS NOT NULL OR (boardings IS NOT NULL AND alightings IS NOT NULL) THEN 1 ELSE 0 END) "
            "OVER (PARTITION BY service_date) = 1",
            "The date has counts; a single visit may lack them",
        ),
    ),
)

REJECTED_VISITS = Table(
    name="raw.rejected_visits",
    description="Stop visits that broke a rule and were rejected when the source was last read. "
    "Written together with `raw/stop_visits`, which has the other rows.",
    partition="service_date",
    key=("service_date", "file", "line_number"),
    columns=(
        Column("service_date", "date", "Operating date of the row; if it cannot be read, that of the row before"),
        Column("file", "string", "File with the row, relative to the source's folder; or the query"),
        Column("line_number", "int64", "Line of the file, the header is line 1; or row of the query's result", minimum=1),
        Column("reason", "string", "The rule that the row breaks"),
        Column("trip_id_performed", "string", "Performed trip", required=False),
        Column("vehicle_id", "string", "Vehicle that ran the trip", required=False),
        Column("line_id", "string", "Line", required=False),
        Column("vehicle_type", "string", "Mode and capacity of the vehicle, if known", required=False),
        Column("kept_without_counts", "boolean", "Whether the visit is in raw.stop_visits without its counts"),
        Column("date_blocked", "boolean", "Whether the date is blocked: too many rows were rejected, and raw.stop_visits was not changed"),
        Column("row", "string", "The row as it was read: JSON text of its columns"),
    ),
    may_be_empty=True,
)  # fmt: skip

PLANNED_DEPARTURES = Table(
    name="raw.planned_departures",
    description="The timetable: one row for each planned departure of a service journey from a stop.",
    partition="service_date",
    key=("service_date", "trip_id", "stop_sequence"),
    columns=(
        SERVICE_DATE,
        TRIP_ID,
        STOP_SEQUENCE,
        LINE_ID,
        MODE,
        DIRECTION_ID,
        STOP_ID,
        SCHEDULED_DEPARTURE,
        SEATS,
        TOTAL_CAPACITY,
        BLOCK_ID,
        Column("line_name", "string", "Line name for passengers", required=False),
        Column("stop_name", "string", "Stop name for passengers", required=False),
        Column("latitude", "float64", "Stop, WGS 84, degrees", required=False, minimum=-90, maximum=90),
        Column("longitude", "float64", "Stop, WGS 84, degrees", required=False, minimum=-180, maximum=180),
    ),
)

WEATHER_FORECASTS = Table(
    name="raw.weather_forecasts",
    description="The weather forecast of the issue date, by hour of the service day; empty if the source has none.",
    partition="issue_date",
    key=("issue_date", "service_date", "slot_hour"),
    columns=(
        Column("issue_date", "date", "Date of the weather forecast, issued in the morning"),
        Column("service_date", "date", "Operating date that is forecast"),
        SLOT_HOUR,
        Column("temperature", "float64", "Air temperature, °C", minimum=-60, maximum=60),
        Column("precipitation", "float64", "Precipitation, mm in the hour", minimum=0, maximum=200),
        Column("wind_speed", "float64", "Wind, m/s", minimum=0, maximum=100),
    ),
    rules=(
        Rule("ahead_of_issue", "service_date >= issue_date", "A forecast is for the issue date or later"),
    ),
    may_be_empty=True,
)

STOP_LOADS = Table(
    name="loads.stop_loads",
    description="Balanced loads: boardings and alightings agree, no load is negative, and each trip starts and ends empty, except for passengers who stay on board between trips.",
    partition="service_date",
    key=("service_date", "trip_id", "stop_sequence"),
    columns=(
        SERVICE_DATE,
        TRIP_ID,
        STOP_SEQUENCE,
        TRIP_ID_PERFORMED,
        LINE_ID,
        MODE,
        DIRECTION_ID,
        STOP_ID,
        VEHICLE_ID,
        SCHEDULED_DEPARTURE,
        SLOT_HOUR,
        Column("boardings", "float64", "Passengers who boarded, balanced", required=False, minimum=0),
        Column("alightings", "float64", "Passengers who alighted, balanced", required=False, minimum=0),
        Column(
            "load",
            "float64",
            "Passengers on board after departure, balanced; null if the trip's counts cannot be reconciled",
            required=False,
            minimum=0,
        ),
        Column(
            "initial_load",
            "float64",
            "Passengers on board before the trip's first stop, from the vehicle's trip before; null if the trip starts empty",
            required=False,
            minimum=0,
        ),
        Column(
            "final_load",
            "float64",
            "Passengers who stay on board for the vehicle's next trip; null if the trip ends empty",
            required=False,
            minimum=0,
        ),
        SEATS,
        TOTAL_CAPACITY,
        Column(
            "imbalance",
            "float64",
            "|boardings - alightings| / (boardings + alightings) of the trip as counted, with passengers carried over",
            required=False,
            minimum=0,
            maximum=1,
        ),  # fmt: skip
        Column(
            "weight",
            "float64",
            "Reliability of the row: 1 if the counts agree, 0 if there is no load",
            minimum=0,
            maximum=1,
        ),
    ),
    rules=(
        Rule(
            "load_within_twice_the_capacity",
            _WITHIN_CAPACITY.format(load="load"),
            "No load is over twice the vehicle's capacity: that is a fault of the counter",
        ),
        Rule(
            "load_where_weight",
            "(load IS NULL) = (weight = 0)",
            "A row has a load if and only if its weight is above 0",
        ),
    ),
)

LOAD_FORECASTS = Table(
    name="forecasts.load_forecasts",
    description="The load forecast of every planned departure, for the issue date and three days ahead.",
    partition="issue_date",
    key=("issue_date", "operating_date", "trip_id", "stop_sequence"),
    columns=(
        Column("issue_date", "date", "Date D of the forecast; visits up to D-1 were known"),
        Column("operating_date", "date", "Operating date that is forecast"),
        Column("horizon_days", "int32", "operating_date - issue_date", minimum=0, maximum=HORIZON_DAYS),
        TRIP_ID,
        STOP_SEQUENCE,
        LINE_ID,
        MODE,
        DIRECTION_ID,
        STOP_ID,
        SCHEDULED_DEPARTURE,
        SLOT_HOUR,
        SEATS,
        TOTAL_CAPACITY,
        Column("mean", "float64", "Expected passengers on board after departure", minimum=0),
        Column("p10", "float64", "10 % quantile of the load", minimum=0),
        Column("p50", "float64", "Median of the load", minimum=0),
        Column("p90", "float64", "90 % quantile of the load", minimum=0),
        Column(
            "prob_above_seats",
            "float64",
            "Probability that the load exceeds the seats; null if the seats are unknown",
            required=False,
            minimum=0,
            maximum=1,
        ),  # fmt: skip
        Column("occupancy_level", "string", "SIRI 2.1 OccupancyEnumeration", allowed=SIRI_OCCUPANCY),
        Column("occupancy_status", "int32", "GTFS-realtime OccupancyStatus", minimum=0, maximum=8),
        Column(
            "occupancy_percentage",
            "int32",
            "Mean load in % of seats and standing places, rounded to 5",
            required=False,
            minimum=0,
            maximum=400,
        ),  # fmt: skip
        Column(
            "last_week", "float64", "Baseline LW: load of the slot a week before", required=False, minimum=0
        ),
        Column("ha4", "float64", "Baseline HA4: mean of the slot's last 4 weeks", required=False, minimum=0),
        Column("ha8", "float64", "Baseline HA8: mean of the slot's last 8 weeks", required=False, minimum=0),
        Column(
            "history_count",
            "int32",
            "Number of the last 8 weeks with a load of the slot",
            minimum=0,
            maximum=8,
        ),
        Column("source", "string", "Source of the forecast", allowed=SOURCES),
        replace(EXPECTED_TIER, required=False),
        Column("model_version", "string", "Version of the model; null for a baseline", required=False),
        # Optional because Iceberg cannot add a required column to a stored table. Every new row has a value.
        Column(
            "reasons",
            "string",
            "Codes of what sets the forecast apart, separated by a space; empty if nothing does, null in rows of an older version",
            required=False,
        ),
        Column(
            "thresholds_version",
            "string",
            "Short hash of the operator's occupancy thresholds; null in rows of an older version",
            required=False,
        ),
    ),
    rules=(Rule("quantiles_in_order", "p10 <= p50 AND p50 <= p90", "Quantiles do not cross"),),
)

CHALLENGER_FORECASTS = replace(
    LOAD_FORECASTS,
    name="forecasts.challenger_forecasts",
    description="Forecasts of a model that is not the champion (RUTER_CHALLENGER), for the same departures. They are never published.",
    may_be_empty=True,
)

PUBLICATIONS = Table(
    name="forecasts.publications",
    description="Publications on Kafka: which forecasts consumers read. Written after the commit of a publication's transaction.",
    partition="issue_date",
    key=("issue_date", "publication_id"),
    columns=(
        Column("issue_date", "date", "Issue date of the published forecasts"),
        Column("publication_id", "string", "Id of the publication, as in its messages"),
        Column("content_hash", "string", "Version of the forecasts: hash of their rows"),
        Column("snapshot_id", "int64", "Snapshot of forecasts.load_forecasts that has these forecasts"),
        Column("schema_version", "int64", "Version of the messages' schema", minimum=1),
        Column("issued_at", "timestamp", "Time of issue, as in the messages, UTC"),
        Column("published_at", "timestamp", "When the transaction was sent, UTC"),
        Column("journeys", "int64", "Service journeys of the publication", minimum=1),
        Column("calls", "int64", "Departures of these journeys", minimum=1),
        Column(
            "tombstones",
            "int64",
            "Journeys that left the plan: messages without a value, on each topic",
            minimum=0,
        ),
        Column("thresholds_version", "string", "Version of the occupancy thresholds"),
        Column("degraded", "boolean", "Whether the model failed, so that every forecast is a fallback"),
        Column(
            "supersedes",
            "string",
            "Publication of the same issue date that this one corrects",
            required=False,
        ),
    ),
)

FORECAST_PERFORMANCE = Table(
    name="monitoring.forecast_performance",
    description="Forecasts joined to the loads that arrived, with their scores: one row for each departure and horizon.",
    partition="operating_date",
    key=("operating_date", "horizon_days", "trip_id", "stop_sequence"),
    columns=(
        Column("operating_date", "date", "Operating date that was forecast"),
        Column("horizon_days", "int32", "operating_date - issue date", minimum=0, maximum=HORIZON_DAYS),
        TRIP_ID,
        STOP_SEQUENCE,
        LINE_ID,
        MODE,
        DIRECTION_ID,
        STOP_ID,
        SLOT_HOUR,
        SEATS,
        Column("load", "float64", "Passengers on board after departure, balanced", minimum=0),
        Column("mean", "float64", "Forecast mean", minimum=0),
        Column("p10", "float64", "Forecast 10 % quantile", minimum=0),
        Column("p50", "float64", "Forecast median", minimum=0),
        Column("p90", "float64", "Forecast 90 % quantile", minimum=0),
        Column(
            "prob_above_seats", "float64", "Forecast P(load > seats)", required=False, minimum=0, maximum=1
        ),
        Column("last_week", "float64", "Baseline LW", required=False, minimum=0),
        Column("ha4", "float64", "Baseline HA4", required=False, minimum=0),
        Column("ha8", "float64", "Baseline HA8", required=False, minimum=0),
        Column("source", "string", "Source of the forecast", allowed=SOURCES),
        replace(EXPECTED_TIER, required=False),
        Column("model_version", "string", "Version of the model; null for a baseline", required=False),
        # Optional, because rows of earlier releases lack them.
        replace(SCHEDULED_DEPARTURE, required=False),
        TOTAL_CAPACITY,
        Column("absolute_error", "float64", "|mean - load|, passengers", required=False, minimum=0),
        Column(
            "pinball_loss",
            "float64",
            "Mean pinball loss of P10, P50 and P90, passengers",
            required=False,
            minimum=0,
        ),
        Column(
            "crps",
            "float64",
            "CRPS of the distribution that P10, P50 and P90 describe, passengers",
            required=False,
            minimum=0,
        ),
        Column("covered", "boolean", "Whether the load is from P10 to P90", required=False),
        Column(
            "reasons",
            "string",
            "Reason codes of the forecast, separated by a space; empty if there are none",
            required=False,
        ),
        Column(
            "is_final",
            "boolean",
            "Whether the truth of the date is final: later counts do not change it",
            required=False,
        ),
    ),
    may_be_empty=True,
)

DRIFT = Table(
    name="monitoring.drift",
    description="Drift metrics of an operating date, with their thresholds.",
    partition="operating_date",
    key=("operating_date", "metric", "scope"),
    columns=(
        Column("operating_date", "date", "Measured operating date"),
        Column("metric", "string", "Name of the metric"),
        Column("scope", "string", "Subject of the measurement: network, or a mode"),
        Column("value", "float64", "Value; null if there is too little data", required=False),
        Column("warn", "float64", "Threshold of a warning"),
        Column(
            "act",
            "float64",
            "Threshold at which a training is requested; null if the metric only warns",
            required=False,
        ),
        Column("verdict", "string", "Verdict", allowed=("ok", "warn", "act", "unknown")),
        Column(
            "detail",
            "string",
            "The vehicles or lines that the value is about, the worst first; null if it is about none",
            required=False,
        ),
    ),
)


def _sum_of_drift(name: str, type_: DataType, description: str) -> Column:
    return Column(name, type_, description, required=False)


DRIFT_SUMS = Table(
    name="monitoring.drift_sums",
    description="Sums of an operating date from which drift is computed. Written together with `monitoring/drift`.",
    partition="operating_date",
    key=("operating_date", "measure", "mode", "subject", "number"),
    columns=(
        Column("operating_date", "date", "Operating date"),
        Column("measure", "string", "What is added up; each measure has its own columns of sums", allowed=DRIFT_MEASURES),
        MODE,
        Column("subject", "string", "Vehicle of `vehicles` and `imbalances`, line of `lines` and `journeys`, else empty"),
        Column("number", "int64", "Passengers of `loads`; hash of line, direction and start time of `journeys`; else 0"),
        _sum_of_drift("rows", "int64", "Departures"),
        _sum_of_drift("load", "float64", "Observed loads, passengers"),
        _sum_of_drift("mean", "float64", "Forecast means, passengers"),
        _sum_of_drift("error", "float64", "|mean - load|, passengers"),
        _sum_of_drift("error_beside_ha4", "float64", "|mean - load| of departures with a value of HA4, passengers"),
        _sum_of_drift("error_ha4", "float64", "|HA4 - load|, passengers"),
        _sum_of_drift("covered", "int64", "Departures with a load from P10 to P90"),
        _sum_of_drift("forecast", "int64", "Departures with a forecast of any horizon"),
        _sum_of_drift("imbalance", "float64", "Imbalance of the vehicle's counts on the date, 0 to 1"),
        _sum_of_drift("door_imbalance", "float64", "Imbalance of the vehicle's counts on the date beyond chance, 0 to 1"),
        _sum_of_drift("trips", "int64", "Performed trips"),
        _sum_of_drift("visits", "int64", "Stop visits"),
        _sum_of_drift("passengers", "float64", "Loads, passengers"),
        _sum_of_drift("reported", "boolean", "Whether the vehicle counted anybody"),
        _sum_of_drift("journeys", "int64", "Planned journeys"),
        _sum_of_drift("planned", "int64", "Planned departures"),
        _sum_of_drift("counted", "int64", "Planned departures that were counted"),
        _sum_of_drift("planned_in_counted_trips", "int64", "Planned departures of trips with counts"),
    ),
    may_be_empty=True,
)  # fmt: skip
