"""GTFS `occupancies.txt`, as google/transit pull request 240 proposes it: the level after each stop of a trip on a date.

The proposal has no value for an unknown level, and a stop without a row takes the level of the stop before. So journeys with an
unknown level are left out. Runs of trips in frequencies.txt are left out too, because they share a trip id.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.feeds.calls import Calls, FeedHeader, concatenated, encoded, gtfs_stop_sequence
from ruter_dagster.feeds.gtfs_realtime import split_trip_id

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
COLUMNS = ("trip_id", "stop_sequence", "occupancy_status", *WEEKDAYS, "start_date", "end_date")
_NO_DATA_AVAILABLE = 7


def occupancies(calls: Calls, header: FeedHeader) -> Iterator[bytes | memoryview]:
    """The parts of the CSV file, in order. Each row is valid on the operating day only.

    Raises `BadInput` if GTFS's numbers of stops are unknown.
    """
    first_stop_sequence = require_first_stop_sequence(header)
    weekday = calls.operating_day.weekday()
    days = ",".join("1" if day == weekday else "0" for day in range(len(WEEKDAYS)))
    date = calls.operating_day.strftime("%Y%m%d")
    yield (",".join(COLUMNS) + "\r\n").encode()
    for rows in replace(calls, rows=_expressible(calls)).slices():
        yield concatenated(rows.select(_row(rows, f"{days},{date},{date}", first_stop_sequence)).to_series())


def require_first_stop_sequence(header: FeedHeader) -> int:
    """The number of each trip's first stop. Raises `BadInput` if the operator file does not state it."""
    if header.first_stop_sequence is None:
        raise BadInput(
            "The feed gtfs-occupancies names each stop by GTFS's stop_sequence, and the operator file does not say how the GTFS feed "
            "numbers stops. No feed was written. State first_stop_sequence in [feed_identifiers], or remove gtfs-occupancies from "
            "RUTER_FEEDS"
        )
    return header.first_stop_sequence


def _row(rows: pl.DataFrame, validity: str, first_stop_sequence: int) -> pl.Expr:
    return pl.concat_str(
        encoded(rows["trip_id"], _cell),
        pl.lit(","),
        gtfs_stop_sequence(first_stop_sequence).cast(pl.String),
        pl.lit(","),
        pl.col("occupancy_status").cast(pl.String),
        pl.lit(f",{validity}\r\n"),
    )


def _expressible(calls: Calls) -> pl.DataFrame:
    """The calls of the journeys that the proposal can express."""
    is_known = (pl.col("occupancy_status") < _NO_DATA_AVAILABLE).all().over("trip_id")
    trips = calls.rows["trip_id"].unique()
    by_frequency = [trip for trip in trips if split_trip_id(trip)[1]]
    return calls.rows.filter(is_known & ~pl.col("trip_id").is_in(by_frequency))


def _cell(value: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([value])
    return line.getvalue()
