"""The text of a notice, the same for every channel: what, since when, who is affected, the log, and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Literal

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from ruter_dagster.notifications.incidents import Notice, Problem

MAX_AFFECTED = 10
"""Lines of what is affected that a message shows."""
_PREFIXES = {"raised": "", "worse": "Worse: ", "resolved": "Resolved: "}
_CREDENTIALS = re.compile(r"(?<=://)[^\s:@/?#\"'<>]*:[^\s@?#\"'<>]+(?=@)")
"""User and password of an address. The password may have a slash, the user may be empty."""
_NAMES = (
    r"password|passwd|pwd|passphrase|secret|token|credential|signature|api[_-]?key|access[_-]?key|private[_-]?key|authorization"
    r"|user[._]info|sasl[._]jaas[._]config"
)
_QUOTED = re.compile(
    rf"(?i)\b([\w.-]*(?:{_NAMES})[\w.-]*[\"']?\s*[=:]\s*)(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"
)
_ASSIGNMENT = re.compile(
    rf"(?i)\b([\w.-]*(?:{_NAMES})[\w.-]*[\"']?\s*[=:]\s*)(?:(?:bearer|basic)\s+)?(?!\(hidden\))[^\s,;&\"']+"
)
_KEYS = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bxox[abeoprs]-[\w-]+|\b(?:gh[opsru]_|github_pat_|glpat-)[\w-]{16,}"
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]*"
)
"""Keys of AWS, tokens of Slack, GitHub and GitLab, and JSON web tokens."""
_PEM = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL)
_HIDDEN = "(hidden)"


@dataclass(frozen=True)
class Part:
    """A part of a message. `style`: plain text, quoted lines, or lines of a log in a fixed-width font."""

    heading: str
    text: str
    style: Literal["text", "quote", "code"] = "text"


@dataclass(frozen=True)
class Message:
    """The parts of a message without empty ones. `footer`: environment, kind and id of the incident."""

    title: str
    parts: tuple[Part, ...]
    links: tuple[tuple[str, str], ...]
    footer: str


def message_of(notice: Notice, environment: str, zone: tzinfo) -> Message:
    """The message of a notice. Times are local times of `zone`."""
    problem = notice.problem
    parts = _end_parts(notice, zone) if notice.action == "resolved" else _problem_parts(problem, zone)
    return Message(
        title=_PREFIXES[notice.action] + problem.title,
        parts=tuple(part for part in parts if part.text),
        links=problem.links,
        footer=f"{environment} · {problem.kind} · incident {notice.incident_id}",
    )


def _problem_parts(problem: Problem, zone: tzinfo) -> tuple[Part, ...]:
    affected = list(problem.affected[:MAX_AFFECTED])
    if more := len(problem.affected) - len(affected):
        affected.append(f"and {more} more")
    return (
        Part("Since", _local(problem.since, zone)),
        Part("Affected", "\n".join(affected)),
        Part("Details", problem.details, "quote"),
        Part("Last lines of the log", problem.log, "code"),
        Part("What to do", problem.remedy),
    )


def _end_parts(notice: Notice, zone: tzinfo) -> tuple[Part, ...]:
    lasted = describe_duration(notice.duration or timedelta(0))
    since, until = _local(notice.problem.since, zone), _local(notice.ended_at or notice.at, zone)
    return Part("Lasted", f"{lasted}, from {since} to {until}"), Part("Why it is over", notice.reason)


def plain_text(message: Message) -> str:
    """The message as plain text, for e-mail."""
    paragraphs = [message.title]
    paragraphs += [f"{part.heading}:\n{_indented(part.text)}" for part in message.parts]
    if message.links:
        paragraphs.append("\n".join(f"{text}: {address}" for text, address in message.links))
    return "\n\n".join([*paragraphs, f"-- \n{message.footer}\n"])


def describe_duration(duration: timedelta) -> str:
    """A duration in its two largest units, such as `2 h 10 min`."""
    seconds = max(0, round(duration.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def hide_secrets(text: str, settings: BaseSettings) -> str:
    """The text without the secrets of the settings, and without what looks like a password, a token or a key."""
    values = (getattr(settings, name) for name in type(settings).model_fields)
    for value in values:
        if isinstance(value, SecretStr) and value.get_secret_value():
            text = text.replace(value.get_secret_value(), _HIDDEN)
    text = _CREDENTIALS.sub(_HIDDEN, _PEM.sub(_HIDDEN, text))
    text = _ASSIGNMENT.sub(rf"\1{_HIDDEN}", _QUOTED.sub(rf"\1{_HIDDEN}", text))
    return _KEYS.sub(_HIDDEN, text)


def without_secrets(problem: Problem, settings: BaseSettings) -> Problem:
    """The problem with the secrets of its texts hidden, so that it can be stored and sent."""

    def hide(text: str) -> str:
        return hide_secrets(text, settings)

    return problem.model_copy(
        update={
            "title": hide(problem.title),
            "affected": tuple(map(hide, problem.affected)),
            "details": hide(problem.details),
            "log": hide(problem.log),
            "links": tuple((hide(text), hide(address)) for text, address in problem.links),
            "remedy": hide(problem.remedy),
        }
    )


def _local(time: datetime, zone: tzinfo) -> str:
    return time.astimezone(zone).strftime("%Y-%m-%d %H:%M %Z")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
