"""What the pages keep between two runs of their script."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
import streamlit as st

from ruter_dagster.dashboards.data.words import age_note
from ruter_dagster.dashboards.pages.controls import csv_file_name, csv_rows, keep_selected, show_age

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


def test_csv_has_labels_ids_and_both_ends_of_the_interval() -> None:
    column = st.column_config.Column
    columns = {"time": column("Time"), "interval": column("P10-P90"), "above_seats": column("Above seats")}
    row = {
        "time": "08:16", "interval": "10-12", "p10": 9.87654321, "p90": 12.0, "above_seats": 12.6, "prob_above_seats": 0.126,
        "operating_date": date(2026, 11, 19), "line_id": "RUT:Line:21", "trip_id": "t", "stop_id": "s", "slot_hour": 8,
    }  # fmt: skip
    assert csv_rows(pl.DataFrame([row]), columns).to_dicts() == [
        {
            "Time": "08:16", "P10": 9.8765, "P90": 12.0, "Above seats": 0.126, "operating_date": date(2026, 11, 19),
            "line_id": "RUT:Line:21", "trip_id": "t", "stop_id": "s",
        }
    ]  # fmt: skip


def test_csv_files_of_different_views_have_different_names() -> None:
    name = csv_file_name("stops", ["2026-11-19", "21 Nydalen–Tjuvholmen (bus)", "?"])
    assert name == "stops-2026-11-19-21-Nydalen-Tjuvholmen-bus.csv"
    assert len(csv_file_name("stops", ["x" * 200])) == 104
