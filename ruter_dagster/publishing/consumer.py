"""Reads topics to their end with an independent, read-committed consumer: any messages, markers, journeys."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
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
from ruter_dagster.publishing.markers import Marker, marker_of
from ruter_dagster.publishing.messages import JOURNEY, is_journey_key, journey_of
from ruter_dagster.publishing.topics import topics_of

BATCH = 10_000
POLL_SECONDS = 0.01
"""Time between checks whether a broker has marked a commit in every partition."""

Batch = list[tuple[bytes, bytes | None]]
"""Keys and values of messages. A tombstone has no value."""


def read_markers(connection: KafkaConnection) -> dict[str, Marker]:
    """Markers of all publications, by publication id, in the order of publication."""
    markers: dict[str, Marker] = {}
    for batch in read_messages(connection, topics_of(connection).publications):
        for message in batch:
            marker = marker_of(message.value(), datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC))
            markers.pop(marker.publication_id, None)
            markers[marker.publication_id] = marker
    return markers


def read_current_journeys(connection: KafkaConnection, topic: str, first_day: date) -> pl.DataFrame:
    """The journeys (columns `JOURNEY`) from an operating day on whose newest message on the topic has a value."""
    has_value: dict[bytes, bool] = {}
    for batch in read_to_end(connection, topic):
        has_value.update((key, value is not None) for key, value in batch)
    journeys = [journey_of(key) for key, value in has_value.items() if value and is_journey_key(key)]
    current = [(day, trip) for day, trip in journeys if day >= first_day]
    return pl.DataFrame(current, schema={JOURNEY[0]: pl.Date, JOURNEY[1]: pl.String}, orient="row")


def read_to_end(connection: KafkaConnection, topic: str) -> Iterator[Batch]:
    """Yields keys and values of the committed messages of every partition, from the beginning to the end.

    A missing topic has no messages.
    Uses its own consumer group without commits, so that no other consumer is affected. Raises `BrokerUnavailable` if the
    broker stops answering.
    """
    for messages in read_messages(connection, topic):
        yield [(message.key(), message.value()) for message in messages]


def read_messages(connection: KafkaConnection, topic: str) -> Iterator[list[Any]]:
    """Yields the committed messages of every partition, as `read_to_end` does, with all of their fields."""
    count = require_broker(connection).get(topic, 0)
    partitions = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(count)]
    yield from _read_partitions(connection, partitions, "read_committed")


def read_open_messages(
    connection: KafkaConnection, partitions: Sequence[TopicPartition]
) -> Iterator[list[Any]]:
    """Yields the messages from the offsets of `partitions` to their ends, committed or not."""
    yield from _read_partitions(connection, partitions, "read_uncommitted")


def _read_partitions(
    connection: KafkaConnection, partitions: Sequence[TopicPartition], isolation_level: str
) -> Iterator[list[Any]]:
    topics = ", ".join(sorted({partition.topic for partition in partitions}))
    consumer = Consumer(_consumer_config(connection) | {"isolation.level": isolation_level})
    try:
        # With the topic's metadata loaded, the consumer requests the first offsets at once instead of after half a second.
        for topic in {partition.topic for partition in partitions}:
            consumer.list_topics(topic, timeout=ANSWER_SECONDS)
        consumer.assign(list(partitions))
        open_partitions = {(partition.topic, partition.partition) for partition in partitions}
        last_answer = time.monotonic()
        while open_partitions:
            received = consumer.consume(BATCH, timeout=0.1)
            if received:
                last_answer = time.monotonic()
            elif time.monotonic() - last_answer > connection.patience_seconds:
                raise connection.unavailable(f"no answer while reading {topics}")
            if batch := _split_messages(received, open_partitions):
                yield batch
    except KafkaException as exception:
        raise connection.unavailable(exception.args[0].str()) from exception
    finally:
        consumer.close()


def _consumer_config(connection: KafkaConnection) -> dict[str, Any]:
    return connection.client_config() | {
        "group.id": f"{connection.topic_prefix}read-back-{uuid.uuid4().hex}",
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
    """
    return not unreadable_partitions(connection, topics, seconds)


def unreadable_partitions(
    connection: KafkaConnection, topics: Sequence[str], seconds: float
) -> list[TopicPartition]:
    """The partitions whose current end read-committed consumers cannot read after `seconds`, each with the offset of what they cannot.

    Returns an empty list as soon as they can read every end. A failed request is repeated within `seconds`; then its
    `KafkaException` is raised.

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
            late = [
                TopicPartition(partition.topic, partition.partition, offset)
                for partition, offset, end in zip(partitions, readable, end_offsets, strict=True)
                if offset < end
            ]
            if is_late or not late:
                return late
        except KafkaException:
            # For example while a partition has no leader. The admin client marks no error as retriable.
            if is_late:
                raise
        time.sleep(POLL_SECONDS)


def _end_offsets(
    admin: AdminClient, partitions: dict[TopicPartition, Any], level: IsolationLevel
) -> list[int]:
    offsets = admin.list_offsets(partitions, isolation_level=level, request_timeout=ANSWER_SECONDS)
    return [offsets[partition].result().offset for partition in partitions]


def _split_messages(received: list[Any], open_partitions: set[tuple[str, int]]) -> list[Any]:
    """Returns the messages, and removes each partition whose end was reached from `open_partitions`."""
    batch = []
    for message in received:
        error = message.error()
        if error is None:
            batch.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            open_partitions.discard((message.topic(), message.partition()))
        elif not error.retriable():
            raise KafkaException(error)
    return batch
