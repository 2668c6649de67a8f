"""What the pages keep between two runs of their script."""

from __future__ import annotations

from typing import Any

import pytest
import streamlit as st

from ruter_dagster.dashboards.pages.controls import keep_selected

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
