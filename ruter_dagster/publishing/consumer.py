"""Reading topics to their end as an independent, read-committed consumer: the markers, and a publication's messages."""

from __future__ import annotations

import json
import operator
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
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
MARKED_SECONDS = 0.01
"""Between looks at whether a broker has marked a commit in every partition."""
VALUES: dict[str, type[pl.DataType]] = {
    "expectedOnboardCount": pl.Float64,
    "onboardP10": pl.Float64,
    "onboardP50": pl.Float64,
    "onboardP90": pl.Float64,
    "probabilityAboveSeats": pl.Float64,
    "occupancyLevel": pl.String,
}
"""Fields of a load forecast that are compared with what was forecast."""

Batch = list[tuple[bytes, bytes]]
"""Keys and values."""


@dataclass(frozen=True)
class Marker:
    """What the topic of publications says of one of them."""

    publication_id: str
    issue_date: date
    content_hash: str
    schema_version: int
    messages: int


@dataclass(frozen=True)
class ReadBack:
    """What a consumer that knows nothing of the publisher finds of one publication."""

    publication_id: str
    messages: int
    """Load forecasts, repeated ones included."""
    duplicates: int
    by_horizon: dict[int, int]
    """Load forecasts by horizon in days."""
    loads: pl.DataFrame
    """Key and values (`VALUES`) of the load forecasts, in order of key."""
    public_messages: int
    public_duplicates: int

    def faults(self, forecasts: pl.DataFrame) -> list[str]:
        """Where this differs from `forecasts` (contract LOAD_FORECASTS) each published exactly once; empty if nowhere."""
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
    """Every publication there is, by its id, read to the topic's end."""
    markers = {}
    for batch in read_to_end(connection, topics_of(connection).publications):
        for _, value in batch:
            fields = json.loads(value)
            markers[fields["publicationId"]] = Marker(
                publication_id=fields["publicationId"],
                issue_date=date.fromisoformat(fields["issueDate"]),
                content_hash=fields["contentHash"],
                schema_version=fields["schemaVersion"],
                messages=fields["messages"],
            )
    return markers


def read_back(connection: KafkaConnection, publication_id: str, issue_date: date) -> ReadBack:
    """Read both topics to their end and count what belongs to the publication."""
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
    """Key and a few fields of each message of the publication; fields that a message does not carry are null."""
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
    """The committed messages of every partition, from the beginning to the end that each has when it is reached.

    A group of its own and no commits: no other consumer is disturbed. Raises BrokerUnavailable where the broker stops
    answering; a topic that is not there has no messages.
    """
    partitions = require_broker(connection).get(topic, 0)
    config: dict[str, Any] = connection.client_config() | {
        "group.id": f"{connection.topic_prefix}read-back-{uuid.uuid4().hex}",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        # At the end of a topic the broker would hold its answer back for half a second, waiting for more.
        "fetch.wait.max.ms": 10,
        "auto.offset.reset": "earliest",
    }
    consumer = Consumer(config)
    try:
        # Told of the topic beforehand, it asks for the first offsets at once instead of after half a second.
        consumer.list_topics(topic, timeout=ANSWER_SECONDS)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])
        open_partitions = set(range(partitions))
        last_answer = time.monotonic()
        while open_partitions:
            received = consumer.consume(BATCH, timeout=0.1)
            if received:
                last_answer = time.monotonic()
            elif time.monotonic() - last_answer > connection.patience_seconds:
                raise connection.unavailable(f"reading {topic} came to a standstill")
            if batch := _sort_out(received, open_partitions):
                yield batch
    except KafkaException as exception:
        raise connection.unavailable(exception.args[0].str()) from exception
    finally:
        consumer.close()


def wait_until_readable(
    connection: KafkaConnection, topics: Sequence[str], seconds: float = ANSWER_SECONDS
) -> bool:
    """Wait until read-committed consumers get to what is the end of the topics now; False where `seconds` were too few.

    What fails is asked again within `seconds`; then the `KafkaException` is raised.

    A broker answers a commit once it has decided it, and only then marks it in every partition: who reads within those
    milliseconds finds nothing of the transaction.
    """
    partitions: dict[TopicPartition, Any] = {
        TopicPartition(topic, number): OffsetSpec.latest()
        for topic, count in require_broker(connection).items()
        if topic in topics
        for number in range(count)
    }
    admin = AdminClient(connection.client_config())

    def ends(level: IsolationLevel) -> list[int]:
        asked = admin.list_offsets(partitions, isolation_level=level, request_timeout=ANSWER_SECONDS)
        return [asked[partition].result().offset for partition in partitions]

    wanted, deadline = list[int](), time.monotonic() + seconds
    while True:
        is_late = time.monotonic() > deadline
        try:
            wanted = wanted or ends(IsolationLevel.READ_UNCOMMITTED)
            if not any(map(operator.lt, ends(IsolationLevel.READ_COMMITTED), wanted)):
                return True
        except KafkaException:
            # As while a partition has no leader; the admin client calls no error retriable.
            if is_late:
                raise
        if is_late:
            return False
        time.sleep(MARKED_SECONDS)


def _sort_out(received: list[Any], open_partitions: set[int]) -> Batch:
    """The messages among what was received; a partition that has come to its end leaves `open_partitions`."""
    batch = []
    for message in received:
        error = message.error()
        if error is None:
            batch.append((message.key(), message.value()))
        elif error.code() == KafkaError._PARTITION_EOF:
            open_partitions.discard(message.partition())
        elif not error.retriable():
            raise KafkaException(error)
    return batch
