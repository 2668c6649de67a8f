"""The page Skill and drift: whether the model is still better than the mean of four weeks, and what drifts."""

from __future__ import annotations

from datetime import date

import polars as pl
import streamlit as st

from ruter_dagster.dashboards.data import skill as data
from ruter_dagster.dashboards.data.yesterday import network_scores, period_of, scored_dates
from ruter_dagster.dashboards.pages.charts import lines_over_days, show_chart, with_thresholds
from ruter_dagster.dashboards.pages.controls import (
    choice,
    horizon_filter,
    mode_filter,
    nothing_to_show,
    period_filter,
    show_table,
)
from ruter_dagster.dashboards.pages.page import Context, DashboardPage
from ruter_dagster.dashboards.pages.yesterday import NO_SCORES, REMEDY

_SKILL = "skill_against_ha4"


def show(context: Context) -> None:
    st.title("Skill and drift: is the model still better?")
    dates = scored_dates(context.reader)
    if not dates:
        nothing_to_show(NO_SCORES, REMEDY)
        return
    days, horizon, mode = _filters()
    first, last = period_of(dates, days)
    score = data.period_score(context.reader, first, last, horizon, mode)
    st.markdown(data.skill_sentence(score, horizon))
    measures = data.drift_measures(context.reader, first, last)
    st.markdown(data.drift_sentence(measures))
    scores = network_scores(context.reader, first, last, horizon, mode)
    if scores.height:
        _show_scores(scores)
    if measures.height:
        _show_drift(measures)


def _filters() -> tuple[int, int, str | None]:
    columns = st.columns([3, 3, 3, 5])
    with columns[0]:
        days = period_filter()
    with columns[1]:
        horizon = horizon_filter()
    with columns[2]:
        mode = mode_filter()
    return days, horizon, mode


def _show_scores(scores: pl.DataFrame) -> None:
    left, right = st.columns(2)
    with left:
        st.subheader("Skill by day")
        st.markdown(
            "How much smaller the model's errors are than those of the mean of four weeks. Below 0 they are larger. "
            "Single days vary: the thresholds below are those of seven days together."
        )
        chart = lines_over_days(scores, _SKILL, "Skill against the 4-week mean")
        show_chart(chart, "skill", "Skill against the mean of four weeks by day")
    with right:
        st.subheader("Error by day")
        st.markdown(
            "Sum of absolute errors / sum of observed passengers (WAPE), and the share of loads within P10-P90."
        )
        shown = {"wape": "WAPE", "coverage": "Within P10-P90"}
        long = scores.unpivot(list(shown), index="operating_date", variable_name="score").with_columns(
            pl.col("score").replace(shown)
        )
        show_chart(lines_over_days(long, "value", "Share", "score"), "wape", "WAPE and coverage by day")


def _show_drift(measures: pl.DataFrame) -> None:
    st.subheader("Drift")
    columns = st.columns([3, 11])
    with columns[0]:
        scope = choice("Of", data.scopes(measures), "scope")
    verdicts = data.newest_verdicts(measures, scope)
    if verdicts.is_empty():
        nothing_to_show(f"No metric of {scope} on the newest date.", "Choose another scope.")
        return
    _show_verdicts(verdicts, verdicts["operating_date"].item(0))
    _show_metric(measures.filter(pl.col("scope") == scope), verdicts)


def _show_verdicts(verdicts: pl.DataFrame, day: date) -> None:
    st.markdown(
        f"Operating date {day}, the most severe verdict first. Beyond the threshold `Acts beyond`, a training is requested."
    )
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    columns = {
        "verdict": text("Verdict", width="small"),
        "metric": text("Metric", width="medium"),
        "value": number("Value", format="%.3f", width="small"),
        "warn": number("Warns beyond", format="%.3f", width=100),
        "act": number(
            "Acts beyond", format="%.3f", width=100, help="Beyond this threshold a training is requested"
        ),
        "detail": text("Detail", width="medium", help="Which vehicles or lines"),
        "description": text("Meaning", width=420),
    }
    show_table(
        verdicts, columns, key="verdicts", file="drift", alt="The newest drift metrics, the most severe first"
    )


def _show_metric(measures: pl.DataFrame, verdicts: pl.DataFrame) -> None:
    metrics = verdicts.sort(pl.col("value").is_null(), maintain_order=True)["metric"].to_list()
    metric = choice("Metric", metrics, "metric")
    rows = measures.filter(pl.col("metric") == metric).drop_nulls("value")
    if rows.is_empty():
        nothing_to_show(f"{metric} has no value in this period:", "too few operating dates before it.")
        return
    newest = rows.row(-1, named=True)
    st.markdown(newest["description"])
    chart = lines_over_days(rows, "value", metric, percent=False)
    both = data.SIDES.get(metric) == "either"
    show_chart(
        with_thresholds(chart, newest["warn"], newest["act"], both),
        "metric-chart",
        f"{metric} by day, with its thresholds",
    )


PAGE = DashboardPage("Skill and drift", "skill-and-drift", ":material/monitoring:", show)
