"""A publisher that is killed, or kills its broker, at a given call: `crash_at_random.py SERVERS PREFIX NUMBER VICTIM CALL [PID]`.

It publishes the forecasts of `forecasts_of(NUMBER)`. VICTIM `job`: it is killed before the given call of the producer. `broker`:
it kills the broker PID then, and goes on. `worker`: it publishes slowly and says when it begins, so that its starter can kill both.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import polars as pl

from ruter_dagster.publishing import kafka, transaction
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection
from ruter_dagster.publishing.kafka import PublicationResult, publish
from ruter_dagster.publishing.markers import Marker
from ruter_dagster.publishing.messages import JOURNEY
from tests.publishing.samples import PUBLISHING, load_forecasts

CHANGED, DEPARTED = 60, 3
SLOW_SECONDS = 0.05
"""What a worker's publisher waits after each batch."""


def forecasts_of(number: int) -> pl.DataFrame:
    """Forecasts of a publication: against the one before, most journeys change, some leave the plan and some return."""
    chance, rows = Random(number), load_forecasts()
    journeys = rows.select(JOURNEY).unique().sort(JOURNEY).with_row_index("journey")
    numbers = chance.sample(range(journeys.height), CHANGED + DEPARTED)
    numbered = rows.join(journeys, on=JOURNEY, maintain_order="left")
    changed = pl.col("journey").is_in(numbers[:CHANGED])
    return (
        numbered.filter(~pl.col("journey").is_in(numbers[CHANGED:]))
        .with_columns(mean=pl.when(changed).then(pl.col("mean") + number).otherwise("mean"))
        .drop("journey")
    )


def publish_number(number: int, connection: KafkaConnection, **more: Any) -> PublicationResult:
    """Publishes `forecasts_of(number)`. The rows of the former publication are known for even numbers only."""

    def read_former(marker: Marker, columns: Sequence[str], where: pl.Expr) -> pl.DataFrame | None:
        return forecasts_of(int(marker.content_hash)).filter(where).select(columns)

    return publish(
        forecasts_of(number),
        connection,
        content_hash=str(number),
        read_former=read_former if number % 2 == 0 else None,
        **PUBLISHING,
        **more,
    )


def interrupting_producer(at_call: int, action: Callable[[], None]) -> type[transaction.Producer]:
    """A producer of the real library that acts before its n-th call, of any kind."""

    class InterruptingProducer(transaction.Producer):
        calls = 0

        def _count(self) -> None:
            self.calls += 1
            if self.calls == at_call:
                if at_call % 2:
                    self.flush(1)
                action()

        def init_transactions(self, *arguments: Any) -> None:
            self._count()
            super().init_transactions(*arguments)

        def begin_transaction(self) -> None:
            self._count()
            super().begin_transaction()

        def produce(self, *arguments: Any, **options: Any) -> None:
            self._count()
            super().produce(*arguments, **options)

        def commit_transaction(self, *arguments: Any) -> None:
            self._count()
            super().commit_transaction(*arguments)

    return InterruptingProducer


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def main(servers: str, prefix: str, number: str, victim: str, call: str, pid: str = "0") -> None:
    connection = KafkaConnection(
        bootstrap_servers=servers,
        topic_prefix=prefix,
        environment=prefix.rstrip("."),
        partitions=3,
        patience_seconds=2.0,
    )
    kafka.BATCH_ROWS = 200
    if victim == "worker":
        print("publishing", flush=True)
        publish_number(int(number), connection, progress=lambda *_: time.sleep(SLOW_SECONDS))
        threading.Event().wait(30)
    target = os.getpid() if victim == "job" else int(pid)
    transaction.Producer = interrupting_producer(int(call), lambda: kill(target))
    with suppress(BrokerUnavailable):
        publish_number(int(number), connection)
    # The call never came: it is killed after the commit.
    kill(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
