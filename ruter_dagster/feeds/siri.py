"""SIRI-ET: the Estimated Timetable of an operating day, as XML of SIRI 2.1.

Each call has its level twice. `Occupancy` has the values of the Nordic profile, which Entur serves. `ExpectedDepartureOccupancy`
has the forecast level.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.sax.saxutils import escape

import polars as pl

from ruter_dagster.feeds.calls import Calls, FeedHeader, concatenated, encoded

NORDIC_OCCUPANCY = {
    "empty": "manySeatsAvailable",
    "manySeatsAvailable": "manySeatsAvailable",
    "fewSeatsAvailable": "fewSeatsAvailable",
    "standingRoomOnly": "standingRoomOnly",
    "crushedStandingRoomOnly": "standingRoomOnly",
    "full": "full",
    "notAcceptingPassengers": "notAcceptingPassengers",
}
"""`Occupancy` of each level. The Nordic profile merges two pairs of levels. A call with another level has no `Occupancy`."""

VEHICLE_MODES = {"bus": "bus", "tram": "tram", "metro": "metro", "boat": "ferry", "rail": "rail"}
"""SIRI's `VehicleMode` of each mode."""

_TOKEN = re.compile(r"[\w.:·-]+")
_IDENTIFIERS = ("trip_id", "line_id", "stop_id")
_END_OF_CALLS = (
    "</EstimatedCalls><IsCompleteStopSequence>true</IsCompleteStopSequence></EstimatedVehicleJourney>\n"
)
_END = "</EstimatedJourneyVersionFrame></EstimatedTimetableDelivery></ServiceDelivery></Siri>\n"


def estimated_timetable(calls: Calls, header: FeedHeader) -> Iterator[bytes | memoryview]:
    """The parts of the XML document, in order. It has one EstimatedVehicleJourney per service journey."""
    yield _start(header).encode()
    yield concatenated(_journeys(calls, header))
    yield _END.encode()


def invalid_identifiers(calls: Calls) -> list[str]:
    """The identifiers that SIRI's XML schema refuses (they are no NMTOKEN), sorted. They are in the document unchanged."""
    values = pl.concat([calls.rows[name].unique().alias("id") for name in _IDENTIFIERS]).unique().sort()
    return [value for value in values if not _TOKEN.fullmatch(value)]


def _start(header: FeedHeader) -> str:
    issued_at = f"<ResponseTimestamp>{header.issued_at_utc}</ResponseTimestamp>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Siri xmlns="http://www.siri.org.uk/siri" version="2.1"><ServiceDelivery>'
        f"{issued_at}<ProducerRef>{escape(header.codespace)}</ProducerRef>"
        f"<ResponseMessageIdentifier>{escape(header.publication_id)}</ResponseMessageIdentifier>"
        f'<EstimatedTimetableDelivery version="2.1">{issued_at}<EstimatedJourneyVersionFrame>'
        f"<RecordedAtTime>{header.issued_at_utc}</RecordedAtTime>\n"
    )


def _journeys(calls: Calls, header: FeedHeader) -> pl.Series:
    """One text per call. The first of a journey begins with the journey's attributes, the last one ends the journey."""
    rows = calls.rows.with_columns(encoded(calls.rows[name], escape) for name in _IDENTIFIERS)
    text = pl.concat_str(
        pl.when("is_first").then(_start_of_journey(calls, header)).otherwise(pl.lit("")),
        *_call(),
        pl.when("is_last").then(pl.lit(_END_OF_CALLS)).otherwise(pl.lit("")),
    )
    return rows.select(text).to_series()


def _start_of_journey(calls: Calls, header: FeedHeader) -> pl.Expr:
    day = calls.operating_day.isoformat()
    return pl.concat_str(
        pl.lit("<EstimatedVehicleJourney><LineRef>"),
        "line_id",
        pl.lit("</LineRef><DirectionRef>"),
        pl.col("direction_id").cast(pl.String),
        pl.lit(
            f"</DirectionRef><FramedVehicleJourneyRef><DataFrameRef>{day}</DataFrameRef><DatedVehicleJourneyRef>"
        ),
        "trip_id",
        pl.lit("</DatedVehicleJourneyRef></FramedVehicleJourneyRef><VehicleMode>"),
        pl.col("mode").replace_strict(VEHICLE_MODES, return_dtype=pl.String),
        pl.lit(
            f"</VehicleMode><OperatorRef>{escape(header.operator_ref)}</OperatorRef>"
            f"<DataSource>{escape(header.codespace)}</DataSource><EstimatedCalls>\n"
        ),
    )


def _call() -> tuple[pl.Expr, ...]:
    level = pl.col("occupancy_level")
    occupancy = {name: f"<Occupancy>{value}</Occupancy>" for name, value in NORDIC_OCCUPANCY.items()}
    return (
        pl.lit("<EstimatedCall><StopPointRef>"),
        pl.col("stop_id"),
        pl.lit("</StopPointRef><Order>"),
        pl.col("stop_sequence").cast(pl.String),
        pl.lit("</Order>"),
        level.replace_strict(occupancy, default="", return_dtype=pl.String),
        pl.lit("<AimedDepartureTime>"),
        pl.col("scheduled_departure_time").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        pl.lit("</AimedDepartureTime><ExpectedDepartureOccupancy><OccupancyLevel>"),
        level,
        pl.lit("</OccupancyLevel></ExpectedDepartureOccupancy></EstimatedCall>\n"),
    )
