"""Markers of publications: messages on the topic of publications, each in the transaction of its publication."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from ruter_dagster.publishing.messages import SCHEMA_VERSION

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True)
class Marker:
    """Says that a publication is complete. Fields that version 1 lacks have their defaults. Times are in UTC."""

    publication_id: str
    issue_date: date
    content_hash: str
    schema_version: int
    messages: int
    """Number of messages with a value on each of the two topics."""
    published_at: datetime
    issued_at: datetime | None = None
    snapshot_id: int | None = None
    journeys: int = 0
    """Number of service journeys of the issue date after this publication."""
    calls: int = 0
    tombstones: int = 0
    """Number of messages without a value on each of the two topics."""
    supersedes: str | None = None
    schema_ids: tuple[int | None, ...] = (None, None)
    """Schema ids of the values on load-forecasts and occupancy-forecasts in a Schema Registry; None for plain JSON."""

    def to_json(self) -> str:
        """The value of the message, as schema `publication` describes it."""
        assert self.issued_at is not None
        return json.dumps(
            {
                "schemaVersion": self.schema_version,
                "publicationId": self.publication_id,
                "issueDate": self.issue_date.isoformat(),
                "issuedAt": self.issued_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "publishedAt": self.published_at.astimezone(UTC).strftime(_TIME),
                "contentHash": self.content_hash,
                "snapshotId": None if self.snapshot_id is None else str(self.snapshot_id),
                "journeys": self.journeys,
                "calls": self.calls,
                "messages": self.messages,
                "tombstones": self.tombstones,
                "supersedes": self.supersedes,
                "loadForecastSchemaId": self.schema_ids[0],
                "occupancyForecastSchemaId": self.schema_ids[1],
            }
        )


def marker_of(value: bytes, sent_at: datetime) -> Marker:
    """The marker of a message. `sent_at` is Kafka's time of the message, for markers of version 1."""
    fields: dict[str, Any] = json.loads(value)
    snapshot_id = fields.get("snapshotId")
    return Marker(
        publication_id=fields["publicationId"],
        issue_date=date.fromisoformat(fields["issueDate"]),
        content_hash=fields["contentHash"],
        schema_version=fields["schemaVersion"],
        messages=fields["messages"],
        published_at=_time(fields.get("publishedAt")) or sent_at,
        issued_at=_time(fields.get("issuedAt")),
        snapshot_id=None if snapshot_id is None else int(snapshot_id),
        journeys=fields.get("journeys", 0),
        calls=fields.get("calls", 0),
        tombstones=fields.get("tombstones", 0),
        supersedes=fields.get("supersedes"),
        schema_ids=(fields.get("loadForecastSchemaId"), fields.get("occupancyForecastSchemaId")),
    )


def newest_marker(markers: Iterable[Marker]) -> Marker | None:
    """The marker of what consumers read now: the last one of the newest issue date. None before the first publication.

    `markers` are in the order of their messages. Those of another schema version have messages with other keys: left out.
    """
    newest: Marker | None = None
    for marker in markers:
        if marker.schema_version == SCHEMA_VERSION and (
            newest is None or marker.issue_date >= newest.issue_date
        ):
            newest = marker
    return newest


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
