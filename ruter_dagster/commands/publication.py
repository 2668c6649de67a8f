"""The publication that Dagster's records tell of an issue date, and what the cluster in use has of it.

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
class Recorded:
    """A materialised publication, and how many load forecasts it has."""

    publication_id: str
    messages: int


@dataclass(frozen=True)
class Found:
    """What a consumer of its own, as another team's would be, found on the topics."""

    topics: tuple[str, ...]
    messages: int
    """Load forecasts."""
    exactly_once: bool
    """On each of the topics."""


def recorded(instance: DagsterInstance, issue_date: date) -> Recorded | None:
    """The newest publication of `issue_date`, wherever it was published."""
    made = newest_materialisation(instance, PUBLISHED_FORECASTS, issue_date.isoformat())
    if made is None:
        return None
    return Recorded(str(made.metadata["content_hash"].value), int(str(made.metadata[ROW_COUNT].value)))


def require_reachable_broker(settings: Settings) -> None:
    """Raises `PermanentFailure` if no broker answers at the address of the settings, or if it refuses the connection."""
    from ruter_dagster.publishing.connection import require_broker
    from ruter_dagster.publishing.open import connection_of

    with _fail_without_retry():
        require_broker(connection_of(settings))


def is_elsewhere(instance: DagsterInstance, issue_date: date, settings: Settings) -> bool:
    """Whether the cluster in use has no word of what the records call published: it was published on another one."""
    from ruter_dagster.publishing.consumer import read_markers
    from ruter_dagster.publishing.open import connection_of

    publication = recorded(instance, issue_date)
    with _fail_without_retry():
        return publication is not None and publication.publication_id not in read_markers(
            connection_of(settings)
        )


def read_back(publication: Recorded, issue_date: date, settings: Settings) -> Found:
    """Reads the topics to their end."""
    from ruter_dagster.publishing import consumer
    from ruter_dagster.publishing.open import connection_of
    from ruter_dagster.publishing.topics import topics_of

    connection = connection_of(settings)
    with _fail_without_retry():
        found = consumer.read_back(connection, publication.publication_id, issue_date)
    once = found.messages == found.public_messages == publication.messages and not (
        found.duplicates or found.public_duplicates
    )
    return Found(topics_of(connection).of_messages, found.messages, once)


@contextmanager
def _fail_without_retry() -> Iterator[None]:
    """Turns a missing broker into a failure at once; a job would try again."""
    from ruter_dagster.publishing.connection import BrokerUnavailable

    try:
        yield
    except BrokerUnavailable as fault:
        raise PermanentFailure(str(fault)) from fault
