"""The jobs `performance` and `scores` on real tables: late counts, final truth, deleted forecasts, a challenger."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.jobs import Performance, Scores
from ruter_dagster.contracts.scores import LINE_SCORES, STOP_SCORES
from ruter_dagster.contracts.tables import (
    CHALLENGER_FORECASTS,
    FORECAST_PERFORMANCE,
    LOAD_FORECASTS,
    STOP_LOADS,
    Table,
)
from ruter_dagster.contracts.validation import conform
from ruter_dagster.forecasting.scores import ratios
from ruter_dagster.storage.snapshots import dates_filter
from ruter_dagster.storage.tables import TableStore
from tests.commands.compared_states import forecasts, loads
from tests.jobs.demo_jobs import context_of, run
from tests.publishing.samples import ISSUE_DATE

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

DAY, NEXT = ISSUE_DATE, ISSUE_DATE + timedelta(1)
FINAL = DAY + timedelta(14)
MONITORING = {"dates": (DAY, NEXT), "of_range": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forecasts and loads of two operating dates, scored."""
    write(tmp_path, LOAD_FORECASTS, forecasts())
    count(tmp_path, DAY, NEXT)
    score(tmp_path)
    return tmp_path


def write(folder: Path, table: Table, frame: pl.DataFrame) -> None:
    days = frame[table.partition].unique().to_list()
    store(folder).write(table, frame, days, code_version="1")


def count(folder: Path, *days: date, factor: float = 0.8) -> None:
    """Writes the loads of dates, with a passed verdict. A date without forecasts has the loads of `DAY`."""
    context = context_of(Performance(dates=()), folder)
    for day in days:
        of_day = loads([day if day in (DAY, NEXT) else DAY], factor).with_columns(service_date=pl.lit(day))
        version = context.store.write(STOP_LOADS, of_day, [day], code_version="1").hashes[day]
        context.verdicts.record(STOP_LOADS, day, version, {"passed": True}, "")


def score(folder: Path, **values: Any) -> None:
    run(Performance(**MONITORING, **values), folder)
    run(Scores(**MONITORING), folder)


def store(folder: Path) -> TableStore:
    return context_of(Performance(dates=()), folder).store


def rows(folder: Path, table: Table, *days: date) -> pl.DataFrame:
    return store(folder).read(table, days)


def test_scores_follow_from_the_stored_rows(folder: Path) -> None:
    performance = rows(folder, FORECAST_PERFORMANCE, DAY, NEXT)
    published = rows(folder, LINE_SCORES, DAY, NEXT).filter(variant="published")
    overall = ratios(published).row(0, named=True)
    assert performance.height > 0 and not performance["is_final"].any()
    assert overall["matched"] == performance.height
    assert overall["wape"] == pytest.approx(
        performance["absolute_error"].sum() / performance["load"].sum()  # pyright: ignore[reportOperatorIssue]
    )
    by_stop = ratios(rows(folder, STOP_SCORES, DAY, NEXT).filter(variant="published"))
    assert_frame_equal(by_stop, ratios(published))


def test_late_counts_change_the_scores_of_their_date_only(folder: Path) -> None:
    before = {day: rows(folder, LINE_SCORES, day) for day in (DAY, NEXT)}
    count(folder, DAY, factor=0.5)
    score(folder)
    assert ratios(rows(folder, LINE_SCORES, DAY), ("variant",)).filter(variant="published")[
        "bias"
    ].item() == pytest.approx(1 / 0.5 - 1)
    assert_frame_equal(rows(folder, LINE_SCORES, NEXT), before[NEXT])
    assert not rows(folder, LINE_SCORES, DAY).equals(before[DAY])


def test_truth_is_final_once_newer_counts_exist(folder: Path) -> None:
    count(folder, FINAL)
    score(folder)
    for table in (FORECAST_PERFORMANCE, LINE_SCORES, STOP_SCORES):
        assert rows(folder, table, DAY)["is_final"].all()
        assert not rows(folder, table, NEXT)["is_final"].any()


def test_counts_that_arrive_before_the_truth_is_final_are_used(folder: Path) -> None:
    count(folder, FINAL)
    count(folder, DAY, factor=0.5)
    score(folder)
    assert_bias(folder, 1 / 0.5 - 1)


def test_counts_after_the_truth_is_final_are_reported_and_not_used(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    count(folder, FINAL)
    score(folder)
    final = {table: rows(folder, table, DAY) for table in (FORECAST_PERFORMANCE, LINE_SCORES, STOP_SCORES)}
    count(folder, DAY, factor=0.5)
    with caplog.at_level(logging.WARNING, "ruter_dagster.jobs"):
        score(folder)
    for table, before in final.items():
        assert_frame_equal(rows(folder, table, DAY), before)
    changed = final[FORECAST_PERFORMANCE].filter(pl.col("load") > 0).unique(("trip_id", "stop_sequence"))
    assert f"{DAY}: the truth is final, and {changed.height} departures have counts" in caplog.text
    assert str(NEXT) not in caplog.text


def test_forced_run_uses_counts_after_the_truth_is_final(folder: Path) -> None:
    count(folder, FINAL)
    score(folder)
    count(folder, DAY, factor=0.5)
    score(folder, force=True)
    assert_bias(folder, 1 / 0.5 - 1)


def test_number_of_days_until_truth_is_final_can_be_set(folder: Path) -> None:
    score(folder, final_days=1)
    assert rows(folder, FORECAST_PERFORMANCE, DAY)["is_final"].all()
    assert not rows(folder, FORECAST_PERFORMANCE, NEXT)["is_final"].any()


def test_scores_outlive_the_deleted_forecasts(folder: Path) -> None:
    count(folder, FINAL)
    score(folder)
    before = {table: rows(folder, table, DAY) for table in (FORECAST_PERFORMANCE, LINE_SCORES, STOP_SCORES)}
    delete_forecasts(folder)
    score(folder, force=True)
    for each, of_day in before.items():
        assert_frame_equal(rows(folder, each, DAY), of_day)


def test_rows_without_finality_outlive_the_deleted_forecasts(folder: Path) -> None:
    """Rows of earlier versions have no `is_final`, also long after the truth was final."""
    stored = rows(folder, FORECAST_PERFORMANCE, DAY).with_columns(is_final=pl.lit(None, pl.Boolean))
    write(folder, FORECAST_PERFORMANCE, stored)
    delete_forecasts(folder)
    count(folder, FINAL)
    score(folder)
    assert_frame_equal(rows(folder, FORECAST_PERFORMANCE, DAY), stored)


def delete_forecasts(folder: Path) -> None:
    table = store(folder).load(LOAD_FORECASTS)
    assert table is not None
    table.delete(dates_filter(LOAD_FORECASTS.partition, store(folder).dates(LOAD_FORECASTS)))


def test_challenger_is_scored_on_the_same_loads(folder: Path) -> None:
    assert "challenger" not in set(rows(folder, LINE_SCORES, DAY)["variant"])
    write(folder, CHALLENGER_FORECASTS, conform(forecasts(factor=0.8), CHALLENGER_FORECASTS))
    score(folder)
    scores = {
        row["variant"]: row
        for row in ratios(rows(folder, LINE_SCORES, DAY), ("variant",)).iter_rows(named=True)
    }
    assert scores["challenger"]["matched"] == scores["published"]["matched"]
    assert scores["challenger"]["wape"] == pytest.approx(0, abs=1e-12)
    assert scores["published"]["wape"] == pytest.approx(0.2 / 0.8)


def assert_bias(folder: Path, expected: float) -> None:
    published = rows(folder, LINE_SCORES, DAY).filter(variant="published")
    assert ratios(published)["bias"].item() == pytest.approx(expected)
