"""Publication without a broker, with one that does not answer, and with one that dies half-way.

The error names both remedies. In the end each forecast is published exactly once.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.publishing.broker import local_broker
from ruter_dagster.publishing.cluster import cluster_connection
from ruter_dagster.publishing.connection import KafkaConnection
from ruter_dagster.publishing.consumer import read_markers, read_to_end
from ruter_dagster.publishing.read_back import read_back
from ruter_dagster.publishing.topics import topics_of
from tests.chain.local_chain import Chain, Outcome
from tests.chain.tides_days import NEW

pytestmark = pytest.mark.extended

PUBLISHED = "forecasts/published_forecasts"
BOTH_WAYS = ("`ruter-dagster broker`", "KAFKA_BOOTSTRAP_SERVERS")
HOOK = Path(__file__).parent / "dying_broker"


def test_run_without_broker_fails_and_a_retry_publishes(
    chain: Chain,
) -> None:
    outcome = _publish(chain)
    _assert_told(outcome)
    assert not outcome.retried, "another attempt would find none either"
    assert f"no local broker runs on {chain.settings.source_dir}/broker" in outcome.message

    # `ruter-dagster retry` brings its own broker where none is named, as `demo` does.
    code = "import sys; from ruter_dagster.commands.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "retry", outcome.run_id]
    again = subprocess.run(command, capture_output=True, text=True, check=False)

    assert again.returncode == 0, again.stdout + again.stderr
    assert outcome.run_id in again.stdout
    with local_broker(chain.settings.source_dir / "broker"):
        _assert_published_once(chain)


def test_silent_broker_is_named_and_published_to_later(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, before = _free_port(), chain.content()
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{port}")

    outcome = _publish(chain)

    _assert_retried_and_told(outcome)
    assert f"No Kafka broker answers at 127.0.0.1:{port}" in outcome.message
    with local_broker(tmp_path / "broker", port):
        assert _publish(chain).succeeded
        assert _publish(chain).succeeded, "a repeat is a success that sends nothing"
        _assert_published_once(chain)
    assert chain.content() == before


def test_interrupted_publication_is_invisible_until_repeated(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, before = _free_port(), chain.content()
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{port}")
    with local_broker(tmp_path / "broker", port) as broker, monkeypatch.context() as dying:
        dying.setenv("PYTHONPATH", str(HOOK))
        dying.setenv("RUTER_TEST_BROKER_PID", str(broker.pid))
        outcome = _publish(chain)
    _assert_retried_and_told(outcome)

    with local_broker(tmp_path / "broker", port):
        connection = cluster_connection(load_settings(_env_file=None))
        topics = topics_of(connection)
        journeys = _forecasts(chain).select("operating_date", "trip_id").unique().height
        assert _stored(connection, topics.load_forecasts) == journeys, "all had been sent"
        assert read_markers(connection) == {}
        assert [batch for topic in topics.message_topics for batch in read_to_end(connection, topic)] == []

        assert _publish(chain).succeeded
        _assert_published_once(chain)
    assert chain.content() == before


def _publish(chain: Chain) -> Outcome:
    return chain.run("forecasting", NEW, assets=(PUBLISHED,))


def _assert_retried_and_told(outcome: Outcome) -> None:
    _assert_told(outcome)
    assert outcome.retried == {PUBLISHED: 1}, "another attempt may find a broker"


def _assert_told(outcome: Outcome) -> None:
    assert not outcome.succeeded and not outcome.materialised
    for way in BOTH_WAYS:
        assert way in outcome.message


def _assert_published_once(chain: Chain) -> None:
    """Asks the broker as another team would: one publication, each journey of the forecasts once."""
    connection = cluster_connection(load_settings(_env_file=None))
    (publication,) = read_markers(connection)
    forecasts = _forecasts(chain)
    assert forecasts.height > 0
    assert read_back(connection, publication, NEW).faults(forecasts) == []


def _forecasts(chain: Chain):
    return chain.store.read(LOAD_FORECASTS, [NEW])


def _stored(connection: KafkaConnection, topic: str) -> int:
    """Messages that the broker has stored, committed or not."""
    consumer = Consumer(
        connection.client_config() | {"group.id": "stored", "isolation.level": "read_uncommitted"}
    )
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, number))[1] for number in partitions]
    consumer.close()
    return sum(ends)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
