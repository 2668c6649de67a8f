"""The page Skill and drift: whether the model is still better than the mean of four weeks, and what drifts."""

from __future__ import annotations

from datetime import date

import polars as pl
import streamlit as st

from ruter_dagster.dashboards.data import skill as data
from ruter_dagster.dashboards.data.words import different
from ruter_dagster.dashboards.data.yesterday import network_scores, period_of, scored_dates
from ruter_dagster.dashboards.pages.charts import lines_over_days, show_chart, with_thresholds
from ruter_dagster.dashboards.pages.controls import (
    choice,
    filter_row,
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
    failing = data.failing(context.reader, first, score, horizon, context.names, mode)
    st.markdown(data.skill_sentence(score, horizon, failing))
    measures = data.drift_measures(context.reader, first, last)
    st.markdown(data.drift_sentence(measures))
    scores = network_scores(context.reader, first, last, horizon, mode)
    if scores.height:
        _show_scores(scores)
    if measures.height:
        _show_drift(measures)


def _filters() -> tuple[int, int, str | None]:
    with filter_row():
        return period_filter(), horizon_filter(), mode_filter()


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
    scope = choice("Scope", data.scopes(measures), "scope", width=240)
    verdicts = data.newest_verdicts(measures, scope)
    _show_verdicts(verdicts, verdicts["operating_date"].item(0))
    _show_metric(measures, verdicts)


def _show_verdicts(verdicts: pl.DataFrame, day: date) -> None:
    st.markdown(
        f"Operating date {day}, the most severe verdict first. Beyond the threshold `Acts`, a training is requested."
    )
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    columns = {
        "verdict": text("Verdict", width=75),
        "scope": text("Scope", width=70),
        "title": text("Metric", width=240),
        "value": number("Value", format="%.3f", width=60),
        "warns": text("Warns", width=95),
        "acts": text("Acts", width=95, help="Beyond this threshold a training is requested"),
        "detail": text("Detail", width=220, help="Which vehicles or lines"),
    }
    show_table(
        verdicts, columns, key="verdicts", file="drift", alt="The newest drift metrics, the most severe first"
    )
    if unknown := data.unknown_sentence(verdicts):
        st.markdown(unknown)


def _show_metric(measures: pl.DataFrame, verdicts: pl.DataFrame) -> None:
    known = verdicts.sort(pl.col("value").is_null(), maintain_order=True)
    several = known["scope"].n_unique() > 1
    titles = different(
        {
            f"{row['metric']} {row['scope']}": f"{row['title']} ({row['scope']})" if several else row["title"]
            for row in known.iter_rows(named=True)
        }
    )
    chosen = choice("Metric", list(titles), "metric", words=lambda key: titles[key], width="stretch")
    title, (metric, scope) = titles[chosen], chosen.split(" ")
    rows = measures.filter(metric=metric, scope=scope).drop_nulls("value")
    if rows.is_empty():
        nothing_to_show(f"{title} has no value in this period.", f"It needs {data.NEEDS.get(metric)}.")
        return
    newest = rows.row(-1, named=True)
    st.markdown(newest["description"])
    if rows["operating_date"].n_unique() < 2:
        st.markdown(f"There is one value only: {newest['value']:.3f} on {newest['operating_date']}.")
        return
    chart = lines_over_days(rows, "value", "Value", percent=False)
    both = data.SIDES.get(metric) == "either"
    show_chart(
        with_thresholds(chart, newest["warn"], newest["act"], both),
        "metric-chart",
        f"{title} by day, with its thresholds",
    )


PAGE = DashboardPage("Skill and drift", "skill-and-drift", ":material/monitoring:", show)
