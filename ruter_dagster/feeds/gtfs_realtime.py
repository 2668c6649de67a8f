"""GTFS-realtime: the TripUpdates of an operating day, with `departure_occupancy_status` of each stop.

There are no times, so each StopTimeUpdate is `NO_DATA`, as the specification asks for an occupancy without a time. A stop is named
by its id. `stop_sequence` is added if GTFS's numbers are known. Trips that call at a stop twice need it, and are left out without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from google.transit import gtfs_realtime_pb2

from ruter_dagster.feeds.calls import Calls, FeedHeader, gtfs_stop_sequence

GTFS_REALTIME_VERSION = "2.0"

# Messages of the bindings are made at import time, so type checkers do not know them.
_pb2: Any = gtfs_realtime_pb2

_RUN_BY_FREQUENCY = re.compile(r"(?P<trip_id>.+)@(?P<start_time>\d\d:\d\d:\d\d)")
"""The id of a run of a trip in frequencies.txt, as the GTFS source writes it."""

_ENTITY = _pb2.FeedMessage.DESCRIPTOR.fields_by_name["entity"].number
_ID = _pb2.FeedEntity.DESCRIPTOR.fields_by_name["id"].number
_TRIP = _pb2.TripUpdate.DESCRIPTOR.fields_by_name["trip"].number
_TRIP_UPDATE = _pb2.FeedEntity.DESCRIPTOR.fields_by_name["trip_update"].number
_LENGTH_DELIMITED = 2


def trip_updates(calls: Calls, header: FeedHeader) -> Iterator[bytes]:
    """The parts of the FeedMessage, in order: one entity per service journey, whose id is its `trip_id`.

    Journeys of `ambiguous_journeys` are left out if GTFS's numbers are unknown.
    """
    published_at = int(header.published_at.timestamp())
    yield _header(published_at)
    calls = _expressible(calls, header)
    trip_ids = calls.rows.filter("is_first")["trip_id"]
    start_date = calls.operating_day.strftime("%Y%m%d")
    timestamp = _pb2.TripUpdate(timestamp=published_at).SerializePartialToString()
    for trip_id, updates in zip(trip_ids, _updates_by_journey(calls, header), strict=True):
        # Fields of one message can be serialized apart: their concatenation is the message.
        trip = _field(_TRIP, (_descriptor(trip_id, start_date).SerializePartialToString(),))
        entity_id = _field(_ID, (trip_id.encode(),))
        update = _field(_TRIP_UPDATE, (trip, updates, timestamp))
        yield _field(_ENTITY, (entity_id, update))


def ambiguous_journeys(calls: Calls) -> pl.Series:
    """The ids of journeys that call at a stop twice, so that a stop's id does not name one call. Sorted."""
    twice = calls.rows.filter(pl.struct("trip_id", "stop_id").is_duplicated())
    return twice["trip_id"].unique().sort()


def split_trip_id(trip_id: str) -> tuple[str, str | None]:
    """GTFS's `trip_id`, and the start time if the journey is a run of a trip in frequencies.txt."""
    run = _RUN_BY_FREQUENCY.fullmatch(trip_id) if "@" in trip_id else None
    return (run["trip_id"], run["start_time"]) if run else (trip_id, None)


def _expressible(calls: Calls, header: FeedHeader) -> Calls:
    """The calls of the journeys whose stops can be named."""
    if header.first_stop_sequence is not None:
        return calls
    ambiguous = ambiguous_journeys(calls)
    return replace(calls, rows=calls.rows.filter(~pl.col("trip_id").is_in(ambiguous.implode())))


def _header(published_at: int) -> bytes:
    header = _pb2.FeedHeader(
        gtfs_realtime_version=GTFS_REALTIME_VERSION,
        incrementality=_pb2.FeedHeader.FULL_DATASET,
        timestamp=published_at,
    )
    return _pb2.FeedMessage(header=header).SerializePartialToString()


def _descriptor(trip_id: str, start_date: str) -> Any:
    trip_id, start_time = split_trip_id(trip_id)
    if start_time:
        # No schedule_relationship: whether the times are exact (SCHEDULED) or not (UNSCHEDULED) is unknown.
        return _pb2.TripDescriptor(trip_id=trip_id, start_date=start_date, start_time=start_time)
    scheduled = _pb2.TripDescriptor.SCHEDULED
    return _pb2.TripDescriptor(trip_id=trip_id, start_date=start_date, schedule_relationship=scheduled)


def _updates_by_journey(calls: Calls, header: FeedHeader) -> Iterator[bytes]:
    """The serialized StopTimeUpdates of each journey, in stop order."""
    updates = _updates(calls, header)
    _, offsets, data = updates.buffers()
    first_calls = np.append(calls.rows["is_first"].arg_true().to_numpy(), len(updates))
    bounds = np.frombuffer(offsets, dtype=np.int64)[first_calls].tolist()
    content = memoryview(data)
    for start, end in pairwise(bounds):
        yield content[start:end].tobytes()


def _updates(calls: Calls, header: FeedHeader) -> pa.LargeBinaryArray:
    """One StopTimeUpdate per call, serialized as a field of TripUpdate. Equal ones are serialized once."""
    rows = calls.rows.select(_stop_sequence(header).alias("stop_sequence"), "stop_id", "occupancy_status")
    different = rows.unique(maintain_order=True).with_row_index("number")
    numbers = rows.join(different, on=rows.columns, how="left", nulls_equal=True, maintain_order="left")
    serialized = pa.array(
        [_update(*row) for row in different.drop("number").iter_rows()], type=pa.large_binary()
    )
    return serialized.take(pa.array(numbers["number"].to_numpy()))


def _stop_sequence(header: FeedHeader) -> pl.Expr:
    """GTFS's `stop_sequence`, null if GTFS's numbers are unknown."""
    if header.first_stop_sequence is None:
        return pl.lit(None, pl.Int32)
    return gtfs_stop_sequence(header.first_stop_sequence)


def _update(stop_sequence: int | None, stop_id: str, occupancy_status: int) -> bytes:
    update = _pb2.TripUpdate.StopTimeUpdate(
        stop_sequence=stop_sequence,
        stop_id=stop_id,
        schedule_relationship=_pb2.TripUpdate.StopTimeUpdate.NO_DATA,
        departure_occupancy_status=occupancy_status,
    )
    return _pb2.TripUpdate(stop_time_update=[update]).SerializePartialToString()


def _field(number: int, parts: Iterable[bytes]) -> bytes:
    """A message field in protobuf's wire format: tag, length and content."""
    content = b"".join(parts)
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


@cache
def _varint(value: int) -> bytes:
    """Protobuf's integer of variable length: seven bits a byte, the lowest first."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
