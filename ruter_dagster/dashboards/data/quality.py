"""Data of the page Data quality: the verdicts on checked tables, and the visits that were rejected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

import polars as pl

from ruter_dagster.contracts.checks import CHECKED_TABLES
from ruter_dagster.contracts.tables import STOP_VISITS, Table
from ruter_dagster.dashboards.engine import Reader
from ruter_dagster.dashboards.queries import REJECTED_BY_REASON

VerdictsOf = Callable[[Table, Mapping[date, str]], Mapping[date, Mapping[str, Any]]]
"""The recorded verdicts on versions of a table's dates, as `storage/verdicts.py` has them."""

FAILED, WARNED, UNCHECKED, PASSED = "failed", "warning", "not checked", "passed"
SEVERITY = {FAILED: 0, UNCHECKED: 1, WARNED: 2, PASSED: 3}
_SCHEMA = {
    "table": pl.String, "date": pl.Date, "verdict": pl.String, "checks": pl.String, "report": pl.String,
}  # fmt: skip


def checked_dates(reader: Reader) -> list[date]:
    """The dates of all checked tables, in order."""
    return sorted({day for table in CHECKED_TABLES for day in reader.dates(table)})


def period_of_checks(reader: Reader, days: int) -> tuple[date, date]:
    """`days` days that end with the newest date of the visits, and all later dates, which the plan has. Some table has rows.

    Without visits, the days end with the newest date of any checked table.
    """
    checked = checked_dates(reader)
    newest = max(reader.dates(STOP_VISITS), default=checked[-1])
    return newest - timedelta(days - 1), checked[-1]


def verdicts(reader: Reader, recorded: VerdictsOf, first: date, last: date) -> pl.DataFrame:
    """One row per table and date from `first` to `last`: the verdict on its present rows, the most severe first.

    `checks` has the checks that failed or warned, `report` the address of the report's file. Both are null without any.
    """
    rows = [row for table in CHECKED_TABLES for row in _of_table(reader, table, recorded, first, last)]
    frame = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    severity = pl.col("verdict").replace_strict(SEVERITY, return_dtype=pl.Int32)
    return frame.sort(severity, pl.col("date"), pl.col("table"), descending=[False, True, False])


def with_report_pages(frame: pl.DataFrame, page_of: Callable[[str], str | None]) -> pl.DataFrame:
    """The verdicts with `report_page`, the address of the report for browsers, and `report` without the scheme of a local file."""
    pages = [report and page_of(report) for report in frame["report"]]
    return frame.with_columns(
        pl.Series("report_page", pages, pl.String), pl.col("report").str.strip_prefix("file://")
    )


def verdicts_sentence(frame: pl.DataFrame) -> str:
    """How many dates of tables may not be read, in one sentence of Markdown."""
    if frame.is_empty():
        return "No table has rows in this period."
    counts = dict(frame.group_by("verdict").len().iter_rows())
    refused = counts.get(FAILED, 0) + counts.get(UNCHECKED, 0)
    tables = frame["table"].n_unique()
    checked = f"{frame.height} dates of {tables} table{'' if tables == 1 else 's'}"
    warned = f"; {counts[WARNED]} have warnings" if WARNED in counts else ""
    if not refused:
        return f"**All passed**: {checked}{warned}."
    worst = frame.row(0, named=True)
    example = f"{worst['table']} of {worst['date']} ({worst['checks'] or worst['verdict']})"
    return f"**{refused} of {checked} are refused to every reader**{warned}. The newest: {example}."


def rejected(reader: Reader, first: date, last: date) -> pl.DataFrame:
    """The rejected visits by date and reason, the newest date first."""
    return reader.run(REJECTED_BY_REASON, first=first, last=last)


def rejected_by_date(frame: pl.DataFrame) -> pl.DataFrame:
    """The rejected visits by date: columns operating_date, visits."""
    return (
        frame.group_by(pl.col("service_date").alias("operating_date"))
        .agg(pl.col("visits").sum())
        .sort("operating_date")
    )


def rejected_sentence(frame: pl.DataFrame) -> str:
    """How many visits were rejected, why most of them, and which dates are blocked."""
    if frame.is_empty():
        return "No visit was rejected in this period."
    by_reason = frame.group_by("reason").agg(pl.col("visits").sum()).sort("visits", "reason", descending=True)
    reason, visits = by_reason.row(0)
    blocked = frame.filter(pl.col("blocked") == 1)["service_date"].unique().sort()
    dates = f" Blocked: {', '.join(map(str, blocked))}." if len(blocked) else ""
    return f"{frame['visits'].sum():,} visits were rejected, {visits:,} of them because of: {reason}.{dates}"


def _of_table(
    reader: Reader, table: Table, recorded: VerdictsOf, first: date, last: date
) -> list[tuple[str, date, str, str | None, str | None]]:
    days = [day for day in reader.dates(table) if first <= day <= last]
    versions = {day: version for day in days if (version := reader.version(table, day))}
    found = recorded(table, versions)
    return [(table.name, day, *_verdict(found.get(day))) for day in days]


def _verdict(found: Mapping[str, Any] | None) -> tuple[str, str | None, str | None]:
    """The verdict in a word, the names of its checks, and the report."""
    if found is None:
        return UNCHECKED, None, None
    failed, warned = found.get("failed", ()), found.get("warned", ())
    word = FAILED if not found["passed"] else WARNED if warned else PASSED
    return word, ", ".join([*failed, *warned]) or None, found.get("report")
