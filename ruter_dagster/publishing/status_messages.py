"""Sends statuses of forecasts on Kafka, each once. `python -m ruter_dagster.publishing.status_messages` sends the due ones.

The command prints the sent statuses and whether the issue date needs no further one, as JSON. It runs in a process of its own,
so that a sensor loads no client of Kafka and can limit the waiting time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime

from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import EXIT_PERMANENT
from ruter_dagster.publishing.cluster import open_cluster_connection
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection
from ruter_dagster.publishing.consumer import read_markers, read_to_end
from ruter_dagster.publishing.status import (
    ForecastStatus,
    deadline,
    due_statuses,
    is_complete,
    status_of,
    statuses_of_publication,
)
from ruter_dagster.publishing.topics import ensure_topics, topics_of
from ruter_dagster.publishing.transaction import Transaction, TransactionAborted

PATIENCE_SECONDS = 20.0
"""How long the command waits for a broker. The sensor ends it after 45 s."""


def read_statuses(connection: KafkaConnection) -> list[ForecastStatus]:
    """The statuses on the topic, in order. A missing topic has none."""
    topic = topics_of(connection).forecast_status
    return [status_of(value) for batch in read_to_end(connection, topic) for _, value in batch if value]


def publication_messages(
    connection: KafkaConnection,
    issue_date: date,
    publication_id: str,
    published_at: datetime,
    expected_by: datetime,
    failure: str | None = None,
) -> list[tuple[str, str, str]]:
    """Topic, key and value of the statuses to send in the transaction of a publication. `failure`: why it is degraded."""
    topic = topics_of(connection).forecast_status
    statuses = statuses_of_publication(
        issue_date, expected_by, read_statuses(connection), publication_id, published_at, failure
    )
    return [(topic, status.key, status.to_json()) for status in statuses]


def send_due_statuses(
    connection: KafkaConnection, issue_date: date, expected_by: datetime, now: datetime
) -> list[ForecastStatus]:
    """Sends the statuses of an issue date that are due and were not sent, in one transaction. Returns them.

    A second caller fences the first, and reads what the first has committed, so that no status is sent twice.
    """
    topic = ensure_topics(connection).forecast_status
    transaction = Transaction(connection, f"{connection.environment}.{topic}")
    try:
        transaction.fence_previous()
        published = _publication_ids(connection, issue_date)
        due = due_statuses(issue_date, expected_by, read_statuses(connection), published, now)
        if due:
            transaction.begin()
            transaction.send(topic, [status.key for status in due], [status.to_json() for status in due])
            transaction.commit()
    except BaseException:
        transaction.discard()
        raise
    return due


def _publication_ids(connection: KafkaConnection, issue_date: date) -> list[str]:
    markers = read_markers(connection).values()
    return [marker.publication_id for marker in markers if marker.issue_date == issue_date]


def main(arguments: Sequence[str]) -> int:
    """Sends the due statuses of an issue date: `ISSUE_DATE NOW`, the time in ISO 8601 with a zone."""
    try:
        settings = load_settings()
        issue_date, now = date.fromisoformat(arguments[0]), datetime.fromisoformat(arguments[1])
        expected_by = deadline(issue_date, settings.publish_by, operator_of(settings).time_zone)
        with open_cluster_connection(settings) as cluster:
            connection = cluster.model_copy(update={"patience_seconds": PATIENCE_SECONDS})
            sent = send_due_statuses(connection, issue_date, expected_by, now.astimezone(UTC))
            complete = is_complete(
                issue_date, read_statuses(connection), _publication_ids(connection, issue_date)
            )
    except (PermanentFailure, BrokerUnavailable, TransactionAborted) as failure:
        print(failure, file=sys.stderr)
        return EXIT_PERMANENT
    print(json.dumps({"sent": [status.status for status in sent], "complete": complete}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
