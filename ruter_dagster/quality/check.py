"""Checks a table's rows on its dates: measured by polars, judged by its Great Expectations suite, shown as Data Docs.

Frames in, a report out: reading tables and recording verdicts is the job's. Importing it loads Great Expectations (3 s),
so one process checks all tables of a run.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import polars as pl

from ruter_dagster.config.operator import RejectLimits
from ruter_dagster.contracts.tables import Table
from ruter_dagster.quality.data_docs import data_docs
from ruter_dagster.quality.measures import checks_within, measure
from ruter_dagster.quality.rejects import set_aside
from ruter_dagster.quality.report import CheckResult, QualityReport, verdicts_of
from ruter_dagster.quality.suites import failed_dates, validate


def check_table(
    table: Table,
    frame: pl.DataFrame,
    dates: Collection[date],
    *,
    reference: pl.DataFrame | None = None,
    plan: pl.DataFrame | None = None,
    former_stops: pl.Series | None = None,
    former_vehicles: pl.DataFrame | None = None,
    rejected: pl.DataFrame | None = None,
    limits: RejectLimits | None = None,
) -> QualityReport:
    """Run every check of a table on `frame`, the rows of `dates`.

    `reference` is `profile(table, …)` of other dates, stacked: a date is compared with its weekday in the eight weeks
    before it, earlier ones of `dates` included. `plan` is the planned departures of the same dates (service_date,
    trip_id, stop_id); `former_stops` are the stop points of the weeks before, for dates that have no plan;
    `former_vehicles` is `vehicle_counts` of the dates before (`QualityReport.vehicles`), stacked. Where they are missing, or
    too little is known, the checks that need them pass as not judged. `rejected` are the rows of the dates that were set
    aside (contract `raw.rejected_visits`): their share is checked, and the page shows them. `limits` are the operator's (the usual
    ones where None): visits at unknown stops block a date beyond them.

    A faulty column, or a row outside `dates`, condemns every date; any other fault its own date alone.

    Raises:
        BadInput: values that do not fit the contract's types.
        RuntimeError: Great Expectations could not evaluate an expectation, which is no verdict on the data.
    """
    days, limits = tuple(sorted(dates)), limits or RejectLimits()  # pyright: ignore[reportCallIssue]
    checks = checks_within(table, limits)
    measured = measure(table, frame, days, reference, plan, former_stops, former_vehicles, rejected, limits)
    validation = validate(table, measured.by_date, checks)
    failed = failed_dates(validation)
    results = tuple(
        CheckResult(
            check=check,
            measures=dict(zip(days, measured.by_date[check.name], strict=True)),
            failed_dates=failed[check.name],
            examples=tuple(measured.examples(check.name, failed[check.name])),
        )
        for check in checks
    )
    verdicts = verdicts_of(results, days)
    html = data_docs(table, validation, results, verdicts, set_aside(rejected))
    return QualityReport(table.name, results, verdicts, measured.profile, html, measured.vehicles)
