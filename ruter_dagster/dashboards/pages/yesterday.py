"""The page Yesterday: forecasts against observed loads, from the network down to one departure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import polars as pl
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ruter_dagster.dashboards.data import yesterday as data
from ruter_dagster.dashboards.data.exceptions import failing_on, far_from_usual, unusual_sentence
from ruter_dagster.dashboards.data.words import UNKNOWN, Names, day_in_words, share
from ruter_dagster.dashboards.pages.charts import journey_chart, journey_key, show_chart
from ruter_dagster.dashboards.pages.controls import (
    choice,
    date_filter,
    filter_row,
    horizon_filter,
    keep_selected,
    line_filter,
    mode_filter,
    nothing_to_show,
    optional_filter,
    selected_row,
    show_age,
    show_metrics,
    show_table,
)
from ruter_dagster.dashboards.pages.page import Context, DashboardPage

_WORST, _LINES, _JOURNEYS = "worst", "lines", "journeys"
_LINE, _JOURNEY = "line", "journey"
_ORDER = "Error / P10-P90 compares the errors of a journey with the widths of its intervals. The largest errors are those of large vehicles."
_USUAL_AGE = 2
"""Days: before the counts of yesterday arrive, the newest date is the day before."""
NO_SCORES = "There are no forecasts with observed loads in this state."
REMEDY = "Run `ruter-dagster demo`, or materialise `monitoring/forecast_performance` and `monitoring/line_scores` for a date with counts."


def show(context: Context) -> None:
    st.title("Yesterday: how good were the forecasts?")
    dates = data.scored_dates(context.reader)
    if not dates:
        nothing_to_show(NO_SCORES, REMEDY)
        return
    selection, names, order = _filters(context, dates)
    show_age("The newest date with observed loads", dates[0], context.today, _USUAL_AGE, context.sources.demo)
    day = selection.operating_date
    scores = data.network_scores(context.reader, day, day, selection.horizon, selection.mode, selection.line)
    if scores.is_empty():
        nothing_to_show(
            f"{day} has no forecasts of this mode, line and days ahead with observed loads.",
            "Choose another date, line or number of days ahead.",
        )
        return
    _show(context, selection, names, scores.row(0, named=True), order)


def _show(
    context: Context, selection: data.Selection, names: Names, scores: dict[str, Any], order: str
) -> None:
    if note := data.scores_note(context.reader, selection.operating_date, selection.horizon):
        st.warning(note, icon=":material/warning:")
    lines = data.line_scores(context.reader, selection, names)
    worst = data.worst_journeys(context.reader, selection, lines, names, context.time_zone, order)
    unusual = _unusual(context, selection, names)
    st.markdown(f"**{day_in_words(selection.operating_date)}**. {data.day_sentence(scores, worst, unusual)}")
    _show_scores(scores, context.sources.crowded_probability)
    _show_worst(context, selection, worst)
    # The chart of a journey that was clicked is below the table that was clicked. Its line is drawn further down.
    below_worst = st.container()
    _show_lines(lines)
    _show_line(context, selection, names, data.worst_of_line(worst, selection.line), below_worst)


def _unusual(context: Context, selection: data.Selection, names: Names) -> str:
    """The sentence about the selected modes and lines that are far from their usual error."""
    lines = far_from_usual(context.reader, selection.operating_date, selection.horizon)
    lines = lines.filter(line_id=selection.line) if selection.line else lines
    return unusual_sentence(failing_on(lines, names, selection.mode))


def _filters(context: Context, dates: Sequence[date]) -> tuple[data.Selection, Names, str]:
    with filter_row():
        day = date_filter("observed", dates, dates[0])
        names = context.names(day)
        horizon = horizon_filter()
        names = data.with_scored_lines(context.reader, day, horizon, names)
        mode = mode_filter(modes=sorted(set(names.modes.values())))
        line = line_filter(names, mode, _LINE)
        order = choice(
            "Worst by", list(data.ORDERS), "order", words=lambda value: data.ORDERS[value], help=_ORDER
        )
    return data.Selection(day, horizon, mode, line), names, order


def _show_scores(scores: dict[str, Any], crowded_probability: float) -> None:
    crowded = (
        f"forecast to be crowded: P(above seats) ≥ {crowded_probability:.0%} (`RUTER_CROWDED_PROBABILITY`)"
    )
    shown = {
        "WAPE": (share(scores["wape"], 1), "Sum of absolute errors / sum of observed passengers"),
        "Bias": (_signed(scores["bias"]), "(forecast - observed) / observed. Positive: forecasts were too high"),
        "In P10-P90": (share(scores["coverage"]), "Share of observed loads from P10 to P90. The goal is 80 %"),
        "Matched": (share(scores["matched_share"]), "Share of forecast departures with an observed load"),
        "Recall": (share(scores["crowded_recall"]), f"Share of departures above their seats that were {crowded}"),
        "Precision": (share(scores["crowded_precision"]), f"Share of departures that were above their seats, of those {crowded}"),
    }  # fmt: skip
    show_metrics(shown, 134)


def _signed(value: float | None) -> str:
    # The card has room for five characters.
    return UNKNOWN if value is None else f"{value:+.1%}" if abs(value) < 0.0995 else f"{value:+.0%}"


def _open_journey(context: Context, selection: data.Selection, line: str, trip: str) -> None:
    """Selects the journey, and its line. The list of journeys writes the address, but without a line it is not drawn yet."""
    st.session_state[_LINE], st.session_state[_JOURNEY] = line, trip
    if selection.line is None:
        journeys = data.journeys(context.reader, replace(selection, line=line), context.time_zone)
        st.query_params[_JOURNEY] = data.journey_labels(journeys)[trip]


def _show_worst(context: Context, selection: data.Selection, worst: pl.DataFrame) -> None:
    st.subheader("Worst forecasts")
    st.markdown(
        "One row per journey, with the time at its worst stop. Click on a row to see the journey below the table, where it has its time of start."
    )
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    columns = {
        "time": text("Time", width=55),
        "line": text("Line", width=50),
        "stop": text("From stop", width=85),
        "mean": number("Expected", format="%.0f", width=75),
        "interval": text("P10-P90", width=70),
        "load": number("Observed", format="%.0f", width=75),
        "error": number("Error", format="%+.0f", width=55, help="Expected - observed passengers. Positive: the forecast was too high"),
        "likely_reason": text("Likely reason", width=370),
        "surprise": number(
            "Error / P10-P90", format="%.1f", width=110,
            help="Sum of the journey's errors / sum of the widths of its intervals, each at least 10 passengers",
        ),
    }  # fmt: skip

    def select_journey() -> None:
        if (row := selected_row(_WORST)) is not None:
            _open_journey(context, selection, worst["line_id"][row], worst["trip_id"][row])

    keep_selected(_WORST, worst["trip_id"].to_list(), st.session_state.get(_JOURNEY))
    show_table(
        worst, columns, key=_WORST, file="worst-forecasts", on_select=select_journey, height=390,
        alt="The journeys with the worst forecasts, each at its worst stop, with the likely reason",
    )  # fmt: skip


def _ratio_columns() -> dict[str, Any]:
    number = st.column_config.NumberColumn
    return {
        "wape": number("WAPE", format="percent"),
        "bias": number("Bias", format="percent", help="Positive: forecasts were too high"),
        "coverage": number("Within P10-P90", format="percent"),
    }


def _show_lines(lines: pl.DataFrame) -> None:
    st.subheader("Lines")
    st.markdown("The line with the largest sum of errors first. Click on a row to see its journeys below.")
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    columns = {
        "line": text("Line"),
        "mode": text("Mode"),
        "departures": number("Departures", format="localized"),
        "load": number(
            "Sum of loads",
            format="localized",
            help="Sum of observed loads over the departures. A passenger counts at each stop",
        ),
        **_ratio_columns(),
        "skill_against_ha4": number(
            "Skill",
            format="percent",
            help="How much smaller the errors are than those of the mean of four weeks",
        ),
    }

    def select_line() -> None:
        if (row := selected_row(_LINES)) is not None:
            st.session_state[_LINE] = lines["line_id"][row]

    show_table(
        lines.with_columns(pl.col("wape", "bias", "coverage", "skill_against_ha4").round(3), pl.col("load").round()), columns, key=_LINES,
        file="lines", on_select=select_line, height=300, alt="Scores of each line, the largest sum of errors first",
    )  # fmt: skip


def _show_line(
    context: Context,
    selection: data.Selection,
    names: Names,
    worst: tuple[str, str] | None,
    place_of_journey: DeltaGenerator,
) -> None:
    st.subheader(f"Line {names.line(selection.line)}" if selection.line else "One line")
    if selection.line is None:
        st.markdown("Choose a line above, or click on its row, to see its journeys and stops.")
        return
    journeys = data.journeys(context.reader, selection, context.time_zone)
    if journeys.is_empty():
        nothing_to_show("The line has no observed loads on this date.", "Choose another line or date.")
        return
    left, right = st.columns(2)
    with left:
        _show_journeys(journeys)
    with right:
        _show_stops(data.stop_scores(context.reader, selection, names))
    with place_of_journey:
        st.subheader("Journey")
        _show_journey(context, selection, names, journeys, worst)


def _show_journeys(journeys: pl.DataFrame) -> None:
    st.markdown("**Journeys**, the largest error first")
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    columns = {
        "time": text("Start", width=60),
        "direction_id": number("Direction", width=70),
        "departures": number("Stops", width=60),
        "largest_load": number("Largest load", format="%.0f"),
        **_ratio_columns(),
    }

    def select_journey() -> None:
        if (row := selected_row(_JOURNEYS)) is not None:
            st.session_state[_JOURNEY] = journeys["trip_id"][row]

    show_table(
        journeys.with_columns(pl.col("wape", "bias", "coverage").round(3)), columns, key=_JOURNEYS, file="journeys",
        on_select=select_journey, height=300, alt="The journeys of the line",
    )  # fmt: skip


def _show_stops(stops: pl.DataFrame) -> None:
    st.markdown("**Stops**, all journeys of the date")
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    columns = {
        "stop": text("Stop", width="small"),
        "direction_id": number("Direction", width=70),
        "departures": number("Departures", width=80),
        **_ratio_columns(),
    }
    rows = stops.with_columns(pl.col("wape", "bias", "coverage").round(3)).sort("wape", descending=True, nulls_last=True)  # fmt: skip
    show_table(rows, columns, key="stops", file="stops", height=300, alt="The stops of the line")


def _show_journey(
    context: Context,
    selection: data.Selection,
    names: Names,
    journeys: pl.DataFrame,
    worst: tuple[str, str] | None,
) -> None:
    labels = data.journey_labels(journeys)
    first = journeys["trip_id"][0]
    worst_trip, words = worst or (first, labels[first])
    trip = optional_filter(
        "Journey",
        _JOURNEY,
        list(labels),
        lambda value: labels.get(value, value),
        f"The worst forecast: {words}",
        "stretch",
    )
    trip = trip or worst_trip
    rows = data.journey(context.reader, selection, trip, names, context.time_zone)
    description = f"Forecasts and observed loads of the journey {labels[trip]}, stop by stop"
    show_chart(journey_chart(rows, observed=True), "observed-chart", description)
    st.markdown(journey_key(observed=True))
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    columns = {
        "time": text("Time", width=60), "stop": text("From stop"), "load": number("Observed", format="%.0f"),
        "mean": number("Expected", format="%.1f"), "p10": number("P10", format="%.0f"), "p90": number("P90", format="%.0f"),
        "ha4": number("Mean of 4 weeks", format="%.1f"), "seats": number("Seats"), "source": text("Source"),
    }  # fmt: skip
    show_table(rows, columns, key="journey-table", file="journey", alt=description)


PAGE = DashboardPage("Yesterday", "yesterday", ":material/history:", show)
