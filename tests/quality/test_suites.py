"""Suites run every declared check, and the page loads nothing from other hosts."""

from __future__ import annotations

import os
import re
import tempfile
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.contracts.checks import CHECKED_TABLES, CHECKS
from ruter_dagster.contracts.tables import STOP_VISITS, Table
from ruter_dagster.contracts.validation import empty_frame
from ruter_dagster.quality.check import check_table
from ruter_dagster.quality.suites import failed_dates, suite_of, validate
from tests.quality.frames import DAY, change, visits

EACH_TABLE = pytest.mark.parametrize("table", CHECKED_TABLES, ids=lambda table: table.name)


@EACH_TABLE
def test_every_declared_check_has_a_result(table: Table) -> None:
    declared = [check.name for check in CHECKS[table.name]]

    assert [
        expectation.column for expectation in suite_of(table, CHECKS[table.name]).expectations
    ] == declared
    assert [result.name for result in check_table(table, empty_frame(table), [DAY]).results] == declared


@EACH_TABLE
def test_every_blocking_check_is_measured(table: Table) -> None:
    """A check without a measure would always pass."""
    report = check_table(table, empty_frame(table), [DAY])
    unmeasured = {
        result.name
        for result in report.results
        if result.severity == "ERROR" and result.measures[DAY] is None
    }

    assert unmeasured <= {"few_visits_at_unknown_stops"}, "this check needs a timetable"


@EACH_TABLE
def test_every_check_fails_outside_its_bounds(table: Table) -> None:
    days = [DAY, DAY + timedelta(days=1)]
    out = {check.name: [check.minimum or 0, (check.minimum or 0) - 1] for check in CHECKS[table.name]}
    out |= {
        check.name: [check.maximum, check.maximum + 1]
        for check in CHECKS[table.name]
        if check.maximum is not None
    }

    measures = pl.DataFrame({"date": days, **out}, strict=False)
    failed = failed_dates(validate(table, measures, CHECKS[table.name]))

    assert failed == {check.name: frozenset(days[1:]) for check in CHECKS[table.name]}


def test_expectation_that_cannot_be_evaluated_is_an_error() -> None:
    measures = pl.DataFrame({"date": [DAY], "rows_present": [1.0]})

    with pytest.raises(RuntimeError, match="Great Expectations could not evaluate columns_as_contracted"):
        failed_dates(validate(STOP_VISITS, measures, CHECKS[STOP_VISITS.name]))


def test_page_is_complete_and_escapes_values() -> None:
    frame = change(visits(DAY), "mode", "<script>alert(1)</script>")
    html = check_table(STOP_VISITS, frame, [DAY]).html

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert not re.search(r"<(script|link|img|iframe)\b|url\(|@import|https?://", html)
    assert all(f'<section id="{check.name}">' in html for check in CHECKS[STOP_VISITS.name])


def test_check_writes_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    written = set()
    monkeypatch.setattr(os, "mkdir", lambda path, *_, **__: written.add(path))

    check_table(STOP_VISITS, visits(DAY), [DAY])

    assert (written, list(tmp_path.rglob("*"))) == (set(), [])
