"""Evaluates IAM policies as AWS documents it: an explicit deny, else an allow, in each of a caller's policies and in the boundary.

Knows the operators of conditions that this project's policies use, and refuses others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

Context = Mapping[str, str]
"""Values of condition keys. A key that is not here is absent from the request."""


@dataclass(frozen=True)
class Statement:
    """One statement; `policy` names the policy that has it."""

    policy: str
    content: Mapping[str, Any]

    @property
    def sid(self) -> str:
        return self.content.get("Sid", "")

    @property
    def allows(self) -> bool:
        return self.content["Effect"] == "Allow"

    @property
    def actions(self) -> list[str]:
        return _list(self.content["Action"])

    @property
    def resources(self) -> list[str]:
        return _list(self.content.get("Resource", []))

    def covers(self, resource: str) -> bool:
        """Whether `Resource` has it, or `NotResource` has it not."""
        if "NotResource" in self.content:
            return not any(_matches(pattern, resource) for pattern in _list(self.content["NotResource"]))
        return any(_matches(pattern, resource) for pattern in self.resources)

    def matches(self, action: str, resource: str, context: Context) -> bool:
        """Whether the statement applies to a request. Each condition must hold, and each key of a condition."""
        return (
            any(_matches(pattern.lower(), action.lower()) for pattern in self.actions)
            and self.covers(resource)
            and all(
                _holds(operator, key, _list(values), context)
                for operator, keys in self.content.get("Condition", {}).items()
                for key, values in keys.items()
            )
        )


def statements(policies: Mapping[str, Mapping[str, Any]]) -> list[Statement]:
    """The statements of policies by name."""
    return [
        Statement(name, content)
        for name, policy in policies.items()
        for content in _list(policy.get("Statement", []))
    ]


def allowed(
    granted: Iterable[Statement],
    action: str,
    resource: str,
    context: Context | None = None,
    boundary: Iterable[Statement] | None = None,
) -> bool:
    """Whether a caller with these statements may call an action on a resource, within a boundary if there is one."""
    keys = {key.lower(): value for key, value in (context or {}).items()}
    own = _verdict(granted, action, resource, keys)
    return own and (boundary is None or _verdict(boundary, action, resource, keys))


def without_resource(policies: Iterable[Statement]) -> Iterator[tuple[Statement, str]]:
    """Allowing statements whose resource is `*`, with each of their actions."""
    for statement in policies:
        if statement.allows and "*" in statement.resources:
            yield from ((statement, action) for action in statement.actions)


def _verdict(granted: Iterable[Statement], action: str, resource: str, context: Context) -> bool:
    applying = [statement for statement in granted if statement.matches(action, resource, context)]
    return bool(applying) and all(statement.allows for statement in applying)


def _holds(operator: str, key: str, values: Sequence[str], context: Context) -> bool:
    """One key of a condition. An absent key fails, except for negated operators, `Null`, `ForAllValues` and `…IfExists`."""
    value = context.get(key.lower())
    if operator == "Null":
        return (value is None) == (values[0] == "true")
    quantifier, _, name = operator.rpartition(":")
    name, if_exists, _ = name.partition("IfExists")
    negated = "Not" in name
    compare = {
        "StringEquals": lambda pattern, text: pattern == text,
        "StringLike": _matches,
        "ArnEquals": _matches,
        "ArnLike": _matches,
        "Bool": lambda pattern, text: pattern == text,
    }[name.replace("Not", "")]
    if value is None:
        return negated or bool(if_exists) or quantifier == "ForAllValues"
    return any(compare(pattern, value) for pattern in values) != negated


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(
        "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern), re.DOTALL
    )


def _matches(pattern: str, text: str) -> bool:
    return _pattern(pattern).fullmatch(text) is not None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
