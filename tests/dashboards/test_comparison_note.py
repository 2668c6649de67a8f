"""The note states the verdict first, and ids of the data cannot change its Markdown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from ruter_dagster.dashboards.comparison_note import (
    LINES,
    ComparedState,
    Comparison,
    RunCost,
    comparison_note,
)

DAY = date(2026, 11, 20)
STATE = ComparedState("dev", {"forecasts.load_forecasts": 7, "loads.stop_loads": None}, ["6f1e0c"], None, DAY)
DRIFT_SCHEMA = {
    "metric": pl.String,
    "scope": pl.String,
    "value_this": pl.Float64,
    "verdict_this": pl.String,
    "value_other": pl.Float64,
    "verdict_other": pl.String,
}


def accuracy(low: float | None, high: float | None, **more: Any) -> pl.DataFrame:
    values = {"departures": 1200, "load": 100.0, "error_this": 20.0, "error_other": 21.0, "dates": 8}
    wapes = {"wape_this": 0.2, "wape_other": 0.21, "difference": -0.01, "low": low, "high": high}
    return pl.DataFrame([{"mode": "all", **values, **wapes, **more}])


def change(**more: Any) -> dict[str, Any]:
    return {
        "issue_date": DAY,
        "operating_date": DAY,
        "time": "06:30",
        "scheduled_departure_time": datetime(2026, 11, 20, 5, 30, tzinfo=UTC),
        "line_id": "RUT:Line:31",
        "stop_id": "NSR:Quay:1",
        "mean_this": 31.0,
        "mean_other": 20.5,
        "level_this": "full",
        "level_other": "full",
        **more,
    }


def lines(number: int) -> pl.DataFrame:
    rows = [accuracy(-0.02, 0.0, line_id=f"line-{n}", mode="bus", error_this=21.0 + n) for n in range(number)]
    return pl.concat(rows)


def drift(*rows: tuple[Any, ...]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=DRIFT_SCHEMA, orient="row")


COMPARISON = Comparison(
    this=STATE,
    other=replace(STATE, label="prod", snapshots={"forecasts.load_forecasts": 5}, cost=RunCost(3.5, 2, 14)),
    issue_dates=[DAY],
    only_this=12,
    only_other=0,
    changes=pl.DataFrame(
        {
            "mode": ["all"],
            "departures": [1200],
            "mean_absolute": [1.5],
            "mean": [-0.5],
            "level_changed": [0.125],
        }
    ),
    largest=pl.DataFrame([change()]),
    accuracy=accuracy(-0.02, -0.001),
    by_line=lines(2),
    drift=drift(("skill", "network", 0.2, "ok", 0.2, "ok")),
)


def note(**changed: Any) -> str:
    return comparison_note(replace(COMPARISON, **changed), {"Dagster": "https://dagster.test"})


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.02, -0.001, "dev is more accurate: WAPE 0.2000, prod 0.2100."),
        (0.001, 0.02, "dev is less accurate: "),
        (-0.02, 0.02, "No clear difference in accuracy: "),
        (None, None, "Accuracy has no interval, because only one service date has counted loads: "),
    ],
)
def test_verdict_follows_from_the_interval(low: float | None, high: float | None, verdict: str) -> None:
    assert f"**{verdict}" in note(accuracy=accuracy(low, high))


def test_unknown_interval_is_stated() -> None:
    assert "| -0.0100 | unknown |" in note(accuracy=accuracy(None, None))


def test_note_without_truth_has_no_tables_of_accuracy() -> None:
    text = note(accuracy=COMPARISON.accuracy.clear(), by_line=COMPARISON.by_line.clear())
    assert "Accuracy is unknown" in text
    assert "### Accuracy" not in text
    assert "Accuracy by line" not in text


def test_sections_are_complete() -> None:
    text = note()
    assert "both have forecasts of 1,200 departures; 12 are only in dev." in text
    assert "| all | 1,200 | 1.500 | -0.500 | 12.50% |" in text
    assert "| 2026-11-20 06:30 | 2026-11-20 | `RUT:Line:31` | `NSR:Quay:1` | 20.5 | 31.0 | full |" in text
    assert "- dev: not recorded here\n- prod: 3.50 USD (14 jobs, 2 runs)" in text
    assert (
        "| `forecasts.load_forecasts` | 7 | 5 |\n| `loads.stop_loads` | none | none |\n| models | `6f1e0c` |"
        in text
    )
    assert text.endswith("[Dagster](https://dagster.test)\n")


def test_lines_with_the_largest_change_come_first() -> None:
    text = note(by_line=lines(LINES + 3))
    assert text.index(f"`line-{LINES + 2}`") < text.index("`line-4`")
    assert "Lines with a smaller change that are not shown: 3." in text
    assert "`line-0`" not in text


def test_drift_shows_only_metrics_that_warn_or_act() -> None:
    rows = [
        ("skill", "network", 0.2, "ok", 0.2, "ok"),
        ("bias", "boat", None, "unknown", 0.2, "ok"),
        ("bias", "tram", None, "unknown", None, "unknown"),
        ("coverage", "bus", 0.6, "warn", 0.8, "ok"),
        ("wape", "tram", None, None, 2.0, "act"),
    ]
    text = note(drift=drift(*rows))
    assert "| coverage | bus | warn (0.6) | ok (0.8) |\n| wape | tram | not measured | act (2) |\n\n" in text
    assert "| skill" not in text and "| bias" not in text
    assert (
        "Ok on both sides: 1 metric. Unknown on one of the sides: 2 metrics (dev on 2026-11-20, prod on"
        in text
    )


def test_note_without_drift_says_so() -> None:
    assert "No metric warns or acts.\n\nOk on both sides: 1 metric." in note()
    assert "Neither side has drift metrics" in note(drift=drift())


def test_ids_cannot_change_the_markdown() -> None:
    text = note(largest=pl.DataFrame([change(line_id="a|b`c` @all\n# x", stop_id="<b>")]))
    [row] = [line for line in text.splitlines() if line.startswith("| 2026-11-20 06:30")]
    assert r"| `a\|b'c' @all # x` | `<b>` |" in row
