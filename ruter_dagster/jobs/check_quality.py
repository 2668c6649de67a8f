"""Checks the rows of a table on dates, writes the report and records a verdict for each date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from io import BytesIO
from typing import Any

import polars as pl

from ruter_dagster.contracts.checks import CHECKED_TABLES, compared_with_plan
from ruter_dagster.contracts.date_windows import USUAL_WEEKS
from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.jobs import CheckQuality, quality_asset_of
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, REJECTED_VISITS, STOP_VISITS, Table
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.input_tables import Verdict
from ruter_dagster.jobs.pipes import DateReport, json_value, link, table
from ruter_dagster.quality.check import check_table
from ruter_dagster.quality.rejects import tables_of_rejects
from ruter_dagster.quality.report import QualityReport, profiles_of
from ruter_dagster.quality.vehicle_counts import earlier_dates

TABLES = {table.name: table for table in CHECKED_TABLES}
_TABLES_WITH_STOPS: tuple[tuple[Table, Verdict], ...] = (
    (PLANNED_DEPARTURES, "ignore"),
    (STOP_VISITS, "skip"),
)


def run(parameters: CheckQuality, context: JobContext) -> None:
    checked = TABLES[parameters.table]
    versions = context.tables.versions(
        checked, parameters.dates, missing=parameters.missing, verdict="ignore"
    )
    dates = list(versions)
    frame = context.tables.read(checked, dates, verdict="ignore")
    plan = _plan(checked, dates, context)
    rejected = _rejected(checked, dates, context)
    report = check_table(
        checked,
        frame,
        dates,
        reference=_earlier_profiles(checked, dates, context),
        plan=plan,
        earlier_stops=_earlier_stops(checked, dates, plan, context),
        earlier_vehicles=_earlier_vehicles(checked, dates, context),
        rejected=rejected,
        limits=context.operator.rejects,
    )
    _write_vehicles(report.vehicles, versions, context)
    page = _write_page(checked, dates, report, context)
    for day, version in versions.items():
        context.verdicts.record(checked, day, version, report.summary(day), page)
    _report_checks(report, page, context)
    rows = dict(frame.group_by(checked.partition).len().iter_rows())
    _report_dates(rows, report, page, versions, rejected, context)


def _earlier_profiles(checked: Table, dates: Sequence[date], context: JobContext) -> pl.DataFrame | None:
    """Profiles of the weeks before, from their recorded verdicts."""
    earlier = day_range(dates[0] - timedelta(weeks=USUAL_WEEKS), dates[0] - timedelta(1))
    return profiles_of(
        context.verdicts.summaries(checked, context.tables.snapshot(checked).versions(earlier))
    )


def _plan(checked: Table, dates: Sequence[date], context: JobContext) -> pl.DataFrame | None:
    if not compared_with_plan(checked):
        return None
    columns = ["service_date", "trip_id", "stop_id"]
    plan = context.tables.read(PLANNED_DEPARTURES, dates, columns, missing="skip", verdict="ignore")
    return None if plan.is_empty() else plan


def _rejected(checked: Table, dates: Sequence[date], context: JobContext) -> pl.DataFrame | None:
    """Rejected rows of the dates. Those of a blocked date are left out, because its stored rows are older."""
    if checked is not STOP_VISITS:
        return None
    return context.tables.read(
        REJECTED_VISITS, dates, missing="skip", verdict="ignore", where=~pl.col("date_blocked")
    )


def _earlier_stops(
    checked: Table, dates: Sequence[date], plan: pl.DataFrame | None, context: JobContext
) -> pl.Series | None:
    """Stop points of the weeks before, from the plans or else the visits; None if each date has a plan of its own."""
    if checked is not STOP_VISITS or (plan is not None and set(dates) <= set(plan["service_date"])):
        return None
    earlier = day_range(dates[0] - timedelta(weeks=USUAL_WEEKS), dates[0] - timedelta(1))
    weeks = [earlier[start : start + 7] for start in range(0, len(earlier), 7)]
    for input_table, verdict in _TABLES_WITH_STOPS:
        parts = (
            context.tables.read(input_table, week, ["stop_id"], missing="skip", verdict=verdict).unique()
            for week in weeks
        )
        stops = pl.concat(parts)["stop_id"].unique()
        if not stops.is_empty():
            return stops
    return None


def _earlier_vehicles(checked: Table, dates: Sequence[date], context: JobContext) -> pl.DataFrame | None:
    """`vehicle_counts` of the dates before, which their checks have stored."""
    if checked is not STOP_VISITS:
        return None
    versions = context.tables.snapshot(checked).versions(earlier_dates(list(dates)))
    files = context.artifacts.find_all(_vehicles_key(day, version) for day, version in versions.items())
    return pl.concat(map(pl.read_parquet, files.values())) if files else None


def _write_vehicles(vehicles: pl.DataFrame, versions: dict[date, str], context: JobContext) -> None:
    for day, version in versions.items():
        of_date = vehicles.filter(pl.col("date") == day)
        if not of_date.is_empty():
            file = BytesIO()
            of_date.write_parquet(file)
            context.artifacts.put(_vehicles_key(day, version), file.getvalue())


def _vehicles_key(day: date, version: str) -> str:
    return f"quality/vehicles/{day}/{version}.parquet"


def _write_page(checked: Table, dates: Sequence[date], report: QualityReport, context: JobContext) -> str:
    name = f"{dates[0]}" if len(dates) == 1 else f"{dates[0]}_to_{dates[-1]}"
    key = f"quality/reports/{checked.name}/{name}.html"
    context.artifacts.put(key, report.html.encode())
    return context.artifacts.uri(key)


def _report_links(page: str, context: JobContext) -> dict[str, Any]:
    """Links to the report's file or object, and to its page while `ruter-dagster dev` runs."""
    address = context.settings.report_page(page.rpartition("/artifacts/")[2])
    return {"report": link(page)} | ({"report_page": link(address)} if address else {})


def _report_checks(report: QualityReport, page: str, context: JobContext) -> None:
    """The result of each check."""
    for result in report.results:
        context.report.checked(
            quality_asset_of(report.table),
            result.name,
            result.passed,
            result.severity,
            judged=result.judged,
            observed=result.observed,
            expected=result.expected,
            measured=result.measured,
            minimum=result.check.minimum,
            maximum=result.check.maximum,
            examples=table([_texts(row) for row in result.examples]),
            **_report_links(page, context),
        )


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    """The values of an example as text, numbers with at most four decimals."""
    return {name: str(round(value, 4) if isinstance(value, float) else value) for name, value in row.items()}


def _report_dates(
    rows: Mapping[date, int],
    report: QualityReport,
    page: str,
    versions: Mapping[date, str],
    rejected: pl.DataFrame | None,
    context: JobContext,
) -> None:
    """Reports the materialisation of the quality asset, with verdict, rows and measures of each date."""
    failed = [day.isoformat() for day, verdict in report.verdicts.items() if not verdict.passed]
    context.report.materialised(
        quality_asset_of(report.table),
        dates={
            day: DateReport(
                rows.get(day, 0),
                f"{version}-{'passed' if report.verdicts[day].passed else 'failed'}",
                _measures(report, day),
            )
            for day, version in versions.items()
        },
        passed=report.passed,
        **_report_links(page, context),
        checks=_overview(report),
        **{
            f"rejected_by_{name}" if name != "examples" else "rejected_examples": table(rows)
            for name, rows in tables_of_rejects(rejected).items()
        },
        dates_failed=json_value(failed),
        **context.provenance(),
    )


def _measures(report: QualityReport, day: date) -> dict[str, float | None]:
    """Shares and ratios of a date, for plots. Counts of faulty rows are left out, because they are usually zero."""
    return {
        result.name: result.measures[day]
        for result in report.results
        if not result.check.counts_faults and result.name != "rows_present"
    }


def _overview(report: QualityReport) -> dict[str, Any] | None:
    return table(
        [
            {
                "check": result.name,
                "severity": result.severity,
                "result": result.outcome,
                "observed": result.observed,
                "expected": result.expected,
            }
            for result in report.results
        ]
    )
