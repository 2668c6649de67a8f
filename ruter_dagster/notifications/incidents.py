"""The life of incidents: raised once, repeated only if they get worse, resolved once.

An incident is identified by its kind and its subject, such as a failed run and its job with its dates. This module does no
input or output and reads no clock. `sensors/alerts.py` detects problems, stores the incidents and sends the notices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Literal

from pydantic import AwareDatetime, BaseModel

from ruter_dagster.contracts.alerts import Kind

Key = tuple[Kind, str]
"""Kind and subject of an incident."""
MAX_DETAIL_LINES = 50
"""Lines of details that problems of one incident may have together."""
Action = Literal["raised", "worse", "resolved"]


class Severity(IntEnum):
    """How urgent a problem is. A higher value is worse."""

    WARNING = 1
    ERROR = 2


class Problem(BaseModel, frozen=True):
    """A problem that is present now.

    `since`: when it began. `affected`: assets, dates, lines or readers, one text each. `details`: error messages or measured
    values. `log`: the last lines that the failed job printed. `links`: text and address of each. `remedy`: what to do.
    `run_ids`: the failed runs that are the problem, if there are any. `scopes`: the modes, or the network, that drift concerns.
    """

    kind: Kind
    subject: str
    severity: Severity
    title: str
    since: AwareDatetime
    affected: tuple[str, ...] = ()
    details: str = ""
    log: str = ""
    links: tuple[tuple[str, str], ...] = ()
    remedy: str = ""
    run_ids: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        return self.kind, self.subject


class Incident(BaseModel, frozen=True):
    """An open incident: its newest problem, its worst severity so far, and since when the problem is over, if it is.

    `notices`: number of notices so far.
    """

    id: str
    problem: Problem
    severity: Severity
    raised_at: AwareDatetime
    notices: int = 1
    over_since: AwareDatetime | None = None
    over_reason: str = ""


class Notice(BaseModel, frozen=True):
    """A message about an incident. `id` is unique, so that a receiver can recognise a repeated delivery.

    `ended_at` and `reason` are set if the incident is resolved: when and why the problem was over.
    """

    id: str
    incident_id: str
    action: Action
    problem: Problem
    at: AwareDatetime
    ended_at: AwareDatetime | None = None
    reason: str = ""

    @property
    def duration(self) -> timedelta | None:
        """Time from the beginning of the problem to its end; None while it lasts."""
        return self.ended_at - self.problem.since if self.ended_at else None


class Incidents(BaseModel, frozen=True):
    """The open incidents, in the order in which they were raised."""

    open: tuple[Incident, ...] = ()

    def keys(self) -> set[Key]:
        return {incident.problem.key for incident in self.open}


def update(
    incidents: Incidents,
    active: Iterable[Problem],
    over: Mapping[Key, str],
    now: datetime,
    quiet: timedelta = timedelta(0),
) -> tuple[Incidents, tuple[Notice, ...]]:
    """The incidents after an observation, and the notices to send.

    Args:
        incidents: The open incidents before.
        active: Problems that are present now. Several of one kind and subject count as one, with the worst severity.
        over: Kind and subject of problems that are over, each with the reason ("" for none). An incident that
            is neither in `active` nor in `over` stays as it is.
        now: Time of the observation, with a time zone.
        quiet: Time for which a problem must be over before its incident is resolved. If it returns earlier, it is the
            same incident, and no notice is sent.

    Returns:
        The open incidents, and a notice for each that was raised, got worse or was resolved.
    """
    problems = _merged(active)
    kept: list[Incident] = []
    notices: list[Notice] = []
    for incident in incidents.open:
        problem = problems.pop(incident.problem.key, None)
        updated, action = _observe(incident, problem, over.get(incident.problem.key), now, quiet)
        if action:
            notices.append(_notice(updated, action, now))
        if action != "resolved":
            kept.append(updated)
    for problem in problems.values():
        incident = Incident(
            id=_incident_id(problem, now), problem=problem, severity=problem.severity, raised_at=now
        )
        kept.append(incident)
        notices.append(_notice(incident, "raised", now))
    return Incidents(open=tuple(kept)), tuple(notices)


def _observe(
    incident: Incident, problem: Problem | None, over_reason: str | None, now: datetime, quiet: timedelta
) -> tuple[Incident, Action | None]:
    """The incident after an observation, and the action of its notice, if one is due."""
    if problem is not None:
        return _continue(incident, problem)
    if over_reason is not None and incident.over_since is None:
        incident = incident.model_copy(update={"over_since": now, "over_reason": over_reason})
    if incident.over_since is not None and now - incident.over_since >= quiet:
        return _counted(incident), "resolved"
    return incident, None


def _continue(incident: Incident, problem: Problem) -> tuple[Incident, Action | None]:
    """The incident with its newest problem. It keeps its first beginning and its worst severity."""
    since = min(incident.problem.since, problem.since)
    updated = incident.model_copy(
        update={
            "problem": problem.model_copy(update={"since": since}),
            "severity": max(incident.severity, problem.severity),
            "over_since": None,
            "over_reason": "",
        }
    )
    if problem.severity > incident.severity:
        return _counted(updated), "worse"
    return updated, None


def _counted(incident: Incident) -> Incident:
    return incident.model_copy(update={"notices": incident.notices + 1})


def _notice(incident: Incident, action: Action, now: datetime) -> Notice:
    is_over = action == "resolved"
    return Notice(
        id=f"{incident.id}-{incident.notices}",
        incident_id=incident.id,
        action=action,
        problem=incident.problem,
        at=now,
        ended_at=incident.over_since if is_over else None,
        reason=incident.over_reason if is_over else "",
    )


def _merged(active: Iterable[Problem]) -> dict[Key, Problem]:
    """One problem of each kind and subject: the worst one, since the earliest, with what all of them affect and link."""
    merged: dict[Key, Problem] = {}
    for problem in active:
        other = merged.get(problem.key)
        merged[problem.key] = problem if other is None else _merge(other, problem)
    return merged


def _merge(first: Problem, second: Problem) -> Problem:
    worst, other = (second, first) if second.severity > first.severity else (first, second)
    details = dict.fromkeys(line for text in (worst.details, other.details) for line in text.splitlines())
    return worst.model_copy(
        update={
            "since": min(first.since, second.since),
            "affected": tuple(dict.fromkeys((*worst.affected, *other.affected))),
            "details": "\n".join(list(details)[:MAX_DETAIL_LINES]),
            "log": worst.log or other.log,
            "links": tuple(dict.fromkeys((*worst.links, *other.links))),
            "run_ids": tuple(dict.fromkeys((*first.run_ids, *second.run_ids))),
        }
    )


def _incident_id(problem: Problem, now: datetime) -> str:
    text = f"{problem.kind} {problem.subject} {now.isoformat()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
