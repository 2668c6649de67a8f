"""The recorded publication of an issue date, and its messages in the Kafka cluster.

Publishing itself is a job, in publishing/kafka.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.storage.configured_tables import open_tables
from ruter_dagster.storage.publications import Publication, newest_publication


@dataclass(frozen=True)
class ReadBackResult:
    """What an independent consumer read from the topics."""

    topics: tuple[str, ...]
    journeys: int
    calls: int
    """Forecasts in the messages of these journeys."""
    exactly_once: bool
    """Whether each topic has every journey once, with all its calls."""


def recorded_publication(issue_date: date, settings: Settings) -> Publication | None:
    """The newest publication of `issue_date`, on any cluster."""
    return newest_publication(open_tables(settings), issue_date)


def require_reachable_broker(settings: Settings) -> None:
    """Raises `PermanentFailure` if no broker answers at the address of the settings, or if it refuses the connection."""
    from ruter_dagster.publishing.cluster import cluster_connection
    from ruter_dagster.publishing.connection import require_broker

    with _fail_without_retry():
        require_broker(cluster_connection(settings))


def is_missing_from_cluster(issue_date: date, settings: Settings) -> bool:
    """Whether the cluster in use lacks the recorded publication: it was published on another cluster."""
    from ruter_dagster.publishing.cluster import cluster_connection
    from ruter_dagster.publishing.consumer import read_markers

    publication = recorded_publication(issue_date, settings)
    with _fail_without_retry():
        return publication is not None and publication.publication_id not in read_markers(
            cluster_connection(settings)
        )


def read_back(publication: Publication, settings: Settings) -> ReadBackResult:
    """Reads the topics to their end."""
    from ruter_dagster.publishing.cluster import cluster_connection
    from ruter_dagster.publishing.read_back import read_back
    from ruter_dagster.publishing.topics import topics_of

    connection = cluster_connection(settings)
    with _fail_without_retry():
        read = read_back(connection, publication.publication_id, publication.issue_date)
    contents = (read.load_forecasts, read.occupancy_forecasts)
    expected = (publication.journeys, publication.calls)
    once = not read.duplicates and all((one.journeys, one.calls.height) == expected for one in contents)
    load = read.load_forecasts
    return ReadBackResult(topics_of(connection).message_topics, load.journeys, load.calls.height, once)


@contextmanager
def _fail_without_retry() -> Iterator[None]:
    """Turns a missing broker into a permanent failure. A command does not retry, unlike a job."""
    from ruter_dagster.publishing.connection import BrokerUnavailable

    try:
        yield
    except BrokerUnavailable as error:
        raise PermanentFailure(str(error)) from error
