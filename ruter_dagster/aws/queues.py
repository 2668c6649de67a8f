"""EventBridge's events out of an SQS queue. What follows from an event belongs to whoever reads them.

SQS delivers at least once and in any order, and an event may be lost on the way: nobody may rely on one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

log = logging.getLogger("ruter_dagster.aws")
AT_ONCE = 10
"""What SQS gives, and takes back, in one call."""


@dataclass(frozen=True)
class Event:
    """`kind` is EventBridge's detail-type, `Object Created` say; `receipt` is for deleting it."""

    kind: str
    detail: dict[str, Any]
    receipt: str


class EventQueue:
    """A queue by its URL, and a client of SQS. What is received and not deleted comes again once its visibility timeout is over."""

    def __init__(self, url: str, sqs: Any) -> None:
        self.url, self._sqs = url, sqs

    def receive(self, most: int = AT_ONCE) -> list[Event]:
        """Up to so many events that are there now; returns at once."""
        events: list[Event] = []
        while len(events) < most:
            answer = self._sqs.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=min(AT_ONCE, most - len(events)), WaitTimeSeconds=0
            )
            messages = answer.get("Messages", [])
            events += [event for event in map(_event, messages) if event]
            if not messages:
                break
        return events

    def delete(self, events: Sequence[Event]) -> None:
        """After they were handled, not before: what is not deleted is not lost."""
        for start in range(0, len(events), AT_ONCE):
            part = events[start : start + AT_ONCE]
            entries = [
                {"Id": str(number), "ReceiptHandle": event.receipt} for number, event in enumerate(part)
            ]
            self._sqs.delete_message_batch(QueueUrl=self.url, Entries=entries)


def _event(message: dict[str, Any]) -> Event | None:
    """None for what is no event: it is left in the queue, which hands it to its dead-letter queue in the end."""
    try:
        body = json.loads(message["Body"])
        return Event(str(body["detail-type"]), dict(body["detail"]), message["ReceiptHandle"])
    except (ValueError, KeyError, TypeError) as error:
        log.warning("A message of %s is no event: %s", message.get("MessageId"), error)
        return None
