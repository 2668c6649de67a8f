"""Progress of a command in a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ruter_dagster.commands.progress import track


def test_log_has_lines_while_items_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(100, 200, 30))
    monkeypatch.setattr("ruter_dagster.commands.progress.time.monotonic", lambda: next(seconds))
    output = io.StringIO()
    items = track("ab", "Training", 2, Console(file=output))
    assert next(items) == "a"
    assert output.getvalue().splitlines() == ["Training: 0 of 2"]
    assert list(items) == ["b"]
    assert output.getvalue().splitlines()[1:] == ["Training: 1 of 2, 30 s", "Training: 2 of 2, 60 s"]


def test_log_has_about_ten_lines() -> None:
    output = io.StringIO()
    assert list(track(range(95), "Reading", 95, Console(file=output))) == list(range(95))
    lines = output.getvalue().splitlines()
    assert len(lines) == 12
    assert lines[-1].startswith("Reading: 95 of 95, ")


def test_terminal_has_a_bar() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=80)
    assert list(track("abc", "Training", 3, console)) == ["a", "b", "c"]
    assert "100%" in output.getvalue()
    assert "of 3" not in output.getvalue()
