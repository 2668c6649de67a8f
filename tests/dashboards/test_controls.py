"""What the pages keep between two runs of their script."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
import streamlit as st

from ruter_dagster.dashboards.data.words import age_note
from ruter_dagster.dashboards.pages.controls import keep_selected, show_age

TICKED: dict[str, Any] = {"selection": {"rows": [1], "columns": [], "cells": []}}


@pytest.mark.parametrize(
    ("ids", "chosen", "rows"),
    [(["x", "b", "c"], "b", [1]), (["b", "c", "x"], "b", [0]), (["c", "x"], "b", []), (["c", "x"], None, [])],
)
def test_selection_follows_its_journey(
    monkeypatch: pytest.MonkeyPatch, ids: list[str], chosen: str | None, rows: list[int]
) -> None:
    state: dict[str, Any] = {"worst": TICKED}
    monkeypatch.setattr(st, "session_state", state)
    keep_selected("worst", ids, chosen)
    assert state["worst"]["selection"]["rows"] == rows


def test_table_without_a_click_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    state: dict[str, Any] = {}
    monkeypatch.setattr(st, "session_state", state)
    keep_selected("worst", ["a"], "a")
    assert state == {}


@pytest.mark.parametrize(
    ("age", "note"), [(0, ""), (1, ""), (2, "is 2 days old"), (10, "is 10 days old"), (-1, "lies 1 day after today, ")]
)  # fmt: skip
def test_old_data_are_named_with_their_age(age: int, note: str) -> None:
    today = date(2026, 11, 30)
    text = age_note("The newest issue date", today - timedelta(age), today, 1)
    assert (note in text) if note else text == ""


@pytest.mark.parametrize(("demo", "shown"), [(True, "markdown"), (False, "warning")])
def test_demo_is_no_warning(monkeypatch: pytest.MonkeyPatch, demo: bool, shown: str) -> None:
    texts: dict[str, str] = {}
    monkeypatch.setattr(st, "markdown", lambda text: texts.update(markdown=text))
    monkeypatch.setattr(st, "warning", lambda text, icon: texts.update(warning=text))
    show_age("The newest issue date", date(2026, 11, 20), date(2026, 11, 30), 1, demo)
    assert list(texts) == [shown]
