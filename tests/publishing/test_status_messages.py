"""Statuses on the tests' broker: each visible once, also if a sender was killed in the middle of a transaction."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from ruter_dagster.publishing.connection import KafkaConnection
from ruter_dagster.publishing.status import ForecastStatus
from ruter_dagster.publishing.status_messages import publication_messages, read_statuses, send_due_statuses
from ruter_dagster.publishing.topics import ensure_topics
from ruter_dagster.publishing.transaction import Transaction

DAY = date(2026, 11, 20)
EXPECTED_BY = datetime(2026, 11, 20, 5, tzinfo=UTC)
BEFORE, AFTER = EXPECTED_BY - timedelta(hours=3), EXPECTED_BY + timedelta(minutes=1)


def send(connection: KafkaConnection, now: datetime) -> list[str]:
    return [status.status for status in send_due_statuses(connection, DAY, EXPECTED_BY, now)]


def states(connection: KafkaConnection) -> list[str]:
    return [status.status for status in read_statuses(connection)]


def test_topic_without_statuses_is_empty(connection: KafkaConnection) -> None:
    assert read_statuses(connection) == []


def test_statuses_are_sent_once(connection: KafkaConnection) -> None:
    assert send(connection, BEFORE) == ["expected"]
    assert send(connection, BEFORE) == []
    assert send(connection, AFTER) == ["late"]
    assert send(connection, AFTER) == []
    assert states(connection) == ["expected", "late"]


def test_statuses_of_a_publication_follow_those_of_the_sensor(connection: KafkaConnection) -> None:
    send(connection, AFTER)
    messages = publication_messages(connection, DAY, "a", AFTER, EXPECTED_BY)
    topic = ensure_topics(connection).forecast_status
    assert [(name, key) for name, key, _ in messages] == [(topic, "2026-11-20")] * 2
    publisher = Transaction(connection, f"{connection.environment}.publisher")
    publisher.fence_previous()
    publisher.begin()
    for name, key, value in messages:
        publisher.send(name, [key], [value])
    publisher.commit()
    assert states(connection) == ["expected", "late", "published", "recovered"]
    assert send(connection, AFTER) == []
    assert publication_messages(connection, DAY, "a", AFTER, EXPECTED_BY) == []


def test_sender_killed_before_its_commit_leaves_no_status(connection: KafkaConnection) -> None:
    topic = ensure_topics(connection).forecast_status
    killed = Transaction(connection, f"{connection.environment}.{topic}")
    killed.fence_previous()
    killed.begin()
    status = ForecastStatus(DAY, "expected", BEFORE, EXPECTED_BY)
    killed.send(topic, [status.key], [status.to_json()])
    killed._producer.flush(5)
    assert send(connection, BEFORE) == ["expected"]
    assert states(connection) == ["expected"]


def test_command_repeated_without_cursor_sends_nothing(connection: KafkaConnection, tmp_path: Path) -> None:
    """The sensor was killed after the commit and before its cursor was stored."""
    variables = {
        "RUTER_SOURCE": "demo", "RUTER_STATE_DIR": str(tmp_path), "RUTER_ENV_FILE": "",
        "KAFKA_BOOTSTRAP_SERVERS": connection.bootstrap_servers,
        "RUTER_KAFKA_TOPIC_PREFIX": connection.topic_prefix, "RUTER_PUBLISH_BY": "06:00",
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "ruter_dagster.publishing.status_messages",
        "2026-11-20",
        AFTER.isoformat(),
    ]
    results = [
        json.loads(
            subprocess.run(
                command, env={**os.environ, **variables}, capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(2)
    ]
    assert results == [{"sent": ["expected", "late"], "complete": False}, {"sent": [], "complete": False}]
    assert states(connection) == ["expected", "late"]
