"""Receives EventBridge events from an SQS queue. Reactions to events belong in the callers.

SQS delivers an event at least once and in any order. An event can also be lost, so callers must poll as well.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

log = logging.getLogger("ruter_dagster.aws")
BATCH_SIZE = 10
"""Most messages that SQS returns or deletes in one call."""


@dataclass(frozen=True)
class Event:
    """One event. `kind` is its detail-type, such as `Object Created`; `receipt` is SQS's handle for deleting it."""

    kind: str
    detail: dict[str, Any]
    receipt: str


class EventQueue:
    """An SQS queue. An event that is received but not deleted is delivered again after its visibility timeout."""

    def __init__(self, url: str, sqs: Any) -> None:
        self.url, self._sqs = url, sqs

    def receive(self, limit: int = BATCH_SIZE) -> list[Event]:
        """Up to `limit` events that are in the queue now, without waiting."""
        events: list[Event] = []
        while len(events) < limit:
            response = self._sqs.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=min(BATCH_SIZE, limit - len(events)), WaitTimeSeconds=0
            )
            messages = response.get("Messages", [])
            events += [event for event in map(_parse_event, messages) if event]
            if not messages:
                break
        return events

    def delete(self, events: Sequence[Event]) -> None:
        """Deletes events. Call it only after they were handled, so that a failure loses none."""
        for start in range(0, len(events), BATCH_SIZE):
            batch = events[start : start + BATCH_SIZE]
            entries = [
                {"Id": str(number), "ReceiptHandle": event.receipt} for number, event in enumerate(batch)
            ]
            self._sqs.delete_message_batch(QueueUrl=self.url, Entries=entries)


def _parse_event(message: dict[str, Any]) -> Event | None:
    """The event in a message; None if it holds none. Such a message stays, until SQS moves it to the dead-letter queue."""
    try:
        body = json.loads(message["Body"])
        return Event(str(body["detail-type"]), dict(body["detail"]), message["ReceiptHandle"])
    except (ValueError, KeyError, TypeError) as error:
        log.warning("SQS message %s is not an EventBridge event: %s", message.get("MessageId"), error)
        return None
