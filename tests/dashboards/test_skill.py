"""The charts of the page Skill and drift."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from ruter_dagster.dashboards.pages import skill


def test_single_days_are_shown_without_thresholds_of_a_week(monkeypatch: pytest.MonkeyPatch) -> None:
    charts: dict[str, Any] = {}
    monkeypatch.setattr(skill, "show_chart", lambda chart, key, description: charts.update({key: chart}))
    scores = pl.DataFrame(
        {"operating_date": [date(2026, 11, 20)], "skill_against_ha4": [0.1], "wape": [0.3], "coverage": [0.8]}
    )
    skill._show_scores(scores)
    assert "skill_against_ha4" in str(charts["skill"].to_dict())
    assert "threshold" not in str(charts["skill"].to_dict())
