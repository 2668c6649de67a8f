"""docs/feeds.md: its examples are what the code writes for the journey of the examples."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from google.protobuf import text_format
from google.transit import gtfs_realtime_pb2
from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from ruter_dagster.contracts.feeds import FEED_NAMES
from ruter_dagster.feeds.calls import CALL_COLUMNS, FeedHeader, calls_by_day
from ruter_dagster.feeds.formats import feed_files
from tests.feeds.readers import trip_updates

PAGE = (Path(__file__).parents[2] / "docs" / "feeds.md").read_text()
EXAMPLES = dict(re.findall(r"^Feed `([\w-]+)`[^\n]*:\n\n```\w+\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))
"""Text of each example, by feed."""
HEADER = FeedHeader(
    publication_id="e66c39ba18bafcd8a3c1f6f6b376f9f4",
    published_at=datetime(2026, 11, 30, 19, 55, 50, 95156, tzinfo=UTC),
    codespace="Demo-network",
    operator_ref="Demo-network",
    time_zone="Europe/Oslo",
)
DAY = date(2026, 11, 20)
JOURNEY = (DAY, "RUT:ServiceJourney:61-2W-1-1605", "RUT:Line:61", "bus", 1)
CALLS = [
    ("NSR:Quay:7097", 5, "fewSeatsAvailable", 2),
    ("NSR:Quay:7095", 6, "standingRoomOnly", 3),
    ("NSR:Quay:7093", 8, "standingRoomOnly", 3),
]
"""Stop, minute after 15:00 UTC, level and GTFS-realtime's status."""


def contents() -> dict[str, bytes]:
    """The file of each feed for the journey of the examples, cut to its first three calls."""
    day, trip, line, mode, direction = JOURNEY
    values = [
        (
            day,
            trip,
            order,
            line,
            mode,
            direction,
            stop,
            datetime(2026, 11, 20, 15, minute, tzinfo=UTC),
            level,
            status,
        )
        for order, (stop, minute, level, status) in enumerate(CALLS, start=1)
    ]
    columns = (
        "operating_date", "trip_id", "stop_sequence", "line_id", "mode", "direction_id", "stop_id",
        "scheduled_departure_time", "occupancy_level", "occupancy_status",
    )  # fmt: skip
    types = {"direction_id": pl.Int32, "stop_sequence": pl.Int32, "occupancy_status": pl.Int32}
    frame = pl.DataFrame(values, schema=columns, orient="row", schema_overrides=types)
    (calls,) = calls_by_day(frame.select(CALL_COLUMNS))
    numbered = replace(HEADER, first_stop_sequence=1)
    headers = {feed: numbered if feed == "gtfs-occupancies" else HEADER for feed in FEED_NAMES}
    return {
        feed: file.content for feed, header in headers.items() for file in feed_files(calls, header, [feed])
    }


@pytest.fixture(scope="module")
def written() -> dict[str, bytes]:
    return contents()


def test_page_has_an_example_of_each_feed() -> None:
    assert EXAMPLES.keys() == set(FEED_NAMES)


def test_example_of_siri_is_what_is_written(written: dict[str, bytes]) -> None:
    without_blanks = etree.XMLParser(remove_blank_text=True)

    def canonical(text: str) -> str:
        return etree.tostring(etree.fromstring(text, without_blanks), method="c14n").decode()

    text = gzip.decompress(written["siri-et"]).decode().partition("\n")[2]
    assert canonical(EXAMPLES["siri-et"]) == canonical(text)


def test_example_of_json_is_what_is_written(written: dict[str, bytes]) -> None:
    document: dict[str, Any] = json.loads(gzip.decompress(written["occupancy-forecast"]))
    example: dict[str, Any] = json.loads(EXAMPLES["occupancy-forecast"])
    assert example == document
    assert list(example) == list(document)


def test_page_lists_the_fields_of_the_json(written: dict[str, bytes]) -> None:
    document: dict[str, Any] = json.loads(gzip.decompress(written["occupancy-forecast"]))
    rows = dict(re.findall(r"^\| (file|train|section|occupancy) \| (`.*?`) \|", PAGE, re.MULTILINE))
    listed = {part: re.findall(r"`(\w+)`", fields) for part, fields in rows.items()}
    (train,) = document["trains"]
    section = train["sections"][0]
    parts = {
        "file": document,
        "train": train,
        "section": section,
        "occupancy": section["expectedDepartureOccupancies"][0],
    }
    assert listed == {part: list(fields) for part, fields in parts.items()}


def test_example_of_gtfs_realtime_is_what_is_written(written: dict[str, bytes]) -> None:
    example = text_format.Parse(EXAMPLES["gtfs-realtime"], gtfs_realtime_pb2.FeedMessage())  # pyright: ignore[reportAttributeAccessIssue]
    assert example == trip_updates(written["gtfs-realtime"])


def test_example_of_occupancies_is_what_is_written(written: dict[str, bytes]) -> None:
    text = gzip.decompress(written["gtfs-occupancies"]).decode()
    assert EXAMPLES["gtfs-occupancies"].splitlines() == text.splitlines()
