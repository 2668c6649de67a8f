"""SIRI-ET as JSON, in the shape of the Swiss data set "Occupancy Forecast" of opentransportdata.swiss: one file per operating day and operator.

A journey is a `train` with sections. A section is from a call to the next one and has the level of the departure. So a journey
with n calls has n - 1 sections. The tables have no names of stops and no public train numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import polars as pl

from ruter_dagster.feeds.calls import Calls, FeedHeader, concatenated, encoded

VERSION = "1.0"
TIME_TO_LIVE_SECONDS = 24 * 3600
"""Validity of a file: until the next issue date."""

FARE_CLASS = "secondClass"
"""The fare class of all places. Local traffic has one class, and readers of the Swiss data expect one."""


def occupancy_forecast(calls: Calls, header: FeedHeader) -> Iterator[bytes | memoryview]:
    """The parts of the JSON document, in order."""
    yield _start(calls, header).encode()
    separator = "\n"
    for rows in calls.slices():
        yield concatenated(_trains(rows, separator, calls.operating_day, header))
        separator = ",\n"
    yield b"\n]}\n"


def _start(calls: Calls, header: FeedHeader) -> str:
    published_at = header.published_at.astimezone(UTC).astimezone(ZoneInfo(header.time_zone))
    attributes = {
        "version": VERSION,
        "dataSource": header.codespace,
        "publicationId": header.publication_id,
        "lastUpdated": published_at.isoformat(timespec="seconds"),
        "timeToLive": TIME_TO_LIVE_SECONDS,
        "operatorRef": header.operator_ref,
        "opDate": calls.operating_day.isoformat(),
    }
    return _json(attributes)[:-1] + ',"trains":['


def _trains(calls: pl.DataFrame, separator: str, operating_day: date, header: FeedHeader) -> pl.Series:
    """One text per call: its section, except for the last call; around it the begin or end of the journey.

    `separator` is written before the first row's journey, a comma before all others.
    """
    local = _departure(operating_day, ZoneInfo(header.time_zone))
    rows = calls.with_columns(
        encoded(calls["trip_id"], _json),
        encoded(calls["line_id"], _json),
        encoded(calls["scheduled_departure_time"], local),
        encoded(calls["stop_id"], lambda stop: f',"departureStationId":{_json(stop)}'),
        encoded(calls["next_stop_id"], lambda stop: f',"destinationStationId":{_json(stop)}'),
        encoded(calls["occupancy_level"], _occupancies),
    )
    before = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(separator)).otherwise(pl.lit(",\n"))
    text = pl.concat_str(
        pl.when("is_first").then(pl.concat_str(before, *_start_of_train())).otherwise(pl.lit("")),
        pl.when("is_last").then(pl.lit("")).otherwise(_section()),
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


def _section() -> pl.Expr:
    comma = pl.when("is_first").then(pl.lit("")).otherwise(pl.lit(","))
    return pl.concat_str(comma, "scheduled_departure_time", "stop_id", "next_stop_id", "occupancy_level")


def _departure(operating_day: date, time_zone: ZoneInfo) -> Callable[[datetime], str]:
    """The begin of a section as a function of its departure in UTC."""

    def departure(time: datetime) -> str:
        local = time.astimezone(time_zone)
        day_shift = (local.date() - operating_day).days
        return f'{{"departureDayShift":{day_shift},"departureTime":"{local:%H:%M:%S}"'

    return departure


def _occupancies(level: str) -> str:
    return f',"expectedDepartureOccupancies":[{{"fareClass":"{FARE_CLASS}","occupancyLevel":"{level}"}}]}}'


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
