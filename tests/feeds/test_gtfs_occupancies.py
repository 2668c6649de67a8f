"""GTFS occupancies.txt, read back with csv."""

from dataclasses import replace

import polars as pl
import pytest

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.feeds.calls import calls_by_day
from ruter_dagster.feeds.formats import feed_files
from ruter_dagster.forecasting.occupancy import GTFS_STATUS
from tests.feeds.readers import LEVEL_OF_STATUS, occupancies
from tests.feeds.samples import HEADER, expected_calls, forecasts

KNOWN = forecasts().with_columns(
    occupancy_status=pl.col("occupancy_status") % 6,
    occupancy_level=(pl.col("occupancy_status") % 6).replace_strict(LEVEL_OF_STATUS),
)


def rows(frame: pl.DataFrame) -> list[dict[str, str]]:
    return [
        row
        for calls in calls_by_day(frame)
        for file in feed_files(calls, HEADER, ["gtfs-occupancies"])
        for row in occupancies(file.content)
    ]


def test_every_call_is_there_once_in_order_with_its_level() -> None:
    found = [
        (row["trip_id"], row["stop_sequence"], LEVEL_OF_STATUS[int(row["occupancy_status"])]) for row in rows(KNOWN)
    ]  # fmt: skip
    assert found == [(trip, str(order), level) for _, trip, order, _, level in expected_calls(KNOWN)]


def test_unknown_numbers_of_stops_are_refused() -> None:
    (calls, *_) = calls_by_day(KNOWN)
    with pytest.raises(BadInput, match="State first_stop_sequence in \\[feed_identifiers\\]"):
        list(feed_files(calls, replace(HEADER, first_stop_sequence=None), ["gtfs-occupancies"]))


def test_rows_are_valid_on_their_operating_day_only() -> None:
    friday, saturday = rows(KNOWN)[0], rows(KNOWN)[-1]
    assert (friday["start_date"], friday["end_date"], friday["friday"], friday["saturday"]) == (
        "20261120", "20261120", "1", "0",
    )  # fmt: skip
    assert (saturday["start_date"], saturday["friday"], saturday["saturday"]) == ("20261121", "0", "1")


def test_journeys_that_the_proposal_cannot_express_are_left_out() -> None:
    trip, other = KNOWN["trip_id"].unique().sort().head(2)
    unknown = (pl.col("trip_id") == trip) & (pl.col("stop_sequence") == 3)
    frame = KNOWN.with_columns(
        occupancy_status=pl.when(unknown).then(GTFS_STATUS["unknown"]).otherwise("occupancy_status"),
        trip_id=pl.when(pl.col("trip_id") == other).then(pl.lit("t@08:00:00")).otherwise("trip_id"),
    )
    left = {row["trip_id"] for row in rows(frame)}
    assert left == set(KNOWN["trip_id"]) - {trip, other}
