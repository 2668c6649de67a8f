"""Statuses of an issue date's forecasts: expected, published, late, degraded, recovered. What to send when; no broker here.

| status | sent | by |
| --- | --- | --- |
| expected | when the issue date begins | the sensor `forecast_status` |
| late | when the deadline has passed without a publication | the sensor |
| published, degraded | in the transaction of a publication; degraded if the model failed | the job `publish` |
| recovered | with a publication by the model after `late` or `degraded` | the job, or the sensor if `late` was sent at the same time |

Each status of an issue date and publication is sent once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

Status = Literal["expected", "published", "late", "degraded", "recovered"]
STATUSES: tuple[Status, ...] = get_args(Status)
SCHEMA_VERSION = 1
"""Version of schemas/forecast-status."""
MODEL_FAILED = "The load model failed. The forecasts are the baseline HA4, with source fallback"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class ForecastStatus:
    """One message of the topic of statuses. Times are in UTC; `publication_id` is None before the first publication."""

    issue_date: date
    status: Status
    at: datetime
    expected_by: datetime
    publication_id: str | None = None
    reason: str = ""

    @property
    def key(self) -> str:
        return self.issue_date.isoformat()

    @property
    def status_id(self) -> str:
        """The same issue date, status and publication always have the same id."""
        identity = json.dumps([self.key, self.status, self.publication_id])
        return hashlib.sha256(identity.encode()).hexdigest()[:32]

    def to_json(self) -> str:
        """The value of the message, as the schema describes it."""
        return json.dumps(
            {
                "statusId": self.status_id,
                "schemaVersion": SCHEMA_VERSION,
                "issueDate": self.key,
                "status": self.status,
                "at": self.at.astimezone(UTC).strftime(_TIME),
                "expectedBy": self.expected_by.astimezone(UTC).strftime(_TIME),
                "publicationId": self.publication_id,
                "reason": self.reason,
            }
        )


def status_of(value: bytes) -> ForecastStatus:
    """The status of a message."""
    fields: dict[str, Any] = json.loads(value)
    return ForecastStatus(
        issue_date=date.fromisoformat(fields["issueDate"]),
        status=fields["status"],
        at=datetime.fromisoformat(fields["at"]),
        expected_by=datetime.fromisoformat(fields["expectedBy"]),
        publication_id=fields["publicationId"],
        reason=fields["reason"],
    )


def deadline(issue_date: date, publish_by: str, time_zone: str) -> datetime:
    """The time until which an issue date is to be published, in UTC. `publish_by` is local, HH:MM."""
    local = datetime.combine(issue_date, time.fromisoformat(publish_by), ZoneInfo(time_zone))
    return local.astimezone(UTC)


def due_statuses(
    issue_date: date,
    expected_by: datetime,
    known: Iterable[ForecastStatus],
    publication_ids: Sequence[str],
    now: datetime,
) -> list[ForecastStatus]:
    """The statuses that no publication sends and that are due now, in order.

    `known` are the statuses that were sent, in order, of any issue date. `publication_ids` are the publications of the issue
    date, in order.
    """
    sent = _of_issue_date(issue_date, known)
    states: list[Status] = [status.status for status in sent]

    def new(status: Status, reason: str, publication_id: str | None = None) -> ForecastStatus:
        return ForecastStatus(issue_date, status, now, expected_by, publication_id, reason)

    if publication_ids or _newest_outcome(states):
        if is_complete(issue_date, sent, publication_ids):
            return []
        return [new("recovered", "Published after the deadline", _newest_publication(sent, publication_ids))]
    due = [] if sent else [new("expected", "")]
    if now > expected_by and "late" not in states:
        due.append(new("late", "No forecasts of this issue date were published by the deadline"))
    return due


def is_complete(issue_date: date, known: Iterable[ForecastStatus], publication_ids: Sequence[str]) -> bool:
    """Whether the forecasts of an issue date are published and no status is missing. Arguments: `due_statuses`.

    A publication that reads the topic before `late` is committed sends no `recovered`, in whatever order the two are committed.
    """
    sent = _of_issue_date(issue_date, known)
    outcome = _newest_outcome([status.status for status in sent])
    if not publication_ids and not outcome:
        return False
    if outcome == "degraded" or _open_problem(sent) is None:
        return True
    # Each status of a publication is sent once.
    newest = _newest_publication(sent, publication_ids)
    return any(status.status == "recovered" and status.publication_id == newest for status in sent)


def statuses_of_publication(
    issue_date: date,
    expected_by: datetime,
    known: Iterable[ForecastStatus],
    publication_id: str,
    published_at: datetime,
    failure: str | None = None,
) -> list[ForecastStatus]:
    """The statuses to send in the transaction of a publication, in order.

    `known`: see `due_statuses`. `failure`: why the publication is degraded; None if it is not.
    """
    sent = _of_issue_date(issue_date, known)
    problem = _open_problem(sent)

    def new(status: Status, reason: str = "") -> ForecastStatus:
        return ForecastStatus(issue_date, status, published_at, expected_by, publication_id, reason)

    if failure:
        statuses = [new("degraded", failure)]
    elif problem:
        statuses = [new("published"), new("recovered", f"Published after the status {problem}")]
    else:
        statuses = [new("published")]
    ids = {status.status_id for status in sent}
    return [status for status in statuses if status.status_id not in ids]


def _of_issue_date(issue_date: date, known: Iterable[ForecastStatus]) -> list[ForecastStatus]:
    return [status for status in known if status.issue_date == issue_date]


def _open_problem(sent: Sequence[ForecastStatus]) -> Status | None:
    """The newest of `late` and `degraded` since the last `recovered`; None if there is neither."""
    states: list[Status] = [status.status for status in sent]
    recovered = len(states) - states[::-1].index("recovered") if "recovered" in states else 0
    return next((state for state in reversed(states[recovered:]) if state in ("late", "degraded")), None)


def _newest_outcome(states: Sequence[Status]) -> Status | None:
    """The newest of `published` and `degraded`; None if there is neither."""
    return next((state for state in reversed(states) if state in ("published", "degraded")), None)


def _newest_publication(sent: Sequence[ForecastStatus], publication_ids: Sequence[str]) -> str | None:
    ids = [status.publication_id for status in sent if status.publication_id] + list(publication_ids)
    return ids[-1] if ids else None
