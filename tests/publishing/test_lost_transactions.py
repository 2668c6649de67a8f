"""A broker that was killed forgets the end of a publication's transaction. The next publisher ends it and publishes once."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.publishing import kafka, transaction
from ruter_dagster.publishing.broker import Broker, _is_alive, local_broker
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection
from ruter_dagster.publishing.consumer import unreadable_partitions
from ruter_dagster.publishing.topics import ensure_topics, topics_of
from tests.publishing.crash_at_random import publish_number
from tests.publishing.crash_checks import assert_published_once

pytestmark = pytest.mark.extended

PREFIX = "lost."


def test_publication_that_consumers_cannot_read_fails(
    connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "READABLE_SECONDS", 0.2)
    topics = ensure_topics(connection)
    other = transaction.Transaction(connection, "another publisher")
    other.fence_previous()

    def open_another(_sent: int, _total: int) -> None:
        other.begin()
        other.send(topics.load_forecasts, ["key"], ["value"])
        other._producer.flush()

    with pytest.raises(BrokerUnavailable, match=r"cannot read the publication .* Publish again"):
        publish_number(0, connection, progress=open_another)
    other.abort()
    assert publish_number(0, connection).outcome == "already_published"


class Killed(Exception):
    """The broker was killed."""


def forgetting_producer(broker: Broker) -> type[transaction.Producer]:
    """A producer whose broker is killed before the commit, and starts again with the state of transactions from before the first message."""
    state = broker.data_dir / "data" / "__transaction_state-0"
    before = broker.data_dir / "before"

    class ForgettingProducer(transaction.Producer):
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        assert_published_once(connection, 1)
        assert publish_number(1, connection).outcome == "already_published"
        publish_number(2, connection)
        assert_published_once(connection, 2)
