"""Modes and lines whose forecasts fail are named, and those that are as usual are not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks.dashboard import write
from ruter_dagster.contracts.scores import LINE_SCORES, PUBLISHED, SUMS
from ruter_dagster.dashboards.data import skill
from ruter_dagster.dashboards.data.exceptions import (
    MIN_DATES,
    Failing,
    failing_on,
    far_from_usual,
    listed,
    unusual_sentence,
)
from ruter_dagster.dashboards.data.words import Names
from ruter_dagster.dashboards.engine import Engine, TableReader
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")
DAY = date(2026, 11, 19)
LINES = {"T:Line:11": "tram", "T:Line:12": "tram", "B:Line:20": "bus", "B:Line:21": "bus", "B:Line:22": "bus"}
TRAMS = {"T:Line:11": 0.9, "T:Line:12": 0.8}


def scores_of(day: date, wape: Mapping[str, float], of_ha4: Mapping[str, float]) -> pl.DataFrame:
    """Scores of a date: 1,000 departures of each line with 10 passengers, and twice as many forecast if the WAPE is high."""
    sums: dict[str, Any] = {column.name: 0 for column in SUMS} | {"departures": 1000, "matched": 1000}
    rows = [
        sums
        | {
            "operating_date": day, "variant": PUBLISHED, "horizon_days": 1, "mode": mode, "line_id": line, "direction_id": 0, "peak": "midday",
            "load": 10_000.0, "mean": 10_000.0 * (2 if wape.get(line, 0.3) > 0.5 else 1), "absolute_error": 10_000 * wape.get(line, 0.3),
            "absolute_error_with_ha4": 10_000 * wape.get(line, 0.3), "absolute_error_of_ha4": 10_000 * of_ha4.get(line, 0.4), "is_final": False,
        }
        for line, mode in LINES.items()
    ]  # fmt: skip
    return pl.DataFrame(rows)


def reader_of(
    folder: Path, wape: Mapping[str, float], of_ha4: Mapping[str, float] | None = None, days: int = MIN_DATES
) -> TableReader:
    """Scores of `days` usual dates, whose WAPE varies a little, and of `DAY`."""
    store = TableStore(local_catalog(folder))
    for before in range(days, 0, -1):
        usual = dict.fromkeys(LINES, 0.3 + 0.01 * (before % 2))
        write(store, LINE_SCORES, scores_of(DAY - timedelta(before), usual, of_ha4 or {}), DAY - timedelta(before))  # fmt: skip
    write(store, LINE_SCORES, scores_of(DAY, wape, of_ha4 or {}), DAY)
    return Engine(store).reader()


def unusual(reader: TableReader, mode: str | None = None) -> list[Failing]:
    return failing_on(far_from_usual(reader, DAY, 1), Names(), mode)


def answer(reader: TableReader) -> str:
    first = DAY - timedelta(27)
    score = skill.period_score(reader, first, DAY, 1, None)
    return skill.skill_sentence(score, 1, skill.failing(reader, first, score, 1, lambda day: Names(), None))


def test_mode_is_named_if_its_lines_fail(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, TRAMS)
    (failing,) = unusual(reader)
    assert failing.label == "trams"
    assert failing.how == "WAPE 85%, usually 30%, fewer passengers than forecast"
    assert unusual_sentence([failing]) == f"Far worse than usual: **trams** ({failing.how})."
    assert unusual(reader, "bus") == []


def test_line_is_named_if_its_mode_is_as_usual(tmp_path: Path) -> None:
    assert [one.label for one in unusual(reader_of(tmp_path, {"B:Line:21": 0.9}))] == ["line 21"]


def test_part_of_a_mode_is_counted(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, {"B:Line:21": 0.9, "B:Line:20": 0.9})
    assert [one.label for one in unusual(reader)] == ["2 of 3 bus lines"]


def test_usual_errors_name_nothing(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, {"T:Line:11": 0.4})
    assert unusual(reader) == [] and unusual_sentence([]) == ""
    assert answer(reader).startswith("**Yes**: ")


def test_few_dates_are_not_judged(tmp_path: Path) -> None:
    assert unusual(reader_of(tmp_path, TRAMS, days=MIN_DATES - 1)) == []


def test_answer_excepts_a_mode_that_failed_on_the_newest_date(tmp_path: Path) -> None:
    sentence = answer(reader_of(tmp_path, TRAMS))
    assert sentence.startswith("**Yes, except for trams**: the model's errors are **")
    assert f"Trams: WAPE 85%, usually 30%, fewer passengers than forecast on {DAY}." in sentence


@pytest.mark.parametrize(
    ("of_ha4", "exception"),
    [({"T:Line:11": 0.25, "T:Line:12": 0.30}, "trams"), ({"B:Line:21": 0.25}, "line 21")],
)
def test_answer_excepts_what_the_mean_of_four_weeks_forecasts_better(
    tmp_path: Path, of_ha4: dict[str, float], exception: str
) -> None:
    sentence = answer(reader_of(tmp_path, {}, of_ha4))
    assert sentence.startswith(f"**Yes, except for {exception}**")
    assert "larger than those of the mean of four weeks." in sentence


def test_many_failing_lines_are_counted() -> None:
    failing = [Failing(f"line {number}", "") for number in range(5)]
    assert listed(failing) == "line 0, line 1, line 2 and 2 more"
    assert listed(failing[:2]) == "line 0 and line 1"
    assert listed(failing[:1]) == "line 0"
