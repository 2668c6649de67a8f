"""SIRI-ET as JSON in the Swiss shape, read back with json."""

from collections import defaultdict
from datetime import UTC, date, datetime
from itertools import pairwise

import polars as pl

from ruter_dagster.feeds.calls import calls_by_day
from ruter_dagster.feeds.formats import feed_files
from tests.feeds.readers import occupancy_forecast, section_calls
from tests.feeds.samples import HEADER, expected_calls, forecasts

FORECASTS = forecasts()


def contents(frame: pl.DataFrame) -> list[bytes]:
    return [file.content for calls in calls_by_day(frame) for file in feed_files(calls, HEADER, ["occupancy-forecast"])]  # fmt: skip


def test_each_section_has_the_level_of_its_departure() -> None:
    journeys = defaultdict(list)
    for day, trip, _, stop, level in expected_calls(FORECASTS):
        journeys[day, trip].append((stop, level))
    expected = [
        (day, trip, stop, next_stop, level)
        for (day, trip), calls in journeys.items()
        for (stop, level), (next_stop, _) in pairwise(calls)
    ]
    assert [section for content in contents(FORECASTS) for section in section_calls(content)] == expected


def test_every_journey_is_a_train_with_its_line() -> None:
    trains = [
        (document["opDate"], train["journeyRef"], train["trainNumber"], train["lineRef"])
        for document in map(occupancy_forecast, contents(FORECASTS))
        for train in document["trains"]
    ]
    rows = FORECASTS.select(pl.col("operating_date").cast(pl.String), "trip_id", "line_id").unique()
    assert trains == [
        (day, trip, trip, line) for day, trip, line in rows.sort("operating_date", "trip_id").rows()
    ]


def test_document_describes_itself() -> None:
    document = occupancy_forecast(contents(FORECASTS)[0])
    del document["trains"]
    assert document == {
        "version": "1.0", "dataSource": "RUT", "publicationId": "0123abcd", "lastUpdated": "2026-11-20T04:31:00+01:00",
        "timeToLive": 86400, "operatorRef": "RUT:Operator:1", "opDate": "2026-11-20",
    }  # fmt: skip


def test_departure_after_midnight_is_on_the_next_day() -> None:
    frame = forecasts(1, 3).with_columns(
        scheduled_departure_time=pl.col("scheduled_departure_time").dt.truncate("1d")
        + pl.duration(hours=22, minutes=58)
        + pl.duration(minutes=pl.col("stop_sequence"))
    )
    (train,) = occupancy_forecast(contents(frame)[0])["trains"]
    times = [(section["departureDayShift"], section["departureTime"]) for section in train["sections"]]
    assert times == [(0, "23:59:00"), (1, "00:00:00")]


def test_clock_change_does_not_move_the_operating_day() -> None:
    frame = forecasts(1, 2).with_columns(
        operating_date=pl.lit(date(2026, 10, 25)),
        scheduled_departure_time=pl.lit(datetime(2026, 10, 25, 22, 30, tzinfo=UTC)),
    )
    (train,) = occupancy_forecast(contents(frame.unique("stop_sequence"))[0])["trains"]
    assert [(s["departureDayShift"], s["departureTime"]) for s in train["sections"]] == [(0, "23:30:00")]
