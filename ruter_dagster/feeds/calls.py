"""The calls of one operating day that a feed describes: journey by journey, each in stop order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl

from ruter_dagster.contracts.errors import BadInput

CALL_COLUMNS = (
    "operating_date", "trip_id", "stop_sequence", "line_id", "mode", "direction_id", "stop_id",
    "scheduled_departure_time", "occupancy_level", "occupancy_status",
)  # fmt: skip
"""The columns of forecasts.load_forecasts that feeds are made of. None of them is a count, so feeds can be public."""


SLICE_ROWS = 50_000
"""Text is made for so many calls at a time. Larger slices need more memory and are slower."""


@dataclass(frozen=True)
class FeedHeader:
    """Values that all files of a publication share.

    `published_at` is the time of publication, with a time zone. A correction of the same issue date has a later one. `codespace` names the producer and data source, `operator_ref` the operator of all journeys.
    `time_zone` is the operator's. `first_stop_sequence` is the `stop_sequence` of a trip's first stop in the operator's GTFS feed,
    if the feed numbers stops without gaps; None if that is unknown.
    """

    publication_id: str
    published_at: datetime
    codespace: str
    operator_ref: str
    time_zone: str
    first_stop_sequence: int | None = None

    def __post_init__(self) -> None:
        if self.published_at.tzinfo is None:
            raise BadInput(f"published_at {self.published_at} has no time zone: give it in UTC")

    @property
    def published_at_utc(self) -> str:
        """The time of publication as ISO 8601, in UTC."""
        return utc(self.published_at)


@dataclass(frozen=True)
class Calls:
    """All calls of one operating day: one row per call, sorted by `trip_id` and `stop_sequence`.

    Beside `CALL_COLUMNS`, the rows have `is_first` and `is_last`: whether a call is the first or last of its journey, and
    `next_stop_id`: the stop of the journey's next call, for the last call any value.
    """

    operating_day: date
    rows: pl.DataFrame

    @property
    def journeys(self) -> int:
        """Number of service journeys."""
        return int(self.rows["is_first"].sum())

    def slices(self) -> Iterator[pl.DataFrame]:
        """The rows in parts, in order. A part may begin and end within a journey."""
        return self.rows.iter_slices(SLICE_ROWS)


def calls_by_day(forecasts: pl.DataFrame) -> list[Calls]:
    """The calls of each operating day of `forecasts` (columns `CALL_COLUMNS`, in any order of rows), by day."""
    days = forecasts.select(CALL_COLUMNS).partition_by("operating_date", as_dict=True)
    return [_calls(day, rows) for (day,), rows in sorted(days.items())]


def _calls(operating_day: date, rows: pl.DataFrame) -> Calls:
    ordered = rows.sort("trip_id", "stop_sequence")
    journey = pl.col("trip_id")
    marked = ordered.with_columns(
        is_first=journey.ne_missing(journey.shift(1)),
        is_last=journey.ne_missing(journey.shift(-1)),
        next_stop_id=pl.col("stop_id").shift(-1, fill_value=""),
    )
    return Calls(operating_day, marked.rechunk())


def utc(time: datetime) -> str:
    """A time as ISO 8601, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def encoded(column: pl.Series, encode: Callable[[Any], str]) -> pl.Series:
    """The column with each value encoded, for instance escaped for XML. `encode` is called once for each different value."""
    values = column.unique()
    return column.replace_strict(values, [encode(value) for value in values], return_dtype=pl.String)


def gtfs_stop_sequence(first_stop_sequence: int) -> pl.Expr:
    """GTFS's number of a call. The tables count the calls of a journey from 1."""
    return pl.col("stop_sequence") + (first_stop_sequence - 1)


def concatenated(texts: pl.Series) -> memoryview:
    """All strings of the column, one after the other, as UTF-8. No copy is made."""
    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    if not len(array) or data is None:
        return memoryview(b"")
    bounds = np.frombuffer(offsets, dtype=np.int64)
    return memoryview(data)[bounds[array.offset] : bounds[array.offset + len(array)]]
