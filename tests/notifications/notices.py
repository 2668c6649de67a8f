"""Notices of one incident, for tests of channels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ruter_dagster.notifications.incidents import Action, Notice, Problem, Severity

START = datetime(2026, 3, 29, 4, 30, tzinfo=UTC)
PROBLEM = Problem(
    kind="run_failure",
    subject="counts 2026-03-29",
    severity=Severity.ERROR,
    title="Run failed: counts 2026-03-29",
    since=START,
    affected=("loads/stop_loads", "forecasts of 2026-03-30"),
    details="No space left on device\nasked for 3 & got <2>",
    log="reading\nwriting",
    links=(("Run 1a2b3c4d", "http://dagster.test/runs/1a2b3c4d"), ("Report", "s3://bucket/report.html")),
    remedy="`ruter-dagster retry 1a2b3c4d`",
)


def notice(action: Action = "raised", incident: str = "abc", number: int = 1, **values: Any) -> Notice:
    """A notice of the problem, with other values of the problem. A resolution is after 2 h 10 min."""
    is_over = action == "resolved"
    return Notice(
        id=f"{incident}-{number}",
        incident_id=incident,
        action=action,
        problem=PROBLEM.model_copy(update=values),
        at=START + timedelta(hours=3),
        ended_at=START + timedelta(hours=2, minutes=10) if is_over else None,
        reason="counts 2026-03-29 succeeded" if is_over else "",
    )
