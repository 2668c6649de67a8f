"""The charts of the page Skill and drift."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from ruter_dagster.contracts.drift import DRIFT_METRICS
from ruter_dagster.dashboards.data.skill import BEYOND, _threshold, newest_verdicts, scopes, unknown_sentence
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


def test_scope_of_the_worst_verdict_is_first() -> None:
    quiet = [("tram", "ok"), ("network", "unknown"), ("network", "ok"), ("boat", "unknown")]
    assert scopes(measured(quiet))[0] == "network"
    assert scopes(measured([*quiet, ("tram", "warn")])) == [BEYOND, "tram", "network", "boat"]


def test_measures_beyond_a_threshold_are_shown_together() -> None:
    rows = measured([("tram", "ok"), ("tram", "warn"), ("network", "act"), ("bus", "unknown")])
    beyond = newest_verdicts(rows, BEYOND)
    assert beyond.select("scope", "verdict").rows() == [("network", "act"), ("tram", "warn")]


def test_metrics_have_different_titles_and_what_they_need() -> None:
    titles = [metric.title for metric in DRIFT_METRICS]
    assert len(set(titles)) == len(titles) and all(titles) and all(metric.needs for metric in DRIFT_METRICS)
    assert not any("_" in title or len(title) > 40 for title in titles)


def test_unknown_verdict_is_explained() -> None:
    rows = pl.DataFrame(
        {"metric": ["bias", "jensen_shannon"], "title": ["Bias", "D"], "verdict": ["unknown", "ok"]}
    )
    assert unknown_sentence(rows).endswith("*Bias* needs 5 of the 7 dates up to this one.")
    assert unknown_sentence(rows.filter(verdict="ok")) == ""


def measured(verdicts: list[tuple[str, str]]) -> pl.DataFrame:
    rows = pl.DataFrame(verdicts, schema=["scope", "verdict"], orient="row")
    return rows.with_columns(operating_date=pl.lit(date(2026, 11, 20)), metric=pl.lit("bias"))


def test_thresholds_state_their_side() -> None:
    rows = pl.DataFrame({"metric": ["counted_share", "trip_gaps", "bias"], "warn": [0.8, 0.25, 0.1], "act": [None, None, 0.15]})  # fmt: skip
    shown = rows.select(warns=_threshold("warn"), acts=_threshold("act"))
    assert shown["warns"].to_list() == ["below 0.8", "above 0.25", "beyond ±0.1"]
    assert shown["acts"].to_list() == [None, None, "beyond ±0.15"]
