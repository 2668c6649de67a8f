"""The table of states is what docs/states.md draws, and no other change is possible."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dagster_sagemaker.states import MAY_EXIST, NEXT, Machine, State

PAGE = (Path(__file__).parents[1] / "docs/states.md").read_text()
ENDS = {State.SUCCEEDED, State.FAILED, State.STOPPED, State.LEFT}


def state(word: str) -> State:
    return State(word.replace("_", " "))


def drawn_groups() -> dict[str, set[State]]:
    """The states inside each group of the diagram, those of inner groups too."""
    groups: dict[str, set[State]] = {}
    opened: list[str] = []
    for line in PAGE.partition("```mermaid")[2].partition("```")[0].splitlines():
        if group := re.match(r"\s*state .* as (\w+) \{", line):
            opened.append(group[1])
            groups[group[1]] = set()
        elif line.strip() == "}":
            opened.pop()
        elif opened:
            for name in opened:
                groups[name].add(state(line.strip()))
    return groups


def drawn_changes() -> set[tuple[State, State]]:
    groups = drawn_groups()
    arrows = re.findall(r"^ +(\w+) --> (\w+)", PAGE, re.M)
    return {(start, state(end)) for name, end in arrows for start in groups.get(name) or {state(name)}}


def test_diagram_draws_every_change_and_no_other() -> None:
    assert drawn_changes() == {(start, end) for start, ends in NEXT.items() for end in ends}


def test_diagram_shows_where_a_job_may_exist() -> None:
    assert drawn_groups() == {"supervised": set(State) - ENDS, "job": set(MAY_EXIST)}


def test_page_explains_every_state() -> None:
    assert re.findall(r"^\| ([\w ]+) \| [A-Z]", PAGE, re.M) == [entry.value for entry in State]


def test_other_changes_are_refused() -> None:
    for start in State:
        for end in set(State) - NEXT.get(start, frozenset()) - {start}:
            machine = Machine()
            machine.state = start
            with pytest.raises(RuntimeError, match="cannot go from"):
                machine.enter(end)
            assert machine.state is start


def test_ended_jobs_have_no_next_state() -> None:
    assert set(State) - set(NEXT) == ENDS
