"""Publishing compared with a bare producer: `python -m benchmarks.publishing --state FOLDER`, the folder of `benchmarks.season`.

The newest issue date's forecasts go to a broker of this machine: published, encoding included; published again as a correction of
a tenth of the journeys; then the ready messages by confluent-kafka alone in a bare loop, in one transaction with the same settings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from confluent_kafka import Producer

from benchmarks.state import parsed_settings
from ruter_dagster.config.operator import operator_of
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.publishing.broker import local_broker
from ruter_dagster.publishing.cluster import cluster_connection
from ruter_dagster.publishing.connection import KafkaConnection
from ruter_dagster.publishing.kafka import BATCH_ROWS, publish
from ruter_dagster.publishing.messages import JOURNEY, Publication, build_messages
from ruter_dagster.publishing.topics import ensure_topics, topics_of
from ruter_dagster.publishing.transaction import Transaction, producer_config
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore

Batch = tuple[str, list[bytes], list[bytes]]


def main() -> None:
    settings = parsed_settings(__doc__)
    store = TableStore(local_catalog(settings.source_dir / "warehouse"))
    issue_date = store.dates(LOAD_FORECASTS)[-1]
    forecasts = store.read(LOAD_FORECASTS, [issue_date])
    thresholds = operator_of(settings).occupancy.model_dump()
    with TemporaryDirectory() as folder, local_broker(Path(folder)) as broker:
        connection = cluster_connection(
            settings.model_copy(update={"kafka_bootstrap_servers": broker.bootstrap_servers})
        )
        ensure_topics(connection)
        # The first transaction of a new broker creates a topic of Kafka's own, which takes a second.
        Transaction(connection, "first").fence_previous()
        measure(forecasts, connection, thresholds)


def measure(forecasts: pl.DataFrame, connection: KafkaConnection, thresholds: dict[str, float]) -> None:
    """Prints the seconds of each way, and their ratio to the bare loop."""
    issue_date = forecasts["issue_date"][0]
    issued_at = datetime(issue_date.year, issue_date.month, issue_date.day, 4, 30, tzinfo=UTC)
    arguments = {
        "issue_date": issue_date,
        "issued_at": issued_at,
        "data_cutoff": issue_date - timedelta(1),
        "thresholds": thresholds,
    }
    seconds = {
        "published, encoding included": timed(
            lambda: publish(forecasts, connection, content_hash="first", **arguments)
        ),
        "a correction of every tenth journey": timed(
            lambda: publish(
                corrected(forecasts),
                connection,
                content_hash="second",
                read_former=lambda _m, columns, where: forecasts.filter(where).select(columns),
                **arguments,
            )
        ),
    }
    batches = ready_messages(
        forecasts, connection, Publication("bare", issued_at, arguments["data_cutoff"], thresholds)
    )
    seconds["ready messages in a bare loop"] = timed(lambda: bare(batches, connection))
    report(seconds, batches, forecasts)


def corrected(forecasts: pl.DataFrame) -> pl.DataFrame:
    """The forecasts with another mean in every tenth journey."""
    tenth = pl.struct(JOURNEY).rle_id() % 10 == 0
    return forecasts.with_columns(mean=pl.when(tenth).then(pl.col("mean") + 1).otherwise("mean"))


def report(seconds: dict[str, float], batches: Sequence[Batch], forecasts: pl.DataFrame) -> None:
    messages = sum(len(keys) for _, keys, _ in batches)
    megabytes = sum(len(value) for *_, values in batches for value in values) / 1e6
    print(
        f"{forecasts.height:,} departures, {messages:,} messages on both topics, {megabytes:,.0f} MB of JSON"
    )
    loop = seconds["ready messages in a bare loop"]
    for name, taken in seconds.items():
        print(f"{taken:8.1f} s  {taken / loop:5.2f}  {name}")


def ready_messages(
    forecasts: pl.DataFrame, connection: KafkaConnection, publication: Publication
) -> list[Batch]:
    topics = topics_of(connection)
    batches: list[Batch] = []
    journeys = forecasts.with_columns(_journey=pl.struct(JOURNEY).rle_id())
    for _, rows in journeys.group_by(pl.col("_journey") // (BATCH_ROWS // 20), maintain_order=True):
        messages = build_messages(rows.drop("_journey"), publication)
        keys = messages.keys.to_list()
        for topic, values in zip(topics.message_topics, messages.values, strict=True):
            batches.append((topic, keys, values.to_list()))
    return batches


def bare(batches: list[Batch], connection: KafkaConnection) -> None:
    producer = Producer(producer_config(connection, "bare"))
    producer.init_transactions()
    producer.begin_transaction()
    produce = producer.produce
    for topic, keys, values in batches:
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
