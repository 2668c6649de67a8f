"""Reads feeds back with independent parsers: lxml, json, csv and the bindings of GTFS-realtime."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import datetime
from typing import Any

from google.transit import gtfs_realtime_pb2
from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from ruter_dagster.forecasting.occupancy import GTFS_STATUS
from tests.feeds.samples import Call

SIRI = "{http://www.siri.org.uk/siri}"
LEVEL_OF_STATUS = {status: level for level, status in GTFS_STATUS.items()}


def siri_calls(content: bytes) -> list[Call]:
    """The calls of a SIRI-ET file, with the level of `ExpectedDepartureOccupancy`, in the order of the document."""
    return [
        (day, trip, int(text(call, "Order")), text(call, "StopPointRef"), text(call, "OccupancyLevel"))
        for day, trip, calls in _siri_journeys(content)
        for call in calls
    ]


def siri_document(content: bytes) -> Any:
    return etree.fromstring(gzip.decompress(content))


def text(element: Any, name: str) -> str:
    """The text of the only descendant with this name."""
    (found,) = element.iter(SIRI + name)
    return found.text


def _siri_journeys(content: bytes) -> list[tuple[str, str, list[Any]]]:
    return [
        (text(journey, "DataFrameRef"), text(journey, "DatedVehicleJourneyRef"), list(journey.iter(f"{SIRI}EstimatedCall")))
        for journey in siri_document(content).iter(f"{SIRI}EstimatedVehicleJourney")
    ]  # fmt: skip


def occupancy_forecast(content: bytes) -> dict[str, Any]:
    return json.loads(gzip.decompress(content))


def section_calls(content: bytes) -> list[tuple[str, str, str, str, str]]:
    """Operating day, trip, stop, next stop and level of each section of an occupancy forecast, in the order of the document."""
    document = occupancy_forecast(content)
    return [
        (
            document["opDate"],
            train["journeyRef"],
            section["departureStationId"],
            section["destinationStationId"],
            section["expectedDepartureOccupancies"][0]["occupancyLevel"],
        )
        for train in document["trains"]
        for section in train["sections"]
    ]


def trip_updates(content: bytes) -> Any:
    message: Any = gtfs_realtime_pb2.FeedMessage()  # pyright: ignore[reportAttributeAccessIssue]
    message.ParseFromString(content)
    return message


def trip_update_calls(content: bytes) -> list[Call]:
    """The calls of GTFS-realtime TripUpdates, in the order of the message."""
    return [
        (
            str(datetime.strptime(entity.trip_update.trip.start_date, "%Y%m%d").date()),  # noqa: DTZ007
            entity.trip_update.trip.trip_id,
            update.stop_sequence,
            update.stop_id,
            LEVEL_OF_STATUS[update.departure_occupancy_status],
        )
        for entity in trip_updates(content).entity
        for update in entity.trip_update.stop_time_update
    ]


def occupancies(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gzip.decompress(content).decode(), newline="")))
