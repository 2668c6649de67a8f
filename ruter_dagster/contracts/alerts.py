"""Kinds of incidents. `notifications/incidents.py` describes the life of an incident, `docs/alerts.md` each kind."""

from __future__ import annotations

from typing import Literal, get_args

Kind = Literal[
    "run_failure",
    "blocking_check",
    "drift",
    "late_data",
    "missed_freshness",
    "backlog",
    "failed_publication",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
