"""Rejected rows block a date, warn, or are shown in the report."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from ruter_dagster.config.operator import RejectLimits
from ruter_dagster.contracts.tables import STOP_VISITS
from ruter_dagster.quality.check import check_table
from ruter_dagster.quality.rejects import (
    RejectSummary,
    blocked_dates,
    rejects_by_reason,
    tables_of_rejects,
)
from tests.quality.frames import DAY, rejected_rows, visits

LIMITS = RejectLimits.model_validate({})
NEXT = DAY + timedelta(1)


def on_line(rejected: pl.DataFrame, line: str) -> pl.DataFrame:
    return rejected.with_columns(line_id=pl.lit(line))


@pytest.mark.parametrize(
    ("journeys", "rows", "blocked"),
    [(40, 4, False), (40, 5, True), (20, 3, True), (2, 2, False), (1, 0, False)],
    ids=["just below the limit", "above it", "three trips", "two trips", "none"],
)
def test_date_beyond_its_limit_is_blocked(journeys: int, rows: int, blocked: bool) -> None:
    blocked_days = blocked_dates(visits(DAY, journeys=journeys), rejected_rows(DAY, rows), LIMITS)
    assert set(blocked_days) == ({DAY} if blocked else set())


def test_share_is_of_all_rows_of_the_date() -> None:
    blocked_days = blocked_dates(visits(DAY), rejected_rows(DAY, 25), LIMITS)
    blocked = blocked_days[DAY]
    assert (blocked.rows, blocked.rejected, blocked.share) == (125, 25, 0.2)


def test_visit_kept_without_counts_is_counted_once() -> None:
    rejected = rejected_rows(DAY, 25).with_columns(kept_without_counts=pl.lit(True))
    assert blocked_dates(visits(DAY), rejected, LIMITS)[DAY].rows == 100


def test_line_without_other_rows_has_a_share() -> None:
    """Visits are kept without counts and have another line than their rejected rows."""
    rejected = on_line(rejected_rows(DAY, 3), "4").with_columns(kept_without_counts=pl.lit(True))
    blocked = blocked_dates(visits(DAY, journeys=400), rejected, LIMITS)[DAY]
    assert (blocked.rows, blocked.rejected, blocked.share) == (3, 3, 1.0)


def test_date_is_blocked_beyond_the_limit_of_a_line() -> None:
    network = visits(DAY, journeys=400)
    of_line_4 = visits(DAY, journeys=2).with_columns(line_id=pl.lit("4"))
    kept = pl.concat([network, of_line_4])
    assert not blocked_dates(kept, on_line(rejected_rows(DAY, 2), "4"), LIMITS)
    blocked = blocked_dates(kept, on_line(rejected_rows(DAY, 3), "4"), LIMITS)[DAY]
    assert (
        "23.1% of its rows of line_id 4 were rejected (3 of 13 rows), the limit is 20.0%" in blocked.message
    )
    assert "share_of_line" in blocked.message


def test_vehicle_type_is_mode_and_capacity() -> None:
    network = visits(DAY, journeys=400)
    others = visits(DAY, journeys=2).with_columns(total_capacity=pl.lit(60, pl.Int32))
    rejected = rejected_rows(DAY, 3).with_columns(vehicle_type=pl.lit("metro of 60 places"))
    blocked = blocked_dates(pl.concat([network, others]), rejected, LIMITS)[DAY]
    assert "of its rows of vehicle_type metro of 60 places were rejected" in blocked.message


def test_only_the_date_beyond_the_limit_is_blocked() -> None:
    kept = visits(DAY, NEXT, journeys=40)
    rejected = pl.concat([rejected_rows(DAY, 4), rejected_rows(NEXT, 5)])
    assert list(blocked_dates(kept, rejected, LIMITS)) == [NEXT]


def test_limits_come_from_the_operator() -> None:
    strict = RejectLimits.model_validate({"share_of_date": 0, "least_trips": 1})
    generous = RejectLimits.model_validate(
        {"share_of_date": 1, "share_of_line": 1, "share_of_vehicle_type": 1}
    )
    assert set(blocked_dates(visits(DAY), rejected_rows(DAY, 1), strict)) == {DAY}
    assert not blocked_dates(visits(DAY), rejected_rows(DAY, 90), generous)


@pytest.mark.parametrize(("rows", "warned"), [(0, ()), (1, ()), (2, ("few_rejected_rows",))])
def test_share_of_rejected_rows_warns(rows: int, warned: tuple[str, ...]) -> None:
    """Of 240 rows, 1 is 0.4 % and 2 are 0.8 %."""
    report = check_table(STOP_VISITS, visits(DAY, journeys=48), [DAY], rejected=rejected_rows(DAY, rows))
    assert report.verdicts[DAY].warned == warned
    assert report.passed
    assert "few_rejected_rows" not in report.verdicts[DAY].not_judged


def test_report_shows_reasons_vehicles_lines_and_examples() -> None:
    rejected = pl.concat(
        [rejected_rows(DAY, 3), on_line(rejected_rows(DAY, 1, "stop_id has <no> value"), "4")]
    )
    report = check_table(STOP_VISITS, visits(DAY), [DAY], rejected=rejected)
    for cell in (
        "boardings is below 0</td><td>3",
        "stop_id has &lt;no&gt; value</td><td>1",
        "train-2</td><td>2",
        "4</td><td>1",
    ):
        assert cell in report.html.replace("\n", "")
    assert "{&#34;boarding_1&#34;:&#34;-1&#34;}" in report.html
    assert "reason=boardings is below 0, rows=3" in report.message


def test_report_without_rejects_has_no_tables_of_them() -> None:
    report = check_table(STOP_VISITS, visits(DAY), [DAY], rejected=rejected_rows(DAY, 0))
    assert "Rejected rows" not in report.html


def test_summary_of_parts_equals_that_of_all_rows() -> None:
    parts = [
        rejected_rows(NEXT, 3),
        rejected_rows(DAY, 1),
        rejected_rows(DAY, 0),
        rejected_rows(NEXT, 2, "stop_id has no value"),
    ]
    summary = RejectSummary()
    for part in parts:
        summary.add(part)
    rejected = pl.concat(parts)
    assert summary.by_reason() == rejects_by_reason(rejected)
    assert summary.examples() == tables_of_rejects(rejected)["examples"]
    assert [example["service_date"] for example in summary.examples()] == [str(DAY), str(NEXT)]


def test_summary_without_rows_is_empty() -> None:
    assert (RejectSummary().by_reason(), RejectSummary().examples()) == ({}, [])
