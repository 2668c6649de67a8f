"""Ends transactions that a broker has lost, so that their messages hide what follows from consumers for ever.

A broker that is killed within a commit marks the commit in every partition when it starts again. It forgets a partition whose
leader it does not know at that moment (Kafka: "Couldn't find leader endpoint"), and says to clients that the transaction is
over. The partition then has messages without an outcome, also those of the marker. A publisher that reads the markers would
send the same publication again, and its own commit would show both.
"""

from __future__ import annotations

import logging
import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.connection import ANSWER_SECONDS, BrokerUnavailable, KafkaConnection
from ruter_dagster.publishing.consumer import read_messages, read_open_messages, unreadable_partitions
from ruter_dagster.publishing.messages import PUBLICATION_HEADER
from ruter_dagster.publishing.topics import Topics
from ruter_dagster.publishing.transaction import Transaction

log = logging.getLogger("ruter_dagster.jobs")

TIMEOUT_MARGIN_SECONDS = 60
"""A broker aborts a transaction up to 10 s after its timeout. The clocks of hosts differ."""
_PUBLICATION_ID = re.compile(rb'"publicationId": ?"([^"]+)"')


def end_lost_transaction(transaction: Transaction, connection: KafkaConnection, topics: Topics) -> None:
    """Aborts what an earlier publication left open in any partition, so that it can be published again. Usually there is nothing.

    `transaction` owns the transactional id of publications, and has begun nothing. Raises `PermanentFailure` if consumers have
    read a part of the open publication, `BrokerUnavailable` if another producer may still end the transaction.
    """
    written = (*topics.message_topics, topics.publications)
    partitions = _unreadable(connection, (*written, topics.forecast_status))
    if not partitions:
        return
    _require_unread(connection, partitions, written)
    transaction.abort_open(partitions)
    # Only this producer's transaction was aborted. One of another producer is still open.
    still_open = _unreadable(connection, (*written, topics.forecast_status))
    aborted = set(partitions) - set(still_open)
    if aborted:
        log.warning("The broker has lost the end of a transaction on %s. It is aborted", _names(aborted))
    blocked = [partition for partition in still_open if partition.topic in written]
    if blocked:
        raise BrokerUnavailable(
            f"A transaction of another producer on {_names(blocked)} at {connection.bootstrap_servers} has no end, so consumers "
            "cannot read what follows. Nothing was published. Publish again when that producer has ended."
        )


def _require_unread(
    connection: KafkaConnection, partitions: Sequence[TopicPartition], written: Collection[str]
) -> None:
    """Raises if consumers have read a part of a publication that also has messages in the unreadable ends of `partitions`.

    Such messages may be committed, behind an open transaction of another producer. Only after the timeout of transactions is it
    certain that the broker has lost its end.
    """
    ids = _unreadable_publications(connection, partitions)
    all_ids = {name for (_, names) in ids.values() for name in names}
    read = all_ids and all_ids & _visible_publications(connection, written)
    if not read:
        return
    lost = {partition for partition, (is_old, names) in ids.items() if is_old and names & read}
    if not lost:
        raise BrokerUnavailable(
            f"On {_names(partitions)} at {connection.bootstrap_servers}, consumers cannot read what follows an open transaction, "
            f"for example publication {', '.join(sorted(read))}. Nothing was published. Publish again: a producer or the broker "
            f"ends the transaction within {connection.transaction_timeout_seconds} s, unless the broker has lost it."
        )
    raise PermanentFailure(
        f"The broker at {connection.bootstrap_servers} has lost the end of a transaction in a part of {_names(lost)}. Consumers "
        f"have read the other part of publication {', '.join(sorted(read))}. Nothing was published. Find the producer first, and "
        "delete nothing: see docs/messages.md, 'What if a broker loses the end of a transaction?'"
    )


def _unreadable_publications(
    connection: KafkaConnection, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, tuple[bool, set[str]]]:
    """By partition, from its offset on: whether the first message is older than any transaction, and the publications' ids."""
    oldest = time.time() - connection.transaction_timeout_seconds - TIMEOUT_MARGIN_SECONDS
    is_old: dict[TopicPartition, bool] = {}
    names: defaultdict[TopicPartition, set[str]] = defaultdict(set)
    for batch in read_open_messages(connection, partitions):
        for message in batch:
            partition = TopicPartition(message.topic(), message.partition())
            is_old.setdefault(partition, message.timestamp()[1] / 1000 < oldest)
            names[partition] |= _publication_ids([message])
    return {partition: (is_old[partition], names[partition]) for partition in is_old}


def _unreadable(connection: KafkaConnection, topics: Sequence[str]) -> list[TopicPartition]:
    try:
        return unreadable_partitions(connection, topics, ANSWER_SECONDS)
    except KafkaException as exception:
        raise connection.unavailable(exception.args[0].str()) from exception


def _visible_publications(connection: KafkaConnection, topics: Collection[str]) -> set[str]:
    """Ids of the publications of which consumers can read a message."""
    return {
        name
        for topic in topics
        for batch in read_messages(connection, topic)
        for name in _publication_ids(batch)
    }


def _publication_ids(messages: Iterable[Any]) -> set[str]:
    """Ids of the publications that sent these messages. A message that is not of a publication has none."""
    ids: set[str] = set()
    for message in messages:
        if value := message.value():
            match = _PUBLICATION_ID.search(value)
            ids |= {match[1].decode()} if match else set()
        else:
            ids |= {
                content.decode() for name, content in message.headers() or () if name == PUBLICATION_HEADER
            }
    return ids


def _names(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(sorted({partition.topic for partition in partitions}))
