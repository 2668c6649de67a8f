"""Checks the rows of a table: polars measures, Great Expectations compares with the bounds and renders Data Docs.

Reading tables and recording verdicts belongs in the job check_quality. The import of Great Expectations takes 3 s, so that
one process checks all tables of a run.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import polars as pl

from ruter_dagster.config.operator import RejectLimits
from ruter_dagster.contracts.tables import Table
from ruter_dagster.quality.data_docs import data_docs
from ruter_dagster.quality.measures import checks_within, measure
from ruter_dagster.quality.rejects import tables_of_rejects
from ruter_dagster.quality.report import CheckResult, QualityReport, verdicts_of
from ruter_dagster.quality.suites import failed_dates, validate


def check_table(
    table: Table,
    frame: pl.DataFrame,
    dates: Collection[date],
    *,
    reference: pl.DataFrame | None = None,
    plan: pl.DataFrame | None = None,
    earlier_stops: pl.Series | None = None,
    earlier_vehicles: pl.DataFrame | None = None,
    rejected: pl.DataFrame | None = None,
    limits: RejectLimits | None = None,
) -> QualityReport:
    """Runs every check of a table on `frame`, the rows of `dates`.

    - `reference`: `profile(table, …)` of other dates. A date is compared with the same weekday of the eight weeks before it;
      earlier dates of `dates` are included.
    - `plan`: the planned departures of the dates (service_date, trip_id, stop_id).
    - `earlier_stops`: the stop points of the weeks before, for dates without a plan.
    - `earlier_vehicles`: `QualityReport.vehicles` of the dates before.
    - `rejected`: the rejected rows of the dates (contract `raw.rejected_visits`). Their share is checked and shown.
    - `limits`: the operator's limits; None uses the default limits.

    A check whose input is missing or too small passes as not judged. A wrong column, or a row outside `dates`, fails every
    date; any other fault fails only its own date.

    Raises:
        BadInput: values do not fit the contract's types.
        RuntimeError: Great Expectations could not evaluate an expectation. There is no verdict then.
    """
    days, limits = tuple(sorted(dates)), limits or RejectLimits()  # pyright: ignore[reportCallIssue]
    checks = checks_within(table, limits)
    measures = measure(table, frame, days, reference, plan, earlier_stops, earlier_vehicles, rejected, limits)
    validation = validate(table, measures.by_date, checks)
    failed = failed_dates(validation)
    results = tuple(
        CheckResult(
            check=check,
            measures=dict(zip(days, measures.by_date[check.name], strict=True)),
            failed_dates=failed[check.name],
            examples=tuple(measures.examples(check.name, failed[check.name])),
        )
        for check in checks
    )
    verdicts = verdicts_of(results, days)
    html = data_docs(table, validation, results, verdicts, tables_of_rejects(rejected))
    return QualityReport(table.name, results, verdicts, measures.profile, html, measures.vehicles)
