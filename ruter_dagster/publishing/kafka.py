"""Publishes forecasts on Kafka, exactly once: all messages of a publication and its marker are one transaction.

The steps: fence the previous publisher, read all markers, and stop if this publication has one. Else send all messages and
the marker, and commit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl
from confluent_kafka import KafkaException

from ruter_dagster.contracts.errors import BadInput, PermanentFailure
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection
from ruter_dagster.publishing.consumer import Marker, read_markers, wait_until_readable
from ruter_dagster.publishing.messages import (
    SCHEMA_VERSION,
    Messages,
    Publication,
    build_messages,
    publication_id,
)
from ruter_dagster.publishing.topics import Topics, ensure_topics
from ruter_dagster.publishing.transaction import Transaction, TransactionAborted

BATCH_ROWS = 20_000
ATTEMPTS = 3
"""Number of attempts if the broker aborts the transaction."""

Progress = Callable[[int, int], None]
"""Called with the number of departures sent so far, and the total."""


@dataclass(frozen=True)
class PublicationResult:
    """A publication that is visible on Kafka, from this call or an earlier one."""

    publication_id: str
    messages: int
    """Number of departures. Each has one message on every topic of `topics`."""
    already_published: bool
    topics: tuple[str, ...]
    seconds: float
    published_at: datetime | None = None
    """When the earlier call published it, in UTC; None if this call did."""


def publish(
    forecasts: pl.DataFrame,
    connection: KafkaConnection,
    *,
    issue_date: date,
    issued_at: datetime,
    data_cutoff: date,
    content_hash: str,
    progress: Progress | None = None,
) -> PublicationResult:
    """Publishes the forecasts (contract LOAD_FORECASTS) of `issue_date` once: all of them or none.

    - `content_hash`: the data version of the forecasts. Publishing the same version again does nothing; another version is
      a new publication.
    - `issued_at`: with a time zone. `data_cutoff`: the last service date with known counts.

    Raises `BadInput` if the forecasts are empty or of another date, `BrokerUnavailable` if no broker answers (calling again
    is safe), `PermanentFailure` if another publisher took over or the broker refuses this one.
    """
    started = time.monotonic()
    _require_issue_date(forecasts, issue_date)
    topics = ensure_topics(connection)
    identity = publication_id(topics.load_forecasts, issue_date, content_hash)
    publication = Publication(identity, issued_at, data_cutoff)
    marker = _marker_value(publication, forecasts.height, issue_date, content_hash)
    existing = _publish_unless_marked(
        connection, forecasts, publication, topics, marker, progress or _no_progress
    )
    return PublicationResult(
        publication_id=identity,
        messages=existing.messages if existing else forecasts.height,
        already_published=existing is not None,
        topics=topics.message_topics,
        seconds=time.monotonic() - started,
        published_at=existing.published_at if existing else None,
    )


def _publish_unless_marked(
    connection: KafkaConnection,
    forecasts: pl.DataFrame,
    publication: Publication,
    topics: Topics,
    marker: str,
    progress: Progress,
) -> Marker | None:
    """The marker of an earlier call if there is one; else publishes, and returns None."""
    transaction = Transaction(connection, f"{connection.environment}.{topics.load_forecasts}")
    try:
        transaction.fence_previous()
        existing = read_markers(connection).get(publication.publication_id)
        if existing is None:
            _publish_in_transaction(transaction, forecasts, publication, topics, marker, progress)
            # The publication is committed, whether or not this wait succeeds.
            with suppress(KafkaException, BrokerUnavailable, PermanentFailure):
                wait_until_readable(connection, (*topics.message_topics, topics.publications))
    except BaseException:
        transaction.discard()
        raise
    return existing


def _publish_in_transaction(
    transaction: Transaction,
    forecasts: pl.DataFrame,
    publication: Publication,
    topics: Topics,
    marker: str,
    progress: Progress,
) -> None:
    """Sends everything in one transaction. Starts again if the broker aborts it."""
    reasons: list[TransactionAborted] = []
    while len(reasons) < ATTEMPTS:
        try:
            transaction.begin()
            _send(transaction, forecasts, publication, topics, progress)
            transaction.send(topics.publications, [publication.publication_id], [marker])
            transaction.commit()
            return
        except TransactionAborted as reason:
            reasons.append(reason)
            transaction.abort()
    raise BrokerUnavailable(
        f"The broker aborted the publication of {forecasts.height} forecasts on {topics.load_forecasts} {ATTEMPTS} "
        f"times: {reasons[-1]}. No message is visible; check the broker's log and publish again."
    )


def _send(
    transaction: Transaction,
    forecasts: pl.DataFrame,
    publication: Publication,
    topics: Topics,
    progress: Progress,
) -> None:
    sent = 0
    for messages in _encoded_batches(forecasts, publication):
        keys = messages.keys.to_list()
        transaction.send(topics.load_forecasts, keys, messages.load_forecasts.to_list())
        transaction.send(topics.occupancy_forecasts, keys, messages.occupancy_forecasts.to_list())
        sent += len(keys)
        progress(sent, forecasts.height)


def _encoded_batches(forecasts: pl.DataFrame, publication: Publication) -> Iterator[Messages]:
    """The messages in batches. The next batch is encoded while the caller sends the current one."""
    with ThreadPoolExecutor(1) as encoder:
        upcoming: Future[Messages] | None = None
        for rows in forecasts.iter_slices(BATCH_ROWS):
            current, upcoming = upcoming, encoder.submit(build_messages, rows, publication)
            if current:
                yield current.result()
        if upcoming:
            yield upcoming.result()


def _marker_value(publication: Publication, messages: int, issue_date: date, content_hash: str) -> str:
    return json.dumps(
        {
            "publicationId": publication.publication_id,
            "issueDate": issue_date.isoformat(),
            "contentHash": content_hash,
            "schemaVersion": SCHEMA_VERSION,
            "messages": messages,
        }
    )


def _require_issue_date(forecasts: pl.DataFrame, issue_date: date) -> None:
    issue_dates = forecasts["issue_date"].unique().sort().to_list()
    if issue_dates != [issue_date]:
        actual = ", ".join(map(str, issue_dates)) or "none"
        raise BadInput(
            f"Cannot publish the forecasts of {issue_date}: all rows must have that issue date, but they have: {actual}. "
            "Nothing was published. Materialise the forecasts of that date first."
        )


def _no_progress(_sent: int, _total: int) -> None: ...
