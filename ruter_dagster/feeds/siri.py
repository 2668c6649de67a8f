"""SIRI-ET: the Estimated Timetable of an operating day, as XML of SIRI 2.1.

Each call has its level twice. `Occupancy` has the values of the Nordic profile, which Entur serves. `ExpectedDepartureOccupancy`
has the forecast level.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from xml.sax.saxutils import escape

import polars as pl

from ruter_dagster.feeds.calls import Calls, FeedHeader, concatenated, encoded, utc

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

_TOKEN = r"^[\w.:·-]+$"
_IDENTIFIERS = ("trip_id", "line_id", "stop_id")
_END_OF_CALLS = (
    "</EstimatedCalls><IsCompleteStopSequence>true</IsCompleteStopSequence></EstimatedVehicleJourney>\n"
)
_END = "</EstimatedJourneyVersionFrame></EstimatedTimetableDelivery></ServiceDelivery></Siri>\n"


def estimated_timetable(calls: Calls, header: FeedHeader) -> Iterator[bytes | memoryview]:
    """The parts of the XML document, in order. It has one EstimatedVehicleJourney per service journey."""
    yield _start(header).encode()
    for rows in calls.slices():
        yield concatenated(_journeys(rows, calls.operating_day, header))
    yield _END.encode()


def invalid_identifiers(calls: Calls) -> list[str]:
    """The identifiers that SIRI's XML schema refuses (they are no NMTOKEN), sorted. They are in the document unchanged."""
    values = pl.concat([calls.rows[name].unique().alias("id") for name in _IDENTIFIERS]).unique()
    return values.filter(~values.str.contains(_TOKEN)).sort().to_list()


def _start(header: FeedHeader) -> str:
    published_at = f"<ResponseTimestamp>{header.published_at_utc}</ResponseTimestamp>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Siri xmlns="http://www.siri.org.uk/siri" version="2.1"><ServiceDelivery>'
        f"{published_at}<ProducerRef>{escape(header.codespace)}</ProducerRef>"
        f"<ResponseMessageIdentifier>{escape(header.publication_id)}</ResponseMessageIdentifier>"
        f'<EstimatedTimetableDelivery version="2.1">{published_at}<EstimatedJourneyVersionFrame>'
        f"<RecordedAtTime>{header.published_at_utc}</RecordedAtTime>\n"
    )


def _journeys(calls: pl.DataFrame, operating_day: date, header: FeedHeader) -> pl.Series:
    """One text per call. The first of a journey begins with the journey's attributes, the last one ends the journey."""
    rows = calls.with_columns(
        encoded(calls["trip_id"], escape),
        encoded(calls["line_id"], escape),
        encoded(calls["stop_id"], _start_of_call),
        encoded(calls["scheduled_departure_time"], utc),
        encoded(calls["occupancy_level"], _before_time).alias("before_time"),
        encoded(calls["occupancy_level"], _after_time).alias("after_time"),
    )
    text = pl.concat_str(
        pl.when("is_first").then(_start_of_journey(operating_day, header)).otherwise(pl.lit("")),
        "stop_id",
        pl.col("stop_sequence").cast(pl.String),
        "before_time",
        "scheduled_departure_time",
        "after_time",
        pl.when("is_last").then(pl.lit(_END_OF_CALLS)).otherwise(pl.lit("")),
    )
    return rows.select(text).to_series()


def _start_of_call(stop_id: str) -> str:
    return f"<EstimatedCall><StopPointRef>{escape(stop_id)}</StopPointRef><Order>"


def _before_time(level: str) -> str:
    nordic = NORDIC_OCCUPANCY.get(level)
    return f"</Order>{f'<Occupancy>{nordic}</Occupancy>' if nordic else ''}<AimedDepartureTime>"


def _after_time(level: str) -> str:
    return (
        f"</AimedDepartureTime><ExpectedDepartureOccupancy><OccupancyLevel>{level}</OccupancyLevel>"
        "</ExpectedDepartureOccupancy></EstimatedCall>\n"
    )


def _start_of_journey(operating_day: date, header: FeedHeader) -> pl.Expr:
    day = operating_day.isoformat()
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
