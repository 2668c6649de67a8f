"""A broker that was killed forgets the end of a publication's transaction. The next publisher ends it and publishes once."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing import kafka, lost_transactions, transaction
from ruter_dagster.publishing.broker import Broker, _is_alive, local_broker
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection
from ruter_dagster.publishing.consumer import read_messages, read_to_end, unreadable_partitions
from ruter_dagster.publishing.messages import PUBLICATION_HEADER
from ruter_dagster.publishing.status import ForecastStatus
from ruter_dagster.publishing.topics import Topics, ensure_topics, topics_of
from tests.publishing.crash_at_random import publish_number
from tests.publishing.crash_checks import assert_published_once
from tests.publishing.samples import ISSUE_DATE

pytestmark = pytest.mark.extended

PREFIX = "lost."


LONG_AGO = int(time.time() - 7200) * 1000
"""A time before which every open transaction has ended, unless its end is lost."""


class OldProducer(transaction.Producer):
    """A producer whose messages have the time `LONG_AGO`."""

    def produce(self, *arguments: Any, **options: Any) -> None:
        super().produce(*arguments, timestamp=LONG_AGO, **options)


@pytest.fixture
def topics(connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch) -> Topics:
    monkeypatch.setattr(lost_transactions, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(kafka, "READABLE_SECONDS", 0.2)
    return ensure_topics(connection)


def other_producer(connection: KafkaConnection) -> transaction.Transaction:
    """A producer with a transactional id of its own, which has begun a transaction."""
    other = transaction.Transaction(connection, f"another publisher of {connection.environment}")
    other.fence_previous()
    other.begin()
    return other


def send_at_once(other: transaction.Transaction, topic: str, key: str, value: str) -> None:
    other.send(topic, [key], [value])
    other._producer.flush()


def publish_behind(other: transaction.Transaction, connection: KafkaConnection, topics: Topics) -> None:
    """Publishes number 0 behind an open message of `other`, so that consumers cannot read a part of the publication."""
    begin = transaction.Transaction.begin

    def begin_behind(publisher: transaction.Transaction) -> None:
        # Before the publisher's first message: those that are already in the partition would stay readable.
        send_at_once(other, topics.load_forecasts, "key", "value")
        begin(publisher)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction.Transaction, "begin", begin_behind)
        with pytest.raises(BrokerUnavailable, match=r"cannot read the publication .* Publish again"):
            publish_number(0, connection)


def test_publication_that_consumers_cannot_read_fails(connection: KafkaConnection, topics: Topics) -> None:
    other = other_producer(connection)
    publish_behind(other, connection, topics)
    other.abort()
    assert publish_number(0, connection).outcome == "already_published"


def test_open_transaction_of_another_producer_is_awaited(connection: KafkaConnection, topics: Topics) -> None:
    other = other_producer(connection)
    publish_behind(other, connection, topics)
    with pytest.raises(BrokerUnavailable, match=r"an open transaction.*Publish again: a producer or the"):
        publish_number(0, connection)
    other.commit()
    assert publish_number(0, connection).outcome == "already_published"


def test_messages_without_a_publication_are_awaited_and_not_reported_lost(
    connection: KafkaConnection, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "ruter_dagster.jobs")
    other = other_producer(connection)
    send_at_once(other, topics.load_forecasts, "key", "value")
    with pytest.raises(BrokerUnavailable, match=r"transaction of another producer on .*load-forecasts at"):
        publish_number(0, connection)
    assert "has lost" not in caplog.text
    other.commit()
    assert publish_number(0, connection).outcome == "published"


def test_lost_part_of_a_read_publication_fails(
    connection: KafkaConnection, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(transaction, "Producer", OldProducer)
        other = other_producer(connection)
    publish_behind(other, connection, topics)
    with pytest.raises(
        PermanentFailure, match=r"a part of \S+load-forecasts\..* read the other part .*delete nothing"
    ):
        publish_number(0, connection)
    other.abort()


def test_lost_status_of_a_read_publication_fails(
    connection: KafkaConnection, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    published, now = publish_number(0, connection).publication_id, datetime.now(UTC)
    status = ForecastStatus(ISSUE_DATE, "published", now, now, published)
    with monkeypatch.context() as patch:
        patch.setattr(transaction, "Producer", OldProducer)
        other = other_producer(connection)
    send_at_once(other, topics.forecast_status, status.key, status.to_json())
    with pytest.raises(PermanentFailure, match=rf"a part of \S+forecast-status\. .* publication {published}"):
        publish_number(0, connection)
    other.abort()


def test_tombstones_name_their_publication(connection: KafkaConnection) -> None:
    publish_number(0, connection)
    correction = publish_number(1, connection)
    for topic in correction.topics:
        messages = [message for batch in read_messages(connection, topic) for message in batch]
        headers = [message.headers() for message in messages if message.value() is None]
        assert len(headers) == correction.marker.tombstones > 0
        assert all(each == [(PUBLICATION_HEADER, correction.publication_id.encode())] for each in headers)


def test_full_queue_delays_the_end_of_a_lost_transaction(
    connection: KafkaConnection, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = transaction.producer_config(connection, f"{connection.environment}.owner")
    config["queue.buffering.max.messages"] = 1
    monkeypatch.setattr(transaction, "producer_config", lambda *_: config)
    owner = transaction.Transaction(connection, "as in the configuration")
    owner.fence_previous()
    partitions = [TopicPartition(topics.load_forecasts, number) for number in range(3)]
    owner.abort_open(partitions)
    assert unreadable_partitions(connection, [topics.load_forecasts], seconds=5) == []


class Killed(Exception):
    """The broker was killed."""


def forgetting_producer(
    broker: Broker, producer: type[transaction.Producer] = transaction.Producer
) -> type[transaction.Producer]:
    """A `producer` whose broker is killed before the commit, and starts again with the state of transactions from before the first message."""
    state = broker.data_dir / "data" / "__transaction_state-0"
    before = broker.data_dir / "before"

    class ForgettingProducer(producer):
        def init_transactions(self, *arguments: Any) -> None:
            super().init_transactions(*arguments)
            shutil.copytree(state, before)

        def commit_transaction(self, *_: Any) -> None:
            self.flush()
            os.kill(broker.pid, signal.SIGKILL)
            while _is_alive(broker.pid):
                time.sleep(0.02)
            shutil.rmtree(state)
            shutil.move(before, state)
            raise Killed

        def abort_transaction(self, *_: Any) -> None: ...

    return ForgettingProducer


def test_lost_transaction_is_ended_and_published_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "ruter_dagster.jobs")
    broker = local_broker(tmp_path)
    servers = broker.bootstrap_servers
    connection = KafkaConnection(
        bootstrap_servers=servers, topic_prefix=PREFIX, environment=PREFIX.rstrip("."), partitions=3
    )
    topics = topics_of(connection)
    publish_number(0, connection)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(transaction, "Producer", forgetting_producer(broker))
        publish_number(1, connection)
    broker.stop()
    with local_broker(tmp_path, int(servers.rpartition(":")[2])):
        lost = unreadable_partitions(connection, (*topics.message_topics, topics.publications), seconds=0)
        assert {partition.topic for partition in lost} == {*topics.message_topics, topics.publications}

        assert publish_number(1, connection).outcome == "published"
        assert "has lost the end of a transaction" in caplog.text
        assert_published_once(connection, 1)
        assert publish_number(1, connection).outcome == "already_published"
        publish_number(2, connection)
        assert_published_once(connection, 2)


@pytest.mark.parametrize(
    ("producer", "error", "remedy"),
    [
        (OldProducer, PermanentFailure, "delete nothing"),
        (transaction.Producer, BrokerUnavailable, "Publish again"),
    ],
    ids=["old", "recent"],
)
def test_lost_tombstone_of_a_read_publication_is_not_aborted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    producer: type[transaction.Producer],
    error: type[Exception],
    remedy: str,
) -> None:
    """The transaction of the tombstone stands for the lost part of a larger one."""
    broker = local_broker(tmp_path)
    servers = broker.bootstrap_servers
    connection = KafkaConnection(
        bootstrap_servers=servers, topic_prefix=PREFIX, environment=PREFIX.rstrip("."), partitions=3
    )
    topic = topics_of(connection).load_forecasts
    identity = publish_number(0, connection).publication_id.encode()
    key = next(key for batch in read_to_end(connection, topic) for key, _ in batch)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(transaction, "Producer", forgetting_producer(broker, producer))
        owner = transaction.Transaction(connection, f"{connection.environment}.{topic}")
        owner.fence_previous()
        owner.begin()
        owner.send(topic, [key], [None], [(PUBLICATION_HEADER, identity)])
        owner.commit()
    broker.stop()
    monkeypatch.setattr(lost_transactions, "ANSWER_SECONDS", 1)
    with local_broker(tmp_path, int(servers.rpartition(":")[2])):
        with pytest.raises(error, match=remedy):
            publish_number(0, connection)
        (lost,) = unreadable_partitions(connection, (topic,), seconds=0)
        assert lost.topic == topic
