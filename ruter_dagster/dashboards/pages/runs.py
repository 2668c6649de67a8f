"""The page Runs and cost: which runs failed, how long runs take, and what their jobs cost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import streamlit as st

from ruter_dagster.dashboards.data import runs as data
from ruter_dagster.dashboards.data.words import escaped
from ruter_dagster.dashboards.pages.charts import lines_over_days, show_chart
from ruter_dagster.dashboards.pages.controls import (
    filter_row,
    nothing_to_show,
    optional_filter,
    period_filter,
    show_table,
)
from ruter_dagster.dashboards.pages.page import Context, DashboardPage

ReadRuns = Callable[[date, date], pl.DataFrame]
HISTORY_SECONDS = 60
"""Seconds for which the history of runs is kept: reading it takes seconds."""


def show(context: Context) -> None:
    st.title("Runs and cost: what ran, and what did it cost?")
    if context.sources.runs is None:
        nothing_to_show("This state has no history of runs.", "Run `ruter-dagster demo` first, or open it with the settings of its Dagster instance.")  # fmt: skip
        return
    row = filter_row()
    with row:
        days = period_filter()
    today = datetime.now(UTC).astimezone(ZoneInfo(context.time_zone)).date()
    runs = _runs(context.sources.runs, context.sources.state, today - timedelta(days - 1), today)
    with row:
        job = optional_filter("Job", "job", sorted(runs["job"].unique()), width=260)
        status = optional_filter("Result", "result", sorted(runs["status"].unique()))
    shown = _filtered(runs, job, status)
    st.markdown(data.runs_sentence(shown))
    if note := data.cut_off_note(runs):
        st.warning(note, icon=":material/warning:")
    if reason := data.newest_failure(shown):
        st.markdown(f"Why it failed: {escaped(reason)}")
    if shown.height:
        _show_runs(shown, context.time_zone)
        _show_days(shown, context.time_zone)


@st.cache_data(ttl=HISTORY_SECONDS, max_entries=10, show_spinner=False)
def _runs(_read: ReadRuns, state: str, first: date, last: date) -> pl.DataFrame:
    return _read(first, last)


def _filtered(runs: pl.DataFrame, job: str | None, status: str | None) -> pl.DataFrame:
    runs = runs.filter(pl.col("job") == job) if job else runs
    return runs.filter(pl.col("status") == status) if status else runs


def _show_runs(runs: pl.DataFrame, time_zone: str) -> None:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    columns = {
        "started": st.column_config.DatetimeColumn("Started", format="YYYY-MM-DD HH:mm", width=130),
        "job": text("Job", width=200),
        "dates": text("Dates", width=170),
        "status": text("Result", width=80),
        "minutes": number("Minutes", format="%.1f", width=65),
        "reason": text("Why it failed", width=270),
        "address": st.column_config.LinkColumn("In Dagster", display_text="open", width=80),
    }
    if runs["cost"].null_count() < runs.height:
        columns["cost"] = number("US dollars", format="%.4f", width=80)
    # The browser shows a time without a zone as it is: local to the operator.
    local = pl.col("started").dt.convert_time_zone(time_zone).dt.replace_time_zone(None)
    show_table(runs.with_columns(local), columns, key="runs", file="runs", alt="Runs, the newest first")


def _show_days(runs: pl.DataFrame, time_zone: str) -> None:
    days = data.by_day(runs, time_zone)
    note = data.cost_note(runs)
    if note:
        st.markdown(note)
    if days.height < 2:
        return
    st.subheader("Minutes by day")
    chart = lines_over_days(days, "minutes", "Minutes", percent=False)
    show_chart(chart, "minutes", "Minutes of runs by day")
    if not note:
        st.subheader("Cost by day")
        chart = lines_over_days(days, "cost", "US dollars", percent=False)
        show_chart(chart, "cost", "Cost of jobs by day")


PAGE = DashboardPage("Runs and cost", "runs-and-cost", ":material/payments:", show)
