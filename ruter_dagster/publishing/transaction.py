"""A transactional producer: librdkafka's transaction, with its errors sorted into transient and permanent ones.

It knows nothing of forecasts: topics, keys and values come from `kafka.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection

CALL_SECONDS = 5.0
"""Timeout of one call to the transaction coordinator. Calls are repeated for `patience_seconds`."""
RETRY_SECONDS = 0.1
FULL_QUEUE_WAIT_SECONDS = 0.05

FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
REFUSED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.INVALID_TRANSACTION_TIMEOUT,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError._AUTHENTICATION,
)


Headers = list[tuple[str, str | bytes | None]]
"""Names and values of a message's headers."""


class TransactionAborted(Exception):
    """The transaction cannot be committed; the producer can begin another one."""


def producer_config(connection: KafkaConnection, transactional_id: str) -> dict[str, Any]:
    """librdkafka's settings for a publication."""
    return connection.client_config() | {
        "transactional.id": transactional_id,
        "transaction.timeout.ms": connection.transaction_timeout_seconds * 1000,
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "zstd",
        "linger.ms": 5,
        # The partitioner of the Java clients, so that their stream processors can join these topics by key.
        "partitioner": "murmur2_random",
        "queue.buffering.max.kbytes": 256 * 1024,
        # No callback for delivery reports: librdkafka counts failures itself and refuses the commit. A callback in
        # Python would halve the speed and hide the error of a fenced producer.
        "delivery.report.only.error": True,
    }


class Transaction:
    """A producer with a transactional id. The next producer with the same id fences this one.

    Every method raises `PermanentFailure` if this producer is fenced or refused, `TransactionAborted` if the transaction
    must start again, and `BrokerUnavailable` if the broker does not answer for `patience_seconds`.
    """

    def __init__(self, connection: KafkaConnection, transactional_id: str) -> None:
        self._connection = connection
        self._id = transactional_id
        self._producer = Producer(producer_config(connection, transactional_id))

    def fence_previous(self) -> None:
        """Takes the transactional id. The previous owner's open transaction is aborted; it can no longer commit."""
        self._call(self._producer.init_transactions, CALL_SECONDS)

    def begin(self) -> None:
        self._call(self._producer.begin_transaction)

    def send(
        self,
        topic: str,
        keys: Sequence[str | bytes],
        values: Sequence[str | bytes | None],
        headers: Headers | None = None,
    ) -> None:
        """Queues messages, all with the same headers. A value None is a tombstone. Waits if the producer's queue is full."""
        # Not `produce_batch`: it needs a dict for each message, and takes a quarter longer.
        produce = partial(self._producer.produce, headers=headers) if headers else self._producer.produce
        try:
            for key, value in zip(keys, values, strict=True):
                try:
                    produce(topic, value, key)
                except BufferError:
                    self._produce_when_possible(partial(produce, topic, value, key))
        except KafkaException as exception:
            raise self._cause_of(exception.args[0]) from exception
        self._call(self._producer.poll, 0)

    def commit(self) -> None:
        """Delivers the queued messages and makes the whole transaction visible."""
        self._deliver()
        self._call(self._producer.commit_transaction, CALL_SECONDS)

    def abort(self) -> None:
        """Aborts the transaction, so that a new one can begin."""
        self._call(self._producer.abort_transaction, CALL_SECONDS)

    def abort_open(self, partitions: Iterable[TopicPartition]) -> None:
        """Aborts what an earlier owner of the id left open in these partitions: by a message that is aborted with it."""
        self.begin()
        try:
            for partition in partitions:
                produce = partial(self._producer.produce, partition.topic, None, b"", partition.partition)
                try:
                    produce()
                except BufferError:
                    self._produce_when_possible(produce)
        except KafkaException as exception:
            raise self._cause_of(exception.args[0]) from exception
        self._deliver()
        self.abort()

    def discard(self) -> None:
        """Aborts the transaction if the broker answers; else the next owner of the id aborts it."""
        with suppress(KafkaException):
            self._producer.purge(in_queue=True, in_flight=True, blocking=False)
            self._producer.abort_transaction(CALL_SECONDS)

    def _deliver(self) -> None:
        last_progress, queued = time.monotonic(), len(self._producer)
        while queued:
            remaining = self._call(self._producer.flush, 0.5)
            if remaining < queued:
                last_progress, queued = time.monotonic(), remaining
            self._require_progress(last_progress)

    def _produce_when_possible(self, produce: Callable[[], None]) -> None:
        last_progress, queued = time.monotonic(), len(self._producer)
        while True:
            self._call(self._producer.poll, FULL_QUEUE_WAIT_SECONDS)
            with suppress(BufferError):
                return produce()
            if len(self._producer) < queued:
                last_progress, queued = time.monotonic(), len(self._producer)
            self._require_progress(last_progress)

    def _cause_of(self, error: KafkaError) -> Exception:
        """Why a message was refused. The error of a failed transaction says only "erroneous state"."""
        if error.code() not in REFUSED:
            # In a failed transaction, every call except an abort returns the original error.
            self._call(self._producer.begin_transaction)
        return self._exception_for(error)

    def _call(self, action: Callable[..., Any], *arguments: Any) -> Any:
        deadline = time.monotonic() + self._connection.patience_seconds
        while True:
            try:
                return action(*arguments)
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                if not error.retriable() or time.monotonic() > deadline:
                    raise self._exception_for(error) from exception
                time.sleep(RETRY_SECONDS)

    def _exception_for(self, error: KafkaError) -> Exception:
        reason = error.str()
        if error.code() in FENCED:
            return PermanentFailure(
                f"Another publisher took over {self._id} at {self._connection.bootstrap_servers}: this one's messages "
                "were dropped. If its forecasts are still needed, publish them again after the other publisher has ended."
            )
        if error.code() in REFUSED:
            return PermanentFailure(
                f"The broker at {self._connection.bootstrap_servers} refuses {self._id}: {reason}. "
                "Check the user's rights, the topic's max.message.bytes and the broker's transaction.max.timeout.ms."
            )
        if error.txn_requires_abort():
            return TransactionAborted(reason)
        if error.retriable() or error.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT):
            return self._connection.unavailable(reason)
        return BrokerUnavailable(
            f"Publishing to {self._connection.bootstrap_servers} failed: {reason}. "
            "Publishing again is safe: visible messages are not sent twice."
        )

    def _require_progress(self, last_progress: float) -> None:
        waited = time.monotonic() - last_progress
        if waited > self._connection.patience_seconds:
            raise self._connection.unavailable(f"it accepted no message for {waited:.0f} s")
