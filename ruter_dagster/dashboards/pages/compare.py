"""The page Compare: champion and challenger on the same truth, and this state with another one."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import streamlit as st

from ruter_dagster.dashboards.data import comparison as data
from ruter_dagster.dashboards.data.yesterday import period_of, scored_dates
from ruter_dagster.dashboards.pages.charts import lines_over_days, show_chart
from ruter_dagster.dashboards.pages.controls import (
    choice,
    date_filter,
    filter_row,
    horizon_filter,
    nothing_to_show,
    period_filter,
    show_table,
)
from ruter_dagster.dashboards.pages.page import CachedReader, Context, DashboardPage
from ruter_dagster.dashboards.pages.yesterday import NO_SCORES, REMEDY


def show(context: Context) -> None:
    st.title("Compare forecasts")
    dates = scored_dates(context.reader)
    with filter_row():
        days, horizon = period_filter(), horizon_filter()
    st.subheader("Champion, challenger and baselines")
    if dates:
        _show_variants(context, days, horizon)
    else:
        nothing_to_show(NO_SCORES, REMEDY)
    st.subheader("This state and another one")
    if not context.sources.others:
        nothing_to_show(
            "No other state was named.",
            "Start the dashboard with `ruter-dagster dashboard --with STATE`: a folder such as `../main/state/demo`, or an environment.",
        )
        return
    label = choice("Other state", list(context.sources.others), "with", width=400)
    _show_states(context, label, days, horizon)


def _show_variants(context: Context, days: int, horizon: int) -> None:
    first, last = period_of(scored_dates(context.reader), days)
    overall, modes = data.variant_scores(context.reader, first, last, horizon)
    if overall.is_empty():
        nothing_to_show("No forecast of these days ahead has observed loads.", "Choose other days ahead.")
        return
    st.markdown(data.challenger_sentence(overall))
    st.markdown("A baseline is scored on the departures that it knows. A lower WAPE is better.")
    show_table(_rounded(overall), {"variant": st.column_config.TextColumn("Forecast"), **_columns()}, key="variants", file="variants", alt="Scores of each variant")  # fmt: skip
    by_day = data.variant_days(context.reader, first, last, horizon)
    show_chart(
        lines_over_days(by_day, "wape", "WAPE", "variant", order=list(data.VARIANTS.values())),
        "variant-days",
        "WAPE of each variant by day",
    )
    with st.expander("By mode"):
        text = st.column_config.TextColumn
        show_table(_rounded(modes), {"mode": text("Mode"), "variant": text("Forecast"), **_columns()}, key="modes", file="variants-by-mode", alt="Scores of each variant by mode")  # fmt: skip


def _columns() -> dict[str, Any]:
    number = st.column_config.NumberColumn
    return {
        "matched": number("Departures", format="localized", help="With a forecast and an observed load"),
        "wape": number("WAPE", format="percent"),
        "bias": number("Bias", format="percent"),
        "coverage": number("Within P10-P90", format="percent"),
        "crps": number("CRPS", format="%.2f", help="Passengers"),
        "crowded_recall": number(
            "Recall",
            format="percent",
            help="Share of departures above their seats that were forecast to be crowded",
        ),
        "crowded_precision": number(
            "Precision",
            format="percent",
            help="Share of departures forecast to be crowded that were above their seats",
        ),
    }


def _rounded(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        pl.col("wape", "bias", "coverage", "crowded_recall", "crowded_precision").round(3)
    )


def _show_states(context: Context, label: str, days: int, horizon: int) -> None:
    other = context.reader_of(label)
    dates = data.shared_scored_dates(context.reader, other)
    answer, other_loads = st.empty(), []
    if dates:
        first, last = period_of(dates, days)
        other_loads = data.dates_with_other_loads(context.reader, other, first, last, horizon)
        _show_accuracy(data.accuracy_of_states(context.reader, other, first, last, horizon), context.sources.state, label)  # fmt: skip
    else:
        nothing_to_show("The two states have no operating date with scores in common.", REMEDY)
    changes = _show_changes(context, other, label)
    if changes is not None:
        answer.markdown(data.states_sentence(*changes, other_loads))


def _show_accuracy(scores: pl.DataFrame, this: str, label: str) -> None:
    named = scores.with_columns(pl.col("state").replace({"this": this, "other": label})).sort("mode", "state")
    text = st.column_config.TextColumn
    show_table(_rounded(named), {"mode": text("Mode"), "state": text("State"), **_columns()}, key="states", file="states", alt="Scores of both states by mode")  # fmt: skip


def _show_changes(context: Context, other: CachedReader, label: str) -> tuple[pl.DataFrame, date] | None:
    """Shows the lines of an issue date, and returns them with the date; None without an issue date in common."""
    issue_dates = data.shared_issue_dates(context.reader, other)
    if not issue_dates:
        nothing_to_show("The two states have no issue date in common.", "Forecast the same issue dates: `ruter-dagster reforecast`.")  # fmt: skip
        return None
    st.markdown(f"**Forecasts by line**, compared with those of {label}, the largest change first")
    issue_date = date_filter("issued", issue_dates[:60], issue_dates[0], "Issue date")
    rows = data.forecast_changes(context.reader, other, issue_date)
    names = context.names(issue_date)
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    columns = {
        "line": text("Line"), "mode": text("Mode"), "departures": number("Departures", format="localized"),
        "mean": number("Sum of means, this", format="%.0f"), "mean_other": number("Sum of means, other", format="%.0f"),
        "change": number("Change", format="percent"), "expected_above_seats": number("Above seats, this", format="%.1f"),
        "expected_above_seats_other": number("Above seats, other", format="%.1f"),
    }  # fmt: skip
    show_table(
        names.labelled(rows).with_columns(pl.col("change").round(4)), columns, key="changes", file="changed-lines", height=390,
        alt="Forecasts of both states by line",
    )  # fmt: skip
    return rows, issue_date


PAGE = DashboardPage("Compare", "compare", ":material/compare_arrows:", show)
