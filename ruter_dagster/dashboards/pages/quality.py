"""The page Data quality: verdicts on tables, results of checks, and rejected visits."""

from __future__ import annotations

from datetime import date

import streamlit as st

from ruter_dagster.contracts.checks import CHECKED_TABLES
from ruter_dagster.dashboards.data import quality as data
from ruter_dagster.dashboards.pages.charts import lines_over_days, show_chart
from ruter_dagster.dashboards.pages.controls import (
    filter_row,
    nothing_to_show,
    optional_filter,
    period_filter,
    show_table,
)
from ruter_dagster.dashboards.pages.page import Context, DashboardPage

_REPORTS = (
    "The file of the report. Links open reports if `RUTER_REPORTS_URL` is set, as `ruter-dagster dev` does"
)


def show(context: Context) -> None:
    st.title("Data quality: which data are refused?")
    if not data.checked_dates(context.reader):
        nothing_to_show("No table has rows yet.", "Run `ruter-dagster demo`, or materialise `raw/stop_visits` and `quality/stop_visits`.")  # fmt: skip
        return
    with filter_row():
        days = period_filter()
        table = optional_filter("Table", "table", [table.name for table in CHECKED_TABLES], width=260)
    first, last = data.period_of_checks(context.reader, days)
    _show_verdicts(context, first, last, table)
    _show_rejected(context, first, last)


def _show_verdicts(context: Context, first: date, last: date, table: str | None) -> None:
    st.subheader("Verdicts")
    if context.sources.verdicts is None:
        nothing_to_show("The verdicts of this state cannot be read.", "Start the dashboard with its settings.")  # fmt: skip
        return
    rows = data.verdicts(context.reader, context.sources.verdicts, first, last)
    rows = data.with_report_pages(rows.filter(table=table) if table else rows, context.sources.report_page)
    st.markdown(data.verdicts_sentence(rows))
    text = st.column_config.TextColumn
    columns = {
        "verdict": text("Verdict", width=80),
        "table": text("Table", width=190),
        "date": st.column_config.DateColumn("Date", width=95),
        "checks": text("Checks that failed or warn", width=310),
    }
    if rows["report_page"].is_null().all():
        columns["report"] = text("Report", width="large", help=_REPORTS)
    else:
        columns["report_page"] = st.column_config.LinkColumn("Report", display_text="open", width="small")
    show_table(rows, columns, key="verdicts", file="verdicts", alt="Verdicts by table and date, the most severe first")  # fmt: skip


def _show_rejected(context: Context, first: date, last: date) -> None:
    st.subheader("Rejected visits")
    rows = data.rejected(context.reader, first, last)
    st.markdown(data.rejected_sentence(rows))
    if rows.is_empty():
        return
    chart = lines_over_days(data.rejected_by_date(rows), "visits", "Rejected visits", percent=False)
    show_chart(chart, "rejected-chart", "Rejected visits by operating date")
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    columns = {
        "service_date": st.column_config.DateColumn("Operating date", width="small"),
        "reason": text("Reason", width="large"),
        "visits": number("Visits", format="localized"),
        "kept_without_counts": number("Kept without counts", format="localized", help="In the table, but without their counts"),
    }  # fmt: skip
    show_table(rows, columns, key="rejected", file="rejected-visits", alt="Rejected visits by date and reason")  # fmt: skip
    st.markdown("Each row with its file and line: `ruter-dagster rejected DATE`.")


PAGE = DashboardPage("Data quality", "data-quality", ":material/fact_check:", show)
