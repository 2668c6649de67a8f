"""Publishes forecasts on Kafka, exactly once: all messages of a publication and its marker are one transaction.

The steps: fence the previous publisher, end what a broker has lost of its transaction, read all markers, and stop if these
forecasts are published, or those of a newer issue date. Else send the journeys that change, a tombstone for each that left the
plan, and the marker, and commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple

import polars as pl
from confluent_kafka import KafkaException

from ruter_dagster.contracts.errors import BadInput, PermanentFailure
from ruter_dagster.publishing.changes import Changes, ReadFormer, changes_since
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection
from ruter_dagster.publishing.consumer import read_markers, wait_until_readable
from ruter_dagster.publishing.lost_transactions import end_lost_transaction
from ruter_dagster.publishing.markers import Marker, newest_marker
from ruter_dagster.publishing.messages import (
    JOURNEY,
    LOAD_FORECAST,
    OCCUPANCY_FORECAST,
    PUBLICATION_HEADER,
    SCHEMA_VERSION,
    Messages,
    Publication,
    build_key,
    build_messages,
    is_sorted_by_journey,
    publication_id,
)
from ruter_dagster.publishing.registry import schema_id, value_prefix
from ruter_dagster.publishing.topics import Topics, ensure_topics
from ruter_dagster.publishing.transaction import Headers, Transaction, TransactionAborted

BATCH_ROWS = 100_000
"""Departures that are encoded at once: the fastest of 20,000 to 200,000."""
ATTEMPTS = 3
"""Number of attempts if the broker aborts the transaction."""
READABLE_SECONDS = 30.0
"""How long a publication may be unreadable after its commit. It usually is for milliseconds."""
_CORRECTION_INTERVAL = timedelta(seconds=1)
"""The least time between a publication and its correction, because statuses and GTFS-realtime state whole seconds."""

Progress = Callable[[int, int], None]
"""Called with the number of departures sent so far, and the total."""


class Message(NamedTuple):
    """A further message of a publication's transaction."""

    topic: str
    key: str
    value: str | None


ExtraMessages = Callable[[Marker], Iterable[Message]]
"""Returns further messages of the transaction, for example on the topic of statuses. Called with the publication's marker."""

Outcome = Literal["published", "already_published", "superseded"]


@dataclass(frozen=True)
class PublicationResult:
    """What became of the forecasts of an issue date.

    `marker` describes the publication that consumers read: of this call (`published`), of an earlier call with the same
    forecasts (`already_published`), or of a newer issue date (`superseded`: nothing was sent). `of_date` has the markers of the
    issue date that were on the topic before this call, in the order of publication.
    """

    outcome: Outcome
    marker: Marker
    topics: tuple[str, ...]
    seconds: float
    of_date: tuple[Marker, ...] = ()

    @property
    def publication_id(self) -> str:
        return self.marker.publication_id

    @property
    def already_published(self) -> bool:
        return self.outcome == "already_published"


@dataclass(frozen=True)
class _Request:
    """What a call of `publish` asks for. `forecasts` are sorted by journey and stop."""

    forecasts: pl.DataFrame
    issue_date: date
    content_hash: str
    snapshot_id: int | None
    publication: Callable[[str], Publication]
    """The attributes of the messages, by the id of the publication."""
    read_former: ReadFormer | None
    extra_messages: ExtraMessages | None
    progress: Progress


@dataclass(frozen=True)
class _Transmission:
    """Everything that one publication sends."""

    publication: Publication
    changes: Changes
    marker: Marker
    prefixes: Mapping[str, bytes]
    """What goes before each value, by topic."""
    extra_messages: ExtraMessages | None
    progress: Progress


def publish(
    forecasts: pl.DataFrame,
    connection: KafkaConnection,
    *,
    issue_date: date,
    issued_at: datetime,
    data_cutoff: date,
    content_hash: str,
    thresholds: Mapping[str, float],
    snapshot_id: int | None = None,
    read_former: ReadFormer | None = None,
    extra_messages: ExtraMessages | None = None,
    progress: Progress | None = None,
) -> PublicationResult:
    """Publishes the forecasts (contract LOAD_FORECASTS) of `issue_date` once: all of them or none.

    - `content_hash`: the data version of the forecasts, `snapshot_id` the snapshot of the table that has them. Publishing the
      same version again does nothing; another version corrects it.
    - `issued_at`: with a time zone. `data_cutoff`: the last service date with known counts.
    - `thresholds`: the operator's occupancy thresholds by name.

    Raises `BadInput` if the forecasts are empty or of another date, `BrokerUnavailable` if no broker answers (calling again
    is safe), `PermanentFailure` if another publisher took over or the broker refuses this one.
    """
    started = time.monotonic()
    _require_issue_date(forecasts, issue_date)
    request = _Request(
        forecasts if is_sorted_by_journey(forecasts) else forecasts.sort(*JOURNEY, "stop_sequence"),
        issue_date,
        content_hash,
        snapshot_id,
        lambda identity: Publication(identity, issued_at, data_cutoff, thresholds),
        read_former,
        extra_messages,
        progress or _no_progress,
    )
    topics = ensure_topics(connection)
    outcome, marker, of_date = _publish_once(request, connection, topics)
    return PublicationResult(outcome, marker, topics.message_topics, time.monotonic() - started, of_date)


def _publish_once(
    request: _Request, connection: KafkaConnection, topics: Topics
) -> tuple[Outcome, Marker, tuple[Marker, ...]]:
    """Publishes what is requested, unless consumers read the same forecasts, or those of a newer issue date.

    Returns the parts of the result.
    """
    prefixes = _prefixes(connection, topics)
    transaction = Transaction(connection, f"{connection.environment}.{topics.load_forecasts}")
    try:
        transaction.fence_previous()
        end_lost_transaction(transaction, connection, topics)
        markers = read_markers(connection).values()
        newest = newest_marker(markers)
        of_date = tuple(marker for marker in markers if marker.issue_date == request.issue_date)
        same_date = newest_marker(of_date)
        if same_date and same_date.content_hash == request.content_hash:
            return "already_published", same_date, of_date
        if newest and newest.issue_date > request.issue_date:
            return "superseded", newest, of_date
        new = _transmission(request, newest, connection, topics, prefixes)
        _publish_in_transaction(transaction, new, topics)
        _wait_for_readers(connection, topics)
    except BaseException:
        transaction.discard()
        raise
    return "published", new.marker, of_date


def _wait_for_readers(connection: KafkaConnection, topics: Topics) -> None:
    """Waits until consumers can read the publication.

    The publication is committed, also if the broker does not answer now. Raises `BrokerUnavailable` if the broker answers, and
    consumers cannot read it: the broker may have lost the end of the transaction, which the next attempt ends.
    """
    is_readable = True
    with suppress(KafkaException, BrokerUnavailable, PermanentFailure):
        is_readable = wait_until_readable(
            connection, (*topics.message_topics, topics.publications), READABLE_SECONDS
        )
    if not is_readable:
        raise BrokerUnavailable(
            f"Consumers at {connection.bootstrap_servers} cannot read the publication on {topics.load_forecasts} {READABLE_SECONDS:.0f} s "
            "after its commit. Publish again: what cannot be read is ended, and sent again"
        )


def _prefixes(connection: KafkaConnection, topics: Topics) -> dict[str, bytes]:
    """What goes before each value, by topic: nothing, or the schema's id in a Schema Registry."""
    schemas = {topics.load_forecasts: LOAD_FORECAST, topics.occupancy_forecasts: OCCUPANCY_FORECAST}
    return {topic: value_prefix(connection, topic, name) for topic, name in schemas.items()}


def _transmission(
    request: _Request,
    newest: Marker | None,
    connection: KafkaConnection,
    topics: Topics,
    prefixes: Mapping[str, bytes],
) -> _Transmission:
    """What consumers who read `newest` need of the requested forecasts."""
    former = newest if newest and newest.issue_date == request.issue_date else None
    supersedes = former.publication_id if former else None
    identity = publication_id(topics.load_forecasts, request.issue_date, request.content_hash, supersedes)
    schema_ids = tuple(schema_id(prefixes[topic]) for topic in topics.message_topics)
    changes = changes_since(
        newest,
        request.forecasts,
        request.issue_date,
        connection,
        request.read_former,
        send_all=former is not None and former.schema_ids != schema_ids,
    )
    publication = request.publication(identity)
    marker = Marker(
        publication_id=identity,
        issue_date=request.issue_date,
        content_hash=request.content_hash,
        schema_version=SCHEMA_VERSION,
        messages=_journey_ends(changes.forecasts).len(),
        published_at=_published_at(former),
        issued_at=publication.issued_at,
        snapshot_id=request.snapshot_id,
        journeys=_journey_ends(request.forecasts).len(),
        calls=request.forecasts.height,
        tombstones=changes.removed.height,
        supersedes=supersedes,
        schema_ids=schema_ids,
    )
    return _Transmission(publication, changes, marker, prefixes, request.extra_messages, request.progress)


def _published_at(former: Marker | None) -> datetime:
    """The present time; later than that of the corrected publication, even if the clock of its host is ahead."""
    now = datetime.now(UTC)
    return max(now, former.published_at + _CORRECTION_INTERVAL) if former else now


def _publish_in_transaction(transaction: Transaction, content: _Transmission, topics: Topics) -> None:
    """Sends everything in one transaction. Starts again if the broker aborts it."""
    reasons: list[TransactionAborted] = []
    while len(reasons) < ATTEMPTS:
        try:
            transaction.begin()
            _send(transaction, content, topics)
            transaction.commit()
            return
        except TransactionAborted as reason:
            reasons.append(reason)
            transaction.abort()
    raise BrokerUnavailable(
        f"The broker aborted the publication of {content.marker.messages} journeys on {topics.load_forecasts} {ATTEMPTS} "
        f"times: {reasons[-1]}. No message is visible; check the broker's log and publish again."
    )


def _send(transaction: Transaction, content: _Transmission, topics: Topics) -> None:
    marker, forecasts, sent = content.marker, content.changes.forecasts, 0
    removed = content.changes.removed.select(build_key().cast(pl.Binary)).to_series().to_list()
    for topic in topics.message_topics:
        # A tombstone has no value, so a header names its publication.
        headers: Headers = [(PUBLICATION_HEADER, marker.publication_id.encode())]
        transaction.send(topic, removed, [None] * len(removed), headers)
    for rows, messages in _encoded_batches(forecasts, content.publication):
        keys = messages.keys.to_list()
        for topic, values in zip(topics.message_topics, messages.values, strict=True):
            prefix = content.prefixes[topic]
            transaction.send(
                topic, keys, [prefix + value for value in values] if prefix else values.to_list()
            )
        sent += rows
        content.progress(sent, forecasts.height)
    for message in content.extra_messages(marker) if content.extra_messages else ():
        transaction.send(message.topic, [message.key], [message.value])
    transaction.send(topics.publications, [marker.publication_id], [marker.to_json()])


def _encoded_batches(forecasts: pl.DataFrame, publication: Publication) -> Iterator[tuple[int, Messages]]:
    """The messages in batches, and each batch's number of departures. The next batch is encoded while the caller sends this one."""
    with ThreadPoolExecutor(1) as encoder:
        upcoming: tuple[int, Future[Messages]] | None = None
        for rows in _whole_journeys(forecasts):
            current, upcoming = upcoming, (rows.height, encoder.submit(build_messages, rows, publication))
            if current:
                yield current[0], current[1].result()
        if upcoming:
            yield upcoming[0], upcoming[1].result()


def _whole_journeys(forecasts: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The rows in batches of at least `BATCH_ROWS`, which end where a journey ends."""
    ends, start = _journey_ends(forecasts), 0
    while start < forecasts.height:
        end = int(ends[int(ends.search_sorted(min(start + BATCH_ROWS, forecasts.height)))])
        yield forecasts[start:end]
        start = end


def _journey_ends(forecasts: pl.DataFrame) -> pl.Series:
    """The number of the row after each journey. Rows are sorted by journey."""
    is_last = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(-1)) for name in JOURNEY)
    return forecasts.select(is_last.arg_true() + 1).to_series()


def _require_issue_date(forecasts: pl.DataFrame, issue_date: date) -> None:
    issue_dates = forecasts["issue_date"].unique().sort().to_list()
    if issue_dates != [issue_date]:
        actual = ", ".join(map(str, issue_dates)) or "none"
        raise BadInput(
            f"Cannot publish the forecasts of {issue_date}: all rows must have that issue date, but they have: {actual}. "
            "Nothing was published. Materialise the forecasts of that date first."
        )


def _no_progress(_sent: int, _total: int) -> None: ...
