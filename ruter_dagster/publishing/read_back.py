"""Reads a publication as another team does: the newest message of each journey, on both topics, compared with the forecasts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from ruter_dagster.publishing.connection import KafkaConnection
from ruter_dagster.publishing.consumer import read_to_end
from ruter_dagster.publishing.messages import (
    JOURNEY,
    build_key,
    call_fields,
    is_journey_key,
    journey_of,
)
from ruter_dagster.publishing.registry import payload
from ruter_dagster.publishing.topics import topics_of

ORDER: dict[str, type[pl.DataType]] = {"order": pl.Int64, "stopPointRef": pl.String}
LEVELS: dict[str, type[pl.DataType]] = {"occupancyLevel": pl.String, "occupancyStatus": pl.Int64}
COUNTS: dict[str, type[pl.DataType]] = {
    "expectedOnboardCount": pl.Float64,
    "onboardP10": pl.Float64,
    "onboardP50": pl.Float64,
    "onboardP90": pl.Float64,
    "probabilityAboveSeats": pl.Float64,
}
"""Fields of calls that are compared with the stored forecasts. Public calls have only the first four."""


@dataclass(frozen=True)
class TopicContent:
    """What one topic has of a publication."""

    messages: int
    """Messages with a value that the publication sent, duplicates included."""
    duplicates: int
    calls: pl.DataFrame
    """`key` and fields of each call from the issue date on, of the newest message of each journey, sorted by key and order."""

    @property
    def journeys(self) -> int:
        """Journeys from the issue date on whose newest message has a value."""
        return self.calls["key"].n_unique()

    def of_days(self, days: pl.Series) -> TopicContent:
        """The content with the calls of these operating days only."""
        day = pl.col("key").str.head(10).str.to_date()
        return replace(self, calls=self.calls.filter(day.is_in(days.implode())))

    def faults(self, name: str, expected: pl.DataFrame) -> list[str]:
        """Differences from the `expected` calls."""
        columns = expected.columns
        same_calls = expected.select("key", "order").equals(self.calls.select("key", "order"))
        both = expected.join(self.calls.select(columns), on=["key", "order"], suffix="_read")
        values = [column for column in columns if column not in ("key", "order")]
        differing = both.filter(pl.any_horizontal(pl.col(n).ne_missing(pl.col(f"{n}_read")) for n in values))
        journeys = expected["key"].n_unique()
        checks = {
            f"{self.journeys} journeys for {journeys} on {name}": self.journeys == journeys,
            f"{self.calls.height} calls for {expected.height} on {name}": self.calls.height
            == expected.height,
            f"{self.duplicates} messages more than once on {name}": self.duplicates == 0,
            f"calls of other departures on {name}": same_calls,
            f"{differing.height} calls of other values on {name}": differing.is_empty(),
        }
        return [fault for fault, passed in checks.items() if not passed]


@dataclass(frozen=True)
class ReadBack:
    """Both topics, as an independent consumer reads them after a publication."""

    publication_id: str
    issue_date: date
    load_forecasts: TopicContent
    occupancy_forecasts: TopicContent

    @property
    def by_horizon(self) -> dict[int, int]:
        """Number of calls by horizon in days."""
        days = self.load_forecasts.calls["key"].str.head(10).str.to_date()
        return dict(sorted((days - self.issue_date).dt.total_days().value_counts(sort=False).iter_rows()))

    @property
    def duplicates(self) -> int:
        return self.load_forecasts.duplicates + self.occupancy_forecasts.duplicates

    def faults(self, forecasts: pl.DataFrame) -> list[str]:
        """Differences from `forecasts` (contract LOAD_FORECASTS), each published exactly once; empty if there are none.

        Operating days without forecasts are not compared: they keep the messages of an earlier publication.
        """
        expected = (
            forecasts.sort(*JOURNEY, "stop_sequence")
            .select(build_key().alias("key"), **call_fields())
            .select("key", *(pl.col(name).cast(kind) for name, kind in (ORDER | LEVELS | COUNTS).items()))
            .sort("key", "order")
        )
        public = expected.select("key", *ORDER, *LEVELS)
        days = forecasts["operating_date"].unique()
        return [
            *self.load_forecasts.of_days(days).faults("load-forecasts", expected),
            *self.occupancy_forecasts.of_days(days).faults("occupancy-forecasts", public),
        ]


def read_back(connection: KafkaConnection, publication_id: str, issue_date: date) -> ReadBack:
    """Reads both topics to their end. Later publications of the same or a newer issue date supersede what this one sent."""
    topics = topics_of(connection)
    load = _content(connection, topics.load_forecasts, publication_id, issue_date, ORDER | LEVELS | COUNTS)
    public = _content(connection, topics.occupancy_forecasts, publication_id, issue_date, ORDER | LEVELS)
    return ReadBack(publication_id, issue_date, load, public)


def _content(
    connection: KafkaConnection,
    topic: str,
    publication_id: str,
    issue_date: date,
    fields: dict[str, type[pl.DataType]],
) -> TopicContent:
    own, newest = list[bytes](), dict[bytes, bytes | None]()
    mark = f'"publicationId":"{publication_id}"'.encode()
    for batch in read_to_end(connection, topic):
        for key, value in batch:
            if is_journey_key(key):
                newest[key] = payload(value) if value else None
                # The id is one of the first attributes.
                if value and mark in value[:200]:
                    own.append(key)
    values = {key: value for key, value in newest.items() if value and journey_of(key)[0] >= issue_date}
    return TopicContent(
        messages=len(own),
        duplicates=len(own) - len(set(own)),
        calls=_calls(values, fields),
    )


def _calls(values: dict[bytes, bytes], fields: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    message = pl.Struct({"calls": pl.List(pl.Struct(fields))})
    frame = pl.DataFrame(
        {"key": list(values), "value": list(values.values())}, schema={"key": pl.Binary, "value": pl.Binary}
    )
    return (
        frame.cast(pl.String)
        .select("key", calls=pl.col("value").str.json_decode(message).struct.field("calls"))
        .explode("calls")
        .unnest("calls")
        .sort("key", "order")
    )
