"""One transactional producer: librdkafka's transaction with its errors sorted into those that pass and those that stay.

It knows no forecasts: topics, keys and values come from `kafka.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection

CALL_SECONDS = 5.0
"""A call to the transaction coordinator is given up after this long, and made again until patience ends."""
AGAIN_SECONDS = 0.1
WAIT_FOR_ROOM_SECONDS = 0.05

FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
REFUSED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.INVALID_TRANSACTION_TIMEOUT,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError._AUTHENTICATION,
)


class TransactionAborted(Exception):
    """The transaction cannot be committed, but the producer can begin another one."""


def producer_config(connection: KafkaConnection, transactional_id: str) -> dict[str, Any]:
    """librdkafka's settings of a publication."""
    return connection.client_config() | {
        "transactional.id": transactional_id,
        "transaction.timeout.ms": connection.transaction_timeout_seconds * 1000,
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "zstd",
        "linger.ms": 5,
        # The Java clients' partitioner: a stream processor of theirs joins these topics by key.
        "partitioner": "murmur2_random",
        "queue.buffering.max.kbytes": 256 * 1024,
        # No callback for delivery reports: librdkafka counts those that failed and refuses the commit, and a
        # callback in Python would halve the speed and swallow the error that a fenced producer raises.
        "delivery.report.only.error": True,
    }


class Transaction:
    """A producer with a transactional id: whoever takes the id next fences the one who had it.

    Every method raises PermanentFailure where this producer was fenced or is refused, TransactionAborted where the
    transaction must be begun again, and BrokerUnavailable where the broker stops answering for `patience_seconds`.
    """

    def __init__(self, connection: KafkaConnection, transactional_id: str) -> None:
        self._connection = connection
        self._id = transactional_id
        self._producer = Producer(producer_config(connection, transactional_id))

    def fence_former(self) -> None:
        """Take the transactional id: the former owner's open transaction is aborted and it can commit no more."""
        self._call(self._producer.init_transactions, CALL_SECONDS)

    def begin(self) -> None:
        self._call(self._producer.begin_transaction)

    def send(self, topic: str, keys: Sequence[str], values: Sequence[str]) -> None:
        """Hand messages to the producer; waits for room where its queue is full."""
        # Not `produce_batch`: it wants a dict for each of millions of messages, and takes a quarter longer.
        produce = self._producer.produce
        try:
            for key, value in zip(keys, values, strict=True):
                try:
                    produce(topic, value, key)
                except BufferError:
                    self._send_when_there_is_room(topic, key, value)
        except KafkaException as exception:
            raise self._cause_of(exception.args[0]) from exception
        self._call(self._producer.poll, 0)

    def commit(self) -> None:
        """Deliver what is queued and make all of the transaction visible at once."""
        last_moved, queued = time.monotonic(), len(self._producer)
        while queued:
            left = self._call(self._producer.flush, 0.5)
            if left < queued:
                last_moved, queued = time.monotonic(), left
            self._lose_patience(last_moved)
        self._call(self._producer.commit_transaction, CALL_SECONDS)

    def abort(self) -> None:
        """Drop the transaction, so that a new one can begin."""
        self._call(self._producer.abort_transaction, CALL_SECONDS)

    def give_up(self) -> None:
        """Drop the transaction if that can be done at once; else the next owner of the id drops it."""
        with suppress(KafkaException):
            self._producer.purge(in_queue=True, in_flight=True, blocking=False)
            self._producer.abort_transaction(CALL_SECONDS)

    def _send_when_there_is_room(self, topic: str, key: str, value: str) -> None:
        last_moved, queued = time.monotonic(), len(self._producer)
        while True:
            self._call(self._producer.poll, WAIT_FOR_ROOM_SECONDS)
            with suppress(BufferError):
                return self._producer.produce(topic, value, key)
            if len(self._producer) < queued:
                last_moved, queued = time.monotonic(), len(self._producer)
            self._lose_patience(last_moved)

    def _cause_of(self, error: KafkaError) -> Exception:
        """Why a message was not taken: once the transaction has failed, that says no more than "erroneous state"."""
        if error.code() not in REFUSED:
            # In a failed transaction every call but an abort is answered with what made it fail.
            self._call(self._producer.begin_transaction)
        return self._sorted(error)

    def _call(self, action: Callable[..., Any], *arguments: Any) -> Any:
        deadline = time.monotonic() + self._connection.patience_seconds
        while True:
            try:
                return action(*arguments)
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                if not error.retriable() or time.monotonic() > deadline:
                    raise self._sorted(error) from exception
                time.sleep(AGAIN_SECONDS)

    def _sorted(self, error: KafkaError) -> Exception:
        reason = error.str()
        if error.code() in FENCED:
            return PermanentFailure(
                f"Another publisher took over {self._id} at {self._connection.bootstrap_servers}: this one's messages "
                "were dropped. If its forecasts are still wanted, publish them again once the other one is done."
            )
        if error.code() in REFUSED:
            return PermanentFailure(
                f"The broker at {self._connection.bootstrap_servers} refuses {self._id}: {reason}. "
                "Check the user's rights, the topic's largest message and the broker's longest transaction."
            )
        if error.txn_requires_abort():
            return TransactionAborted(reason)
        if error.retriable() or error.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT):
            return self._connection.unavailable(reason)
        return BrokerUnavailable(
            f"Publishing to {self._connection.bootstrap_servers} failed: {reason}. "
            "Publishing again is safe: what is visible by now is not sent twice."
        )

    def _lose_patience(self, last_moved: float) -> None:
        waited = time.monotonic() - last_moved
        if waited > self._connection.patience_seconds:
            raise self._connection.unavailable(f"it took no message for {waited:.0f} s")
