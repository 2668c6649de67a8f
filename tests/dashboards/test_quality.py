"""Data of the page Data quality: verdicts as they are recorded, and rejected visits."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from benchmarks.dashboard import ISSUE_DATE
from ruter_dagster.contracts.features import DEPARTURE_FEATURES
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS
from ruter_dagster.dashboards.data import quality
from ruter_dagster.dashboards.engine import TableReader
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.verdicts import Verdicts
from tests.dashboards.state import OBSERVED, YESTERDAY

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")
PLAN = PLANNED_DEPARTURES.name


@pytest.fixture
def verdicts(tmp_path: Path) -> Verdicts:
    return Verdicts(ArtifactStore.at(str(tmp_path)))


def record(verdicts: Verdicts, reader: TableReader, day: date, **summary: object) -> None:
    version = reader.version(PLANNED_DEPARTURES, day)
    assert version is not None
    verdicts.record(PLANNED_DEPARTURES, day, version, {"warned": [], "failed": [], **summary}, "report.html")


def verdict_rows(verdicts: Verdicts, reader: TableReader) -> pl.DataFrame:
    days = reader.dates(PLANNED_DEPARTURES)
    return quality.verdicts(reader, verdicts.by_date, days[0], days[-1]).filter(table=PLAN)


def test_rows_without_verdict_are_refused(verdicts: Verdicts, reader: TableReader) -> None:
    rows = verdict_rows(verdicts, reader)
    assert set(rows["verdict"]) == {quality.UNCHECKED}
    assert "are refused to every reader" in quality.verdicts_sentence(rows)


def test_failed_date_comes_first_with_its_checks(verdicts: Verdicts, reader: TableReader) -> None:
    days = reader.dates(PLANNED_DEPARTURES)
    for day in days:
        record(verdicts, reader, day, passed=True)
    record(verdicts, reader, days[0], passed=False, failed=["enough_rows"], warned=["usual_share"])
    rows = verdict_rows(verdicts, reader)
    assert rows.row(0) == (PLAN, days[0], quality.FAILED, "enough_rows, usual_share", "report.html")
    assert set(rows["verdict"][1:]) == {quality.PASSED}
    sentence = quality.verdicts_sentence(rows)
    assert sentence.startswith(f"**1 of {len(days)} dates of 1 table are refused")
    assert f"{PLAN} of {days[0]} (enough_rows, usual_share)" in sentence


def test_passed_dates_with_warnings_are_named(verdicts: Verdicts, reader: TableReader) -> None:
    days = reader.dates(PLANNED_DEPARTURES)
    for day in days:
        record(verdicts, reader, day, passed=True, warned=["usual_share"] if day == days[-1] else [])
    rows = verdict_rows(verdicts, reader)
    assert rows["verdict"][0] == quality.WARNED
    expected = f"**All passed**: {len(days)} dates of 1 table; 1 have warnings."
    assert quality.verdicts_sentence(rows) == expected


def test_report_has_a_page_or_a_path() -> None:
    rows = pl.DataFrame({"report": ["file:///state/artifacts/a.html", None]})
    without = quality.with_report_pages(rows, lambda report: None)
    assert without.rows() == [("/state/artifacts/a.html", None), (None, None)]
    pages = quality.with_report_pages(rows, lambda report: f"http://reports/{report[-6:]}")
    assert pages["report_page"].to_list() == ["http://reports/a.html", None]


def test_table_without_rows_has_no_verdict(verdicts: Verdicts, reader: TableReader) -> None:
    rows = quality.verdicts(reader, verdicts.by_date, OBSERVED[0], ISSUE_DATE)
    assert DEPARTURE_FEATURES.name not in set(rows["table"])


def test_period_ends_with_the_newest_visits_and_keeps_the_plan(
    reader: TableReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    dates = reader.dates
    monkeypatch.setattr(reader, "dates", lambda table: OBSERVED if table == STOP_VISITS else dates(table))
    first, last = quality.period_of_checks(reader, 7)
    assert first == YESTERDAY - timedelta(6)
    assert last == dates(PLANNED_DEPARTURES)[-1] > YESTERDAY


def test_rejected_visits_are_counted_by_reason(reader: TableReader) -> None:
    rows = quality.rejected(reader, OBSERVED[0], YESTERDAY)
    assert rows.rows() == [(YESTERDAY, "negative counts", 2, 1, 0), (YESTERDAY, "unknown stop", 1, 0, 0)]
    assert quality.rejected_by_date(rows).rows() == [(YESTERDAY, 3)]
    expected = "3 visits were rejected, 2 of them because of: negative counts."
    assert quality.rejected_sentence(rows) == expected
    assert quality.rejected_sentence(rows.with_columns(blocked=1)).endswith(f"Blocked: {YESTERDAY}.")
    assert quality.rejected_sentence(rows.clear()) == "No visit was rejected in this period."
