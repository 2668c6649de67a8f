"""Drift becomes one problem for each metric, which is over once a later date is measured ok."""

from __future__ import annotations

from typing import Any

from ruter_dagster.notifications.drift_problems import drift_problems
from ruter_dagster.notifications.incidents import Severity

DAY = "2026-03-29"


def row(metric: str, scope: str, verdict: str, **values: Any) -> dict[str, Any]:
    numbers = {"value": 0.14, "warn": 0.05, "act": 0.1}
    return {"operating_date": DAY, "metric": metric, "scope": scope, "verdict": verdict} | numbers | values


def test_scopes_of_one_metric_are_one_problem() -> None:
    active, over = drift_problems(
        [
            row("bias", "bus", "warn", act=None),
            row("bias", "tram", "act", detail="lines 11, 17"),
            row("bias", "network", "ok"),
        ]
    )
    (problem,) = active
    assert (problem.key, problem.severity) == (("drift", "bias"), Severity.ERROR)
    assert problem.title == f"Drift requires action: bias on {DAY}"
    assert problem.affected == (f"operating date {DAY}", "tram: lines 11, 17", "bus")
    assert problem.details.splitlines() == [
        f"{DAY} bias of tram: 0.14, act (warns at 0.05, acts at 0.1)",
        f"{DAY} bias of bus: 0.14, warn (warns at 0.05, never acts)",
    ]
    assert over == {}


def test_metric_that_is_ok_is_over() -> None:
    active, over = drift_problems([row("bias", "network", "ok"), row("bias", "tram", "unknown")])
    assert (active, over) == ([], {("drift", "bias"): f"measured ok on {DAY}"})


def test_warning_ends_only_when_its_own_scope_is_ok() -> None:
    rows = [row("bias", "network", "ok"), row("bias", "boat", "unknown")]
    assert drift_problems(rows, open_scopes={"bias": ["boat"]}) == ([], {})
    assert drift_problems(rows[:1], open_scopes={"bias": ["boat"]}) == ([], {}), "no boat was measured"
    assert drift_problems(rows, open_scopes={"bias": ["network"]})[1].keys() == {("drift", "bias")}
    (problem,), _ = drift_problems(
        [*rows, row("bias", "tram", "warn")], open_scopes={"bias": ["boat", "network"]}
    )
    assert problem.scopes == ("boat", "tram")


def test_unknown_metric_is_neither_problem_nor_over() -> None:
    assert drift_problems([row("bias", "network", "unknown")]) == ([], {})


def test_change_of_the_timetable_has_a_remedy_of_its_own() -> None:
    (problem,), _ = drift_problems([row("timetable_change", "network", "warn", act=None)])
    assert problem.remedy.startswith("Nothing, if a new timetable was planned")


def test_problem_has_the_title_and_the_name_of_its_metric() -> None:
    ((problem,), _) = drift_problems([row("silent_vehicles", "bus", "warn", act=None)])
    assert problem.title == f"Drift warning: vehicles without passengers on {DAY}"
    assert problem.details.startswith(
        f"{DAY} vehicles without passengers (silent_vehicles) of bus: 0.14, warn"
    )
