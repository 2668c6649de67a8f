"""An incident is raised once, repeated only if it gets worse, and resolved once."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from ruter_dagster.contracts.alerts import Kind
from ruter_dagster.notifications.incidents import Incidents, Key, Notice, Problem, Severity, update

START = datetime(2026, 3, 29, 6, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY: Key = ("drift", "bias")


def problem(
    severity: Severity = Severity.WARNING, kind: Kind = "drift", subject: str = "bias", **values: object
) -> Problem:
    return Problem.model_validate(
        {"kind": kind, "subject": subject, "severity": severity, "title": "Drift", "since": START} | values
    )


class History:
    """Incidents that are observed once a minute."""

    def __init__(self, quiet: timedelta = timedelta(0)) -> None:
        self.incidents, self.now, self.quiet = Incidents(), START, quiet
        self.notices: list[Notice] = []

    def observe(self, *active: Problem, over: dict[Key, str] | None = None) -> list[str]:
        self.now += MINUTE
        stored = Incidents.model_validate_json(self.incidents.model_dump_json())
        self.incidents, notices = update(stored, active, over or {}, self.now, self.quiet)
        self.notices += notices
        return [notice.action for notice in notices]


def test_incident_is_raised_once_and_resolved_once() -> None:
    history = History()
    assert history.observe(problem()) == ["raised"]
    assert history.observe(problem()) == []
    assert history.observe(over={KEY: "measured ok"}) == ["resolved"]
    assert history.observe(over={KEY: "measured ok"}) == []
    assert history.incidents.open == ()


def test_resolution_states_duration_and_reason() -> None:
    history = History()
    history.observe(problem())
    history.observe(over={KEY: "measured ok"})
    resolved = history.notices[-1]
    assert (resolved.duration, resolved.reason) == (2 * MINUTE, "measured ok")
    assert history.notices[0].duration is None


def test_incident_without_observation_stays_open() -> None:
    history = History()
    history.observe(problem())
    assert history.observe() == []
    assert history.incidents.keys() == {KEY}


def test_only_worse_severity_is_repeated() -> None:
    history = History()
    history.observe(problem())
    assert history.observe(problem(Severity.ERROR)) == ["worse"]
    assert history.observe(problem(Severity.WARNING)) == []
    assert history.observe(problem(Severity.ERROR)) == [], "it was as bad before"


def test_problem_that_returns_within_quiet_time_sends_nothing() -> None:
    history = History(quiet=3 * MINUTE)
    history.observe(problem())
    for _ in range(4):
        assert history.observe(over={KEY: ""}) == []
        assert history.observe(problem()) == []
    assert history.observe(over={KEY: ""}) == []
    assert [history.observe() for _ in range(3)] == [[], [], ["resolved"]]
    assert history.notices[-1].duration == 10 * MINUTE, "the quiet time does not count"


def test_incident_that_returns_after_resolution_is_new() -> None:
    history = History()
    history.observe(problem())
    history.observe(over={KEY: ""})
    assert history.observe(problem()) == ["raised"]
    assert len({notice.incident_id for notice in history.notices}) == 2


def test_incidents_of_other_kind_or_subject_are_separate() -> None:
    history = History()
    others = (problem(), problem(subject="coverage"), problem(kind="backlog"))
    assert history.observe(*others) == ["raised"] * 3
    assert history.observe(*others[1:], over={KEY: ""}) == ["resolved"]
    assert history.incidents.keys() == {("drift", "coverage"), ("backlog", "bias")}


def test_problems_of_one_subject_are_merged() -> None:
    history = History()
    late = problem(details="late", affected=("line 17",), since=START - MINUTE)
    failed = problem(Severity.ERROR, details="failed", affected=("line 31",))
    assert history.observe(late, failed) == ["raised"]
    (notice,) = history.notices
    assert notice.problem.severity is Severity.ERROR
    assert notice.problem.details == "failed\nlate"
    assert notice.problem.affected == ("line 31", "line 17")
    assert notice.problem.since == START - MINUTE


def test_active_problem_is_not_over() -> None:
    history = History()
    history.observe(problem())
    assert history.observe(problem(), over={KEY: ""}) == []


def test_over_without_incident_sends_nothing() -> None:
    assert History().observe(over={KEY: ""}) == []


@pytest.mark.parametrize("seed", range(20))
def test_any_history_has_alternating_raises_and_resolutions(seed: int) -> None:
    """Of each key: raised, then worse at most once, then resolved, and so on. Each notice has an id of its own."""
    chance = random.Random(seed)
    history = History(quiet=chance.choice((0, 2, 5)) * MINUTE)
    for _ in range(300):
        active = [
            problem(chance.choice(tuple(Severity)), subject=subject)
            for subject in "ab"
            if chance.random() < 0.4
        ]
        over: dict[Key, str] = {("drift", subject): "" for subject in "ab" if chance.random() < 0.4}
        history.observe(*active, over=over)
    assert len({notice.id for notice in history.notices}) == len(history.notices)
    for subject in "ab":
        actions = [notice.action for notice in history.notices if notice.problem.subject == subject]
        lives = " ".join(actions).split("resolved")
        assert {life.strip() for life in lives} <= {"raised", "raised worse", ""}
        assert lives.count("") == (actions[-1] == "resolved")
