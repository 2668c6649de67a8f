"""GTFS-realtime TripUpdates, read back with the bindings."""

from dataclasses import replace

import polars as pl

from ruter_dagster.feeds.calls import FeedHeader, calls_by_day
from ruter_dagster.feeds.formats import feed_files
from tests.feeds.readers import trip_update_calls, trip_updates
from tests.feeds.samples import HEADER, expected_calls, forecasts

FORECASTS = forecasts()
NO_DATA, SCHEDULED = 2, 0


def contents(frame: pl.DataFrame, header: FeedHeader = HEADER) -> list[bytes]:
    return [file.content for calls in calls_by_day(frame) for file in feed_files(calls, header, ["gtfs-realtime"])]  # fmt: skip


def test_every_call_is_there_once_in_order_with_its_level() -> None:
    found = [call for content in contents(FORECASTS) for call in trip_update_calls(content)]
    assert found == expected_calls(FORECASTS)


def test_header_has_the_time_of_publication() -> None:
    header = trip_updates(contents(FORECASTS)[0]).header
    assert (header.gtfs_realtime_version, header.incrementality, header.timestamp) == ("2.0", 0, 1795145460)


def test_stops_without_times_have_no_data() -> None:
    for entity in trip_updates(contents(FORECASTS)[0]).entity:
        for update in entity.trip_update.stop_time_update:
            assert update.schedule_relationship == NO_DATA
            assert not update.HasField("arrival") and not update.HasField("departure")


def test_each_trip_is_one_entity_of_a_scheduled_trip() -> None:
    message = trip_updates(contents(FORECASTS)[0])
    ids = [entity.id for entity in message.entity]
    assert len(set(ids)) == len(ids) == 40
    assert {entity.trip_update.trip.schedule_relationship for entity in message.entity} == {SCHEDULED}
    assert {entity.trip_update.timestamp for entity in message.entity} == {message.header.timestamp}


def test_run_of_a_frequency_has_its_start_time() -> None:
    frame = forecasts(1).with_columns(trip_id=pl.lit("night@23:30:00"))
    (entity,) = trip_updates(contents(frame)[0]).entity
    trip = entity.trip_update.trip
    assert (entity.id, trip.trip_id, trip.start_time) == ("night@23:30:00", "night", "23:30:00")
    assert not trip.HasField("schedule_relationship")


def test_long_journeys_and_identifiers_are_read_back() -> None:
    frame = forecasts(2, 300).with_columns(
        stop_id=pl.col("stop_id") + "ø" * 200, trip_id=pl.col("trip_id") + "x" * 20_000
    )
    found = [call for content in contents(frame) for call in trip_update_calls(content)]
    assert found == expected_calls(frame)


def test_unknown_numbers_of_gtfs_are_left_out() -> None:
    content = contents(FORECASTS, replace(HEADER, first_stop_sequence=None))[0]
    updates = [
        update for entity in trip_updates(content).entity for update in entity.trip_update.stop_time_update
    ]
    assert not any(update.HasField("stop_sequence") for update in updates)
    assert [update.stop_id for update in updates] == [stop for day, _, _, stop, _ in expected_calls(FORECASTS) if day == "2026-11-20"]  # fmt: skip


def test_trip_that_calls_at_a_stop_twice_needs_numbers() -> None:
    (twice, once) = FORECASTS["trip_id"].unique().sort().head(2)
    frame = (
        FORECASTS.filter(pl.col("trip_id").is_in([twice, once]))
        .with_columns(
            stop_id=pl.when(trip_id=twice, stop_sequence=9).then(pl.lit("NSR:Quay:7")).otherwise("stop_id"),
        )
        .with_columns(
            stop_id=pl.when(trip_id=twice, stop_sequence=1).then(pl.lit("NSR:Quay:7")).otherwise("stop_id")
        )
    )
    (entity,) = trip_updates(contents(frame, replace(HEADER, first_stop_sequence=None))[0]).entity
    assert entity.id == once
    first, _ = trip_updates(contents(frame)[0]).entity
    assert (first.id, [update.stop_sequence for update in first.trip_update.stop_time_update]) == (
        twice,
        list(range(1, 13)),
    )


def test_numbers_begin_where_the_operator_says() -> None:
    (content, _) = contents(forecasts(1, 3), replace(HEADER, first_stop_sequence=0))
    (entity,) = trip_updates(content).entity
    assert [update.stop_sequence for update in entity.trip_update.stop_time_update] == [0, 1, 2]
