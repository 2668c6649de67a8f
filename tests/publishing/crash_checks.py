"""What consumers read after publications of `forecasts_of(0)`, `forecasts_of(1)` and so on, whatever crashed meanwhile."""

from __future__ import annotations

from itertools import pairwise

import polars as pl

from ruter_dagster.publishing.connection import KafkaConnection
from ruter_dagster.publishing.consumer import read_markers, read_to_end
from ruter_dagster.publishing.markers import Marker
from ruter_dagster.publishing.messages import JOURNEY, build_key
from ruter_dagster.publishing.read_back import read_back
from ruter_dagster.publishing.topics import topics_of
from tests.publishing.crash_at_random import forecasts_of
from tests.publishing.samples import ISSUE_DATE


def assert_published_once(connection: KafkaConnection, number: int) -> list[Marker]:
    """Each publication up to `number` has one marker; each journey and each tombstone is read once. Returns the markers."""
    markers = list(read_markers(connection).values())
    assert len(markers) == number + 1, "one publication for each number"
    _assert_read_exactly_once(connection, markers[-1], forecasts_of(number))
    _assert_tombstones(connection, markers[-1], number)
    return markers


def _assert_read_exactly_once(connection: KafkaConnection, marker: Marker, forecasts: pl.DataFrame) -> None:
    read = read_back(connection, marker.publication_id, ISSUE_DATE)
    faults = read.faults(forecasts)
    assert not faults, faults
    for topic in (read.load_forecasts, read.occupancy_forecasts):
        assert topic.messages == marker.messages


def _assert_tombstones(connection: KafkaConnection, marker: Marker, number: int) -> None:
    """Each journey that left the plan since the first publication ends with one tombstone per departure from the plan."""
    plans = [set(_keys(forecasts_of(past))) for past in range(number + 1)]
    departures = [key for before, after in pairwise(plans) for key in before - after]
    for topic in topics_of(connection).message_topics:
        sent = [key for batch in read_to_end(connection, topic) for key, value in batch if value is None]
        assert sorted(sent) == sorted(departures)
    if number:
        assert marker.tombstones == len(plans[-2] - plans[-1])


def _keys(forecasts: pl.DataFrame) -> list[bytes]:
    journeys = forecasts.select(JOURNEY).unique()
    return journeys.select(build_key().cast(pl.Binary)).to_series().to_list()
