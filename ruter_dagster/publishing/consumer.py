"""Reads topics to their end with an independent, read-committed consumer: markers, and the messages of a publication."""

from __future__ import annotations

import json
import operator
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage]
)

from ruter_dagster.publishing.connection import ANSWER_SECONDS, KafkaConnection, require_broker
from ruter_dagster.publishing.messages import build_key, load_fields
from ruter_dagster.publishing.topics import topics_of

BATCH = 10_000
POLL_SECONDS = 0.01
"""Time between checks whether a broker has marked a commit in every partition."""
VALUES: dict[str, type[pl.DataType]] = {
    "expectedOnboardCount": pl.Float64,
    "onboardP10": pl.Float64,
    "onboardP50": pl.Float64,
    "onboardP90": pl.Float64,
    "probabilityAboveSeats": pl.Float64,
    "occupancyLevel": pl.String,
}
"""Fields of a load forecast that are compared with the stored forecasts."""

Batch = list[tuple[bytes, bytes]]
"""Keys and values of messages."""


@dataclass(frozen=True)
class Marker:
    """A message on the topic of publications: it says that a publication is complete."""

    publication_id: str
    issue_date: date
    content_hash: str
    schema_version: int
    messages: int
    published_at: datetime
    """Kafka's time of the message, in UTC."""


@dataclass(frozen=True)
class ReadBack:
    """The messages of one publication as an independent consumer reads them."""

    publication_id: str
    messages: int
    """Number of load forecasts, duplicates included."""
    duplicates: int
    by_horizon: dict[int, int]
    """Number of load forecasts by horizon in days."""
    loads: pl.DataFrame
    """Key and values (`VALUES`) of the load forecasts, sorted by key."""
    public_messages: int
    public_duplicates: int

    def faults(self, forecasts: pl.DataFrame) -> list[str]:
        """Differences from `forecasts` (contract LOAD_FORECASTS) published exactly once each; empty if there are none."""
        departures = forecasts.height
        fields = load_fields()
        expected = forecasts.select(build_key().alias("key"), **{name: fields[name] for name in VALUES})
        same_keys = expected["key"].sort().equals(self.loads["key"])
        both = expected.join(self.loads, on="key", suffix="_read")
        differing = both.filter(pl.any_horizontal(pl.col(n).ne_missing(pl.col(f"{n}_read")) for n in VALUES))
        checks = {
            f"{self.messages} load forecasts for {departures} departures": self.messages == departures,
            f"{self.duplicates} load forecasts more than once": self.duplicates == 0,
            "load forecasts of other departures": same_keys,
            f"{differing.height} load forecasts of other values": differing.is_empty(),
            f"{self.public_messages} occupancy forecasts for {departures} departures": (
                self.public_messages == departures
            ),
            f"{self.public_duplicates} occupancy forecasts more than once": self.public_duplicates == 0,
        }
        return [fault for fault, passed in checks.items() if not passed]


def read_markers(connection: KafkaConnection) -> dict[str, Marker]:
    """Markers of all publications, by publication id."""
    markers = {}
    for batch in _read_messages(connection, topics_of(connection).publications):
        for message in batch:
            fields = json.loads(message.value())
            markers[fields["publicationId"]] = Marker(
                publication_id=fields["publicationId"],
                issue_date=date.fromisoformat(fields["issueDate"]),
                content_hash=fields["contentHash"],
                schema_version=fields["schemaVersion"],
                messages=fields["messages"],
                published_at=datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC),
            )
    return markers


def read_back(connection: KafkaConnection, publication_id: str, issue_date: date) -> ReadBack:
    """Reads both topics to their end and counts the messages of the publication."""
    topics = topics_of(connection)
    load = _messages_of(connection, topics.load_forecasts, publication_id)
    public = _messages_of(connection, topics.occupancy_forecasts, publication_id)
    horizons = (load["operatingDay"].str.to_date() - issue_date).dt.total_days().value_counts(sort=False)
    return ReadBack(
        publication_id=publication_id,
        messages=load.height,
        duplicates=load.height - load["key"].n_unique(),
        by_horizon=dict(sorted(horizons.iter_rows())),
        loads=load.select("key", *VALUES).sort("key"),
        public_messages=public.height,
        public_duplicates=public.height - public["key"].n_unique(),
    )


def _messages_of(connection: KafkaConnection, topic: str, publication_id: str) -> pl.DataFrame:
    """Key and compared fields of each message of the publication. A field that a message lacks is null."""
    fields = pl.Struct({"publicationId": pl.String, "operatingDay": pl.String} | VALUES)
    parts = [pl.DataFrame(schema={"key": pl.String, **dict(fields)})]
    for batch in read_to_end(connection, topic):
        keys, values = zip(*batch, strict=True)
        frame = pl.DataFrame({"key": keys, "value": values}, schema={"key": pl.Binary, "value": pl.Binary})
        parts.append(
            frame.cast(pl.String)
            .filter(pl.col("value").str.contains(publication_id, literal=True))
            .select("key", pl.col("value").str.json_decode(fields))
            .unnest("value")
            .filter(pl.col("publicationId") == publication_id)
        )
    return pl.concat(parts)


def read_to_end(connection: KafkaConnection, topic: str) -> Iterator[Batch]:
    """Yields keys and values of the committed messages of every partition, from the beginning to the end.

    A missing topic has no messages.
    Uses its own consumer group without commits, so that no other consumer is affected. Raises `BrokerUnavailable` if the
    broker stops answering.
    """
    for messages in _read_messages(connection, topic):
        yield [(message.key(), message.value()) for message in messages]


def _read_messages(connection: KafkaConnection, topic: str) -> Iterator[list[Any]]:
    partitions = require_broker(connection).get(topic, 0)
    consumer = Consumer(_consumer_config(connection))
    try:
        # With the topic's metadata loaded, the consumer requests the first offsets at once instead of after half a second.
        consumer.list_topics(topic, timeout=ANSWER_SECONDS)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])
        open_partitions = set(range(partitions))
        last_answer = time.monotonic()
        while open_partitions:
            received = consumer.consume(BATCH, timeout=0.1)
            if received:
                last_answer = time.monotonic()
            elif time.monotonic() - last_answer > connection.patience_seconds:
                raise connection.unavailable(f"no answer while reading {topic}")
            if batch := _split_messages(received, open_partitions):
                yield batch
    except KafkaException as exception:
        raise connection.unavailable(exception.args[0].str()) from exception
    finally:
        consumer.close()


def _consumer_config(connection: KafkaConnection) -> dict[str, Any]:
    return connection.client_config() | {
        "group.id": f"{connection.topic_prefix}read-back-{uuid.uuid4().hex}",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        # At the end of a topic the broker would wait half a second for more messages before it answers.
        "fetch.wait.max.ms": 10,
        "auto.offset.reset": "earliest",
    }


def wait_until_readable(
    connection: KafkaConnection, topics: Sequence[str], seconds: float = ANSWER_SECONDS
) -> bool:
    """Waits until read-committed consumers can read up to the current end of the topics; False after `seconds`.

    A failed request is repeated within `seconds`; then its `KafkaException` is raised.

    The wait is needed because a broker answers a commit first and marks it in every partition later. A consumer that reads
    in between sees nothing of the transaction.
    """
    partitions: dict[TopicPartition, Any] = {
        TopicPartition(topic, number): OffsetSpec.latest()
        for topic, count in require_broker(connection).items()
        if topic in topics
        for number in range(count)
    }
    admin = AdminClient(connection.client_config())

    end_offsets, deadline = list[int](), time.monotonic() + seconds
    while True:
        is_late = time.monotonic() > deadline
        try:
            end_offsets = end_offsets or _end_offsets(admin, partitions, IsolationLevel.READ_UNCOMMITTED)
            readable = _end_offsets(admin, partitions, IsolationLevel.READ_COMMITTED)
            if not any(map(operator.lt, readable, end_offsets)):
                return True
        except KafkaException:
            # For example while a partition has no leader. The admin client marks no error as retriable.
            if is_late:
                raise
        if is_late:
            return False
        time.sleep(POLL_SECONDS)


def _end_offsets(
    admin: AdminClient, partitions: dict[TopicPartition, Any], level: IsolationLevel
) -> list[int]:
    offsets = admin.list_offsets(partitions, isolation_level=level, request_timeout=ANSWER_SECONDS)
    return [offsets[partition].result().offset for partition in partitions]


def _split_messages(received: list[Any], open_partitions: set[int]) -> list[Any]:
    """Returns the messages, and removes each partition whose end was reached from `open_partitions`."""
    batch = []
    for message in received:
        error = message.error()
        if error is None:
            batch.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            open_partitions.discard(message.partition())
        elif not error.retriable():
            raise KafkaException(error)
    return batch
