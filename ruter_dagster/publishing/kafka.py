"""Publishing forecasts on Kafka: one publication is one transaction, its marker included, however often it is repeated.

The order that makes it so: fence the former publisher, read the markers to their end, stop if this publication is
there, else send all messages and the marker and commit.
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
from ruter_dagster.publishing.consumer import read_markers, wait_until_readable
from ruter_dagster.publishing.messages import (
    SCHEMA_VERSION,
    Messages,
    Publication,
    build_messages,
    publication_id,
)
from ruter_dagster.publishing.topics import Topics, ensure_topics
from ruter_dagster.publishing.transaction import Transaction, TransactionAborted

ROWS_AT_A_TIME = 20_000
ATTEMPTS = 3
"""Times that a transaction which the broker aborted is begun again."""

Progress = Callable[[int, int], None]
"""Called with the departures sent so far, and all of them."""


@dataclass(frozen=True)
class PublicationResult:
    """A publication that is visible on Kafka, now or since an earlier call."""

    publication_id: str
    messages: int
    """Departures; each has one message on every topic of `topics`."""
    already_published: bool
    topics: tuple[str, ...]
    seconds: float


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
    """Publish the forecasts (contract LOAD_FORECASTS) of `issue_date`, all or none, once.

    `content_hash` is the data version of the forecasts: the same one again is a no-op, another one a new publication.
    `issued_at` has a time zone; `data_cutoff` is the last service date whose counts were known.

    Raises BadInput for forecasts that are empty or of another date, BrokerUnavailable where no broker answers (a later
    call is safe), PermanentFailure where another publisher took over or the broker refuses this one.
    """
    started = time.monotonic()
    _check(forecasts, issue_date)
    topics = ensure_topics(connection)
    identity = publication_id(topics.load_forecasts, issue_date, content_hash)
    publication = Publication(identity, issued_at, data_cutoff)
    transaction = Transaction(connection, f"{connection.environment}.{topics.load_forecasts}")
    try:
        transaction.fence_former()
        marker = read_markers(connection).get(identity)
        if marker is None:
            value = _marker(publication, forecasts.height, issue_date, content_hash)
            _publish_in_one(transaction, forecasts, publication, topics, value, progress or _silent)
            with suppress(KafkaException, BrokerUnavailable, PermanentFailure):  # it stands, seen or not
                wait_until_readable(connection, (*topics.of_messages, topics.publications))
    except BaseException:
        transaction.give_up()
        raise
    return PublicationResult(
        publication_id=identity,
        messages=marker.messages if marker else forecasts.height,
        already_published=marker is not None,
        topics=topics.of_messages,
        seconds=time.monotonic() - started,
    )


def _publish_in_one(
    transaction: Transaction,
    forecasts: pl.DataFrame,
    publication: Publication,
    topics: Topics,
    marker: str,
    progress: Progress,
) -> None:
    """Send everything in one transaction; begin again where the broker aborted it."""
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
        f"times: {reasons[-1]}. Nothing of it is visible; look at the broker's log and publish again."
    )


def _send(
    transaction: Transaction,
    forecasts: pl.DataFrame,
    publication: Publication,
    topics: Topics,
    progress: Progress,
) -> None:
    sent = 0
    for messages in _encoded(forecasts, publication):
        keys = messages.keys.to_list()
        transaction.send(topics.load_forecasts, keys, messages.load_forecasts.to_list())
        transaction.send(topics.occupancy_forecasts, keys, messages.occupancy_forecasts.to_list())
        sent += len(keys)
        progress(sent, forecasts.height)


def _encoded(forecasts: pl.DataFrame, publication: Publication) -> Iterator[Messages]:
    """The messages, some rows at a time; the next ones are encoded while the caller sends these."""
    with ThreadPoolExecutor(1) as beside:
        coming: Future[Messages] | None = None
        for rows in forecasts.iter_slices(ROWS_AT_A_TIME):
            ready, coming = coming, beside.submit(build_messages, rows, publication)
            if ready:
                yield ready.result()
        if coming:
            yield coming.result()


def _marker(publication: Publication, messages: int, issue_date: date, content_hash: str) -> str:
    return json.dumps(
        {
            "publicationId": publication.publication_id,
            "issueDate": issue_date.isoformat(),
            "contentHash": content_hash,
            "schemaVersion": SCHEMA_VERSION,
            "messages": messages,
        }
    )


def _check(forecasts: pl.DataFrame, issue_date: date) -> None:
    issue_dates = forecasts["issue_date"].unique().sort().to_list()
    if issue_dates != [issue_date]:
        found = ", ".join(map(str, issue_dates)) or "none"
        raise BadInput(
            f"To publish the forecasts of {issue_date}, rows of that issue date alone are needed; found: {found}. "
            "Nothing was published: materialise the forecasts of that date first."
        )


def _silent(_sent: int, _total: int) -> None: ...
