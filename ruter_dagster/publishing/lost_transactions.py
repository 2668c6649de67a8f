"""Ends transactions that a broker has lost, so that their messages hide what follows from consumers for ever.

A broker that is killed within a commit marks the commit in every partition when it starts again. It forgets a partition whose
leader it does not know at that moment (Kafka: "Couldn't find leader endpoint"), and says to clients that the transaction is
over. The partition then has messages without an outcome, also those of the marker. A publisher that reads the markers would
send the same publication again, and its own commit would show both.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.connection import ANSWER_SECONDS, BrokerUnavailable, KafkaConnection
from ruter_dagster.publishing.consumer import read_messages, read_open_messages, unreadable_partitions
from ruter_dagster.publishing.topics import Topics
from ruter_dagster.publishing.transaction import Transaction

log = logging.getLogger("ruter_dagster.jobs")

_PUBLICATION_ID = re.compile(rb'"publicationId": ?"([^"]+)"')
_FIRST_ATTRIBUTES = 200
"""Bytes of a message that have the publication's id."""


def end_lost_transaction(transaction: Transaction, connection: KafkaConnection, topics: Topics) -> None:
    """Aborts what an earlier publication left open in any partition, so that it can be published again. Usually there is nothing.

    `transaction` owns the transactional id of publications, and has begun nothing. Raises `PermanentFailure` if consumers have
    read a part of the open publication, `BrokerUnavailable` if a partition stays unreadable.
    """
    written = (*topics.message_topics, topics.publications)
    open_partitions = _unreadable(connection, (*written, topics.forecast_status))
    if not open_partitions:
        return
    names = ", ".join(sorted({partition.topic for partition in open_partitions}))
    lost = _publication_ids(read_open_messages(connection, open_partitions))
    if lost & _visible_publications(connection, written):
        raise PermanentFailure(
            f"The broker at {connection.bootstrap_servers} has lost the end of a transaction in a part of {names}. Consumers have read the "
            f"other part of publication {', '.join(sorted(lost))}. Nothing was published. See docs/messages.md, 'What if a broker loses the "
            "end of a transaction?'"
        )
    log.warning("The broker has lost the end of a transaction on %s. It is aborted", names)
    transaction.abort_open(open_partitions)
    if _unreadable(connection, written):
        raise BrokerUnavailable(
            f"A transaction of another producer on {names} at {connection.bootstrap_servers} has no end, so consumers cannot read what "
            "follows. Nothing was published. Publish again when that producer has ended."
        )


def _unreadable(connection: KafkaConnection, topics: Sequence[str]) -> list[TopicPartition]:
    try:
        return unreadable_partitions(connection, topics, ANSWER_SECONDS)
    except KafkaException as exception:
        raise connection.unavailable(exception.args[0].str()) from exception


def _visible_publications(connection: KafkaConnection, topics: Collection[str]) -> set[str]:
    """Ids of the publications of which consumers can read a message."""
    return {name for topic in topics for name in _publication_ids(read_messages(connection, topic))}


def _publication_ids(batches: Iterable[list[Any]]) -> set[str]:
    values = (message.value() for batch in batches for message in batch)
    found = (_PUBLICATION_ID.search(value[:_FIRST_ATTRIBUTES]) for value in values if value)
    return {match[1].decode() for match in found if match}
