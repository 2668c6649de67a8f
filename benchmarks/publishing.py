"""Publishing compared with a bare producer: `python -m benchmarks.publishing --state FOLDER`, the folder of `benchmarks.season`.

The newest issue date's forecasts go to a broker of this machine three ways: published, encoding included; then their ready
messages by confluent-kafka alone, one `produce` a message and `produce_batch`, in one transaction with the same settings.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from confluent_kafka import Producer

from benchmarks.state import parsed_settings
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.publishing.broker import local_broker
from ruter_dagster.publishing.cluster import cluster_connection
from ruter_dagster.publishing.connection import KafkaConnection
from ruter_dagster.publishing.kafka import BATCH_ROWS, publish
from ruter_dagster.publishing.messages import Publication, build_messages
from ruter_dagster.publishing.topics import ensure_topics
from ruter_dagster.publishing.transaction import producer_config
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore

Batch = tuple[str, list[bytes], list[bytes]]


def main() -> None:
    settings = parsed_settings(__doc__)
    store = TableStore(local_catalog(settings.source_dir / "warehouse"))
    issue_date = store.dates(LOAD_FORECASTS)[-1]
    forecasts = store.read(LOAD_FORECASTS, [issue_date])
    issued_at = datetime(issue_date.year, issue_date.month, issue_date.day, 4, 30, tzinfo=UTC)
    with TemporaryDirectory() as folder, local_broker(Path(folder)) as broker:
        connection = cluster_connection(
            settings.model_copy(update={"kafka_bootstrap_servers": broker.bootstrap_servers})
        )
        seconds = {}
        ensure_topics(connection)
        batches = ready_messages(
            forecasts, connection, Publication("bare", issued_at, issue_date - timedelta(1))
        )
        seconds["bare, produce_batch"] = timed(lambda: bare(batches, connection, in_batches=True))
        seconds["bare, a produce a message"] = timed(lambda: bare(batches, connection, in_batches=False))
        batches.clear()
        seconds["publish, encoding included"] = timed(
            lambda: publish(
                forecasts, connection, issue_date=issue_date, issued_at=issued_at,
                data_cutoff=issue_date - timedelta(1), content_hash="benchmark",
            )
        )  # fmt: skip
    print(f"{forecasts.height:,} departures, {2 * forecasts.height:,} messages")
    bare_ones = list(seconds.values())[:2]
    for name, taken in seconds.items():
        shares = "  ".join(f"{taken / other:5.2f}" for other in bare_ones)
        print(f"{taken:8.1f} s  {2 * forecasts.height / taken:10,.0f} messages/s  {shares}  {name}")


def ready_messages(
    forecasts: pl.DataFrame, connection: KafkaConnection, publication: Publication
) -> list[Batch]:
    topics = ensure_topics(connection)
    batches: list[Batch] = []
    for rows in forecasts.iter_slices(BATCH_ROWS):
        messages = build_messages(rows, publication)
        keys = to_bytes(messages.keys)
        batches.append((topics.load_forecasts, keys, to_bytes(messages.load_forecasts)))
        batches.append((topics.occupancy_forecasts, keys, to_bytes(messages.occupancy_forecasts)))
    return batches


def to_bytes(texts: pl.Series) -> list[bytes]:
    return [text.encode() for text in texts]


def bare(batches: list[Batch], connection: KafkaConnection, *, in_batches: bool) -> None:
    producer = Producer(producer_config(connection, f"bare-{in_batches}"))
    producer.init_transactions()
    producer.begin_transaction()
    for topic, keys, values in batches:
        if in_batches:
            waiting = [{"key": key, "value": value} for key, value in zip(keys, values, strict=True)]
            while waiting:
                producer.produce_batch(topic, waiting)
                waiting = [message for message in waiting if message.pop("_error", None)]
                producer.poll(0.05 if waiting else 0)
        else:
            produce = producer.produce
            for key, value in zip(keys, values, strict=True):
                try:
                    produce(topic, value, key)
                except BufferError:
                    produce_when_there_is_room(producer, topic, key, value)
            producer.poll(0)
    producer.commit_transaction()


def produce_when_there_is_room(producer: Producer, topic: str, key: bytes, value: bytes) -> None:
    while True:
        producer.poll(0.05)
        try:
            producer.produce(topic, value, key)
            return
        except BufferError:
            continue


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
