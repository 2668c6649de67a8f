"""SIRI-ET as XML, read back with lxml."""

from typing import Any

import polars as pl
import pytest

from ruter_dagster.feeds.calls import calls_by_day
from ruter_dagster.feeds.formats import feed_files
from ruter_dagster.feeds.siri import NORDIC_OCCUPANCY, VEHICLE_MODES, invalid_identifiers
from tests.feeds.readers import SIRI, siri_calls, siri_document, text
from tests.feeds.samples import HEADER, LEVELS, expected_calls, forecasts

FORECASTS = forecasts()
CONTENTS = [file.content for calls in calls_by_day(FORECASTS) for file in feed_files(calls, HEADER, ["siri-et"])]  # fmt: skip


def journeys() -> list[Any]:
    return [
        journey
        for content in CONTENTS
        for journey in siri_document(content).iter(f"{SIRI}EstimatedVehicleJourney")
    ]


def test_every_call_is_there_once_in_order_with_its_level() -> None:
    assert [call for content in CONTENTS for call in siri_calls(content)] == expected_calls(FORECASTS)


def test_journeys_have_the_attributes_of_their_rows() -> None:
    attributes = ("LineRef", "DirectionRef", "VehicleMode", "OperatorRef", "DataSource")
    first_calls = FORECASTS.sort("operating_date", "trip_id", "stop_sequence").unique(
        ["operating_date", "trip_id"], keep="first", maintain_order=True
    )
    assert [tuple(text(journey, name) for name in attributes) for journey in journeys()] == [
        (line, str(direction), VEHICLE_MODES[mode], "RUT:Operator:1", "RUT")
        for line, direction, mode in first_calls.select("line_id", "direction_id", "mode").rows()
    ]


def test_times_are_those_of_the_rows() -> None:
    times = FORECASTS.sort("operating_date", "trip_id", "stop_sequence")["scheduled_departure_time"]
    shown = [text(call, "AimedDepartureTime") for journey in journeys() for call in journey.iter(f"{SIRI}EstimatedCall")]  # fmt: skip
    assert shown == times.dt.strftime("%Y-%m-%dT%H:%M:%SZ").to_list()


def test_occupancy_has_the_values_of_the_nordic_profile() -> None:
    found = set()
    for journey in journeys():
        for call in journey.iter(f"{SIRI}EstimatedCall"):
            found.add((text(call, "OccupancyLevel"), call.findtext(f"{SIRI}Occupancy")))
    assert found == {(level, NORDIC_OCCUPANCY.get(level)) for level in LEVELS}


def test_document_names_publication_producer_and_time() -> None:
    document = siri_document(CONTENTS[0])
    assert [text(document, name) for name in ("ProducerRef", "ResponseMessageIdentifier", "RecordedAtTime")] == [
        "RUT", "0123abcd", "2026-11-20T03:31:00Z",
    ]  # fmt: skip


def test_public_document_has_no_count_or_percentage() -> None:
    tags = {element.tag for element in siri_document(CONTENTS[0]).iter()}
    assert f"{SIRI}OccupancyLevel" in tags
    assert not [tag for tag in tags if "Count" in tag or "Percentage" in tag or "Capacit" in tag]


@pytest.mark.parametrize(
    ("identifier", "is_valid"), [("NSR:Quay:7", True), ("stop 7", False), ("a/b", False)]
)
def test_identifiers_that_the_schema_refuses_are_found(identifier: str, is_valid: bool) -> None:
    (calls, *_) = calls_by_day(forecasts(1, awkward=False).with_columns(stop_id=pl.lit(identifier)))
    assert invalid_identifiers(calls) == ([] if is_valid else [identifier])
