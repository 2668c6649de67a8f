"""A publisher that is killed at a chosen moment: `crashing_publisher.py SERVERS TOPIC_PREFIX MOMENT`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from ruter_dagster.publishing import kafka, transaction
from ruter_dagster.publishing.connection import KafkaConnection
from tests.publishing.samples import PUBLISHING, load_forecasts

MOMENTS = (
    "before it takes the transactional id",
    "before it reads the markers",
    "half-way through the messages",
    "with everything sent and nothing committed",
    "while it commits",
    "when it has committed",
)
AT_ONCE = 500
"""Departures of a batch: 25 journeys, 50 messages."""
BEFORE_ID, BEFORE_MARKERS, HALF_WAY, SENT, COMMITTING, COMMITTED = MOMENTS


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_producer(moment: str) -> type[transaction.Producer]:
    """A producer of the real library whose process is killed at the moment."""

    class DyingProducer(transaction.Producer):
        produced = 0

        def init_transactions(self, *arguments: Any) -> None:
            if moment == BEFORE_ID:
                die()
            super().init_transactions(*arguments)
            if moment == BEFORE_MARKERS:
                die()

        def produce(self, *arguments: Any, **options: Any) -> None:
            super().produce(*arguments, **options)
            self.produced += 1
            if moment == HALF_WAY and self.produced == 120:
                self.flush()
                die()

        def commit_transaction(self, *arguments: Any) -> None:
            if moment == SENT:
                self.flush()
                die()
            if moment == COMMITTING:
                threading.Timer(0.001, die).start()
            super().commit_transaction(*arguments)
            if moment == COMMITTED:
                die()

    return DyingProducer


if __name__ == "__main__":
    servers, prefix, moment = sys.argv[1:]
    transaction.Producer = dying_producer(moment)
    kafka.BATCH_ROWS = AT_ONCE
    kafka.publish(
        load_forecasts(),
        KafkaConnection(
            bootstrap_servers=servers, topic_prefix=prefix, environment=prefix.rstrip("."), partitions=3
        ),
        content_hash="content",
        **PUBLISHING,
    )
    # The timer that kills it while it commits may come late.
    threading.Event().wait(10)
