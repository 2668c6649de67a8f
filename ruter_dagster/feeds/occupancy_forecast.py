"""SIRI-ET as JSON, in the shape of the Swiss data set "Occupancy Forecast" of opentransportdata.swiss: one file per operating day and operator.

A journey is a `train` with sections. A section is from a call to the next one and has the level of the departure. So a journey
with n calls has n - 1 sections. The tables have no names of stops and no public train numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from zoneinfo import ZoneInfo

import polars as pl

from ruter_dagster.feeds.calls import Calls, FeedHeader, concatenated, encoded, local_time

VERSION = "1.0"
TIME_TO_LIVE_SECONDS = 24 * 3600
"""Validity of a file: until the next issue date."""

FARE_CLASS = "secondClass"
"""The fare class of all places. Local traffic has one class, and readers of the Swiss data expect one."""

_IDENTIFIERS = ("trip_id", "line_id", "stop_id")


def occupancy_forecast(calls: Calls, header: FeedHeader) -> Iterator[bytes | memoryview]:
    """The parts of the JSON document, in order."""
    yield _start(calls, header).encode()
    yield concatenated(_trains(calls, header))
    yield b"\n]}\n"


def _start(calls: Calls, header: FeedHeader) -> str:
    issued_at = header.issued_at.astimezone(UTC).astimezone(ZoneInfo(header.time_zone))
    attributes = {
        "version": VERSION,
        "dataSource": header.codespace,
        "publicationId": header.publication_id,
        "lastUpdated": issued_at.isoformat(timespec="seconds"),
        "timeToLive": TIME_TO_LIVE_SECONDS,
        "operatorRef": header.operator_ref,
        "opDate": calls.operating_day.isoformat(),
    }
    return _json(attributes)[:-1] + ',"trains":['


def _trains(calls: Calls, header: FeedHeader) -> pl.Series:
    """One text per call: its section, except for the last call; around it the begin or end of the journey."""
    rows = calls.rows.with_columns(encoded(calls.rows[name], _json) for name in _IDENTIFIERS)
    separator = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("\n")).otherwise(pl.lit(",\n"))
    text = pl.concat_str(
        pl.when("is_first").then(pl.concat_str(separator, *_start_of_train())).otherwise(pl.lit("")),
        pl.when("is_last").then(pl.lit("")).otherwise(pl.concat_str(*_section(calls, header))),
        pl.when("is_last").then(pl.lit("]}")).otherwise(pl.lit("")),
    )
    return rows.select(text).to_series()


def _start_of_train() -> tuple[pl.Expr, ...]:
    return (
        pl.lit('{"trainNumber":'),
        pl.col("trip_id"),
        pl.lit(',"journeyRef":'),
        pl.col("trip_id"),
        pl.lit(',"lineRef":'),
        pl.col("line_id"),
        pl.lit(',"sections":['),
    )


def _section(calls: Calls, header: FeedHeader) -> tuple[pl.Expr, ...]:
    local = local_time(pl.col("scheduled_departure_time"), header.time_zone)
    day_shift = (local.dt.date() - pl.lit(calls.operating_day)).dt.total_days()
    return (
        pl.when("is_first").then(pl.lit("")).otherwise(pl.lit(",")),
        pl.lit('{"departureDayShift":'),
        day_shift.cast(pl.String),
        pl.lit(',"departureStationId":'),
        pl.col("stop_id"),
        pl.lit(',"departureTime":"'),
        local.dt.strftime("%H:%M:%S"),
        pl.lit('","destinationStationId":'),
        pl.col("stop_id").shift(-1),
        pl.lit(f',"expectedDepartureOccupancies":[{{"fareClass":"{FARE_CLASS}","occupancyLevel":"'),
        pl.col("occupancy_level"),
        pl.lit('"}]}'),
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
