"""The recorded publication of an issue date, and its messages in the Kafka cluster.

Publishing itself is a job, in publishing/kafka.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from dagster import DagsterInstance

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import PUBLISHED_FORECASTS
from ruter_dagster.orchestration.event_log import newest_materialisation
from ruter_dagster.resources.merge_results import ROW_COUNT


@dataclass(frozen=True)
class RecordedPublication:
    """A materialised publication and its number of load forecasts."""

    publication_id: str
    messages: int


@dataclass(frozen=True)
class ReadBackResult:
    """What an independent consumer read from the topics."""

    topics: tuple[str, ...]
    messages: int
    """Load forecasts."""
    exactly_once: bool
    """Whether each topic has every message once."""


def recorded_publication(instance: DagsterInstance, issue_date: date) -> RecordedPublication | None:
    """The newest publication of `issue_date`, on any cluster."""
    materialisation = newest_materialisation(instance, PUBLISHED_FORECASTS, issue_date.isoformat())
    if materialisation is None:
        return None
    return RecordedPublication(
        str(materialisation.metadata["content_hash"].value),
        int(str(materialisation.metadata[ROW_COUNT].value)),
    )


def require_reachable_broker(settings: Settings) -> None:
    """Raises `PermanentFailure` if no broker answers at the address of the settings, or if it refuses the connection."""
    from ruter_dagster.publishing.cluster import cluster_connection
    from ruter_dagster.publishing.connection import require_broker

    with _fail_without_retry():
        require_broker(cluster_connection(settings))


def is_missing_from_cluster(instance: DagsterInstance, issue_date: date, settings: Settings) -> bool:
    """Whether the cluster in use lacks the recorded publication: it was published on another cluster."""
    from ruter_dagster.publishing.cluster import cluster_connection
    from ruter_dagster.publishing.consumer import read_markers

    publication = recorded_publication(instance, issue_date)
    with _fail_without_retry():
        return publication is not None and publication.publication_id not in read_markers(
            cluster_connection(settings)
        )


def read_back(publication: RecordedPublication, issue_date: date, settings: Settings) -> ReadBackResult:
    """Reads the topics to their end."""
    from ruter_dagster.publishing import consumer
    from ruter_dagster.publishing.cluster import cluster_connection
    from ruter_dagster.publishing.topics import topics_of

    connection = cluster_connection(settings)
    with _fail_without_retry():
        read = consumer.read_back(connection, publication.publication_id, issue_date)
    once = read.messages == read.public_messages == publication.messages and not (
        read.duplicates or read.public_duplicates
    )
    return ReadBackResult(topics_of(connection).message_topics, read.messages, once)


@contextmanager
def _fail_without_retry() -> Iterator[None]:
    """Turns a missing broker into a permanent failure. A command does not retry, unlike a job."""
    from ruter_dagster.publishing.connection import BrokerUnavailable

    try:
        yield
    except BrokerUnavailable as error:
        raise PermanentFailure(str(error)) from error
