"""The charts of the pages. Their colours differ for colour-blind people too, and contrast with a light and a dark background."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import polars as pl
import streamlit as st

Chart = alt.LayerChart | alt.FacetChart

BLUE, ORANGE, GREY, GREEN, PURPLE = "#3A86C8", "#D9730D", "#808793", "#2F9E77", "#B0699E"
"""Each has a contrast of at least 3 to white and to Streamlit's dark background. Lines differ in dash as well."""
SERIES = [BLUE, ORANGE, GREEN, PURPLE, GREY]
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4]]
_LABEL_WIDTH = 130


def show_chart(chart: Chart | alt.Chart, key: str, description: str) -> None:
    """Draws the chart. Its words have the colour of the page's text; `description` is read to those who do not see it."""
    color = "#FAFAFA" if st.context.theme.type == "dark" else "#31333F"
    colored = chart.configure_axis(labelColor=color, titleColor=color).configure_legend(
        labelColor=color, titleColor=color
    )
    st.altair_chart(colored, key=key, alt=description)


def journey_chart(rows: pl.DataFrame, observed: bool = False) -> Chart:
    """P10 to P90, mean and seats along a service journey, and the observed loads if `observed`. `rows` are in stop order."""
    labelled = rows.with_columns(label=pl.format("{} {}", pl.col("time"), pl.col("stop")))
    base = alt.Chart(labelled).encode(
        x=alt.X("label:N", sort=labelled["label"].to_list(), title=None, axis=_axis_of_stops())
    )
    load = alt.Y("mean:Q", title="Passengers on board", scale=alt.Scale(zero=True))
    tooltip = [
        alt.Tooltip("stop:N", title="Stop"), alt.Tooltip("time:N", title="Departure"), alt.Tooltip("mean:Q", title="Expected", format=".1f"),
        alt.Tooltip("p10:Q", title="P10", format=".0f"), alt.Tooltip("p90:Q", title="P90", format=".0f"),
        alt.Tooltip("seats:Q", title="Seats"), alt.Tooltip("prob_above_seats:Q", title="P(above seats)", format=".0%"),
    ]  # fmt: skip
    layers = [
        base.mark_area(color=BLUE, opacity=0.3).encode(y=alt.Y("p10:Q", title="Passengers on board"), y2="p90:Q", tooltip=tooltip),
        base.mark_line(color=BLUE, point=alt.OverlayMarkDef(color=BLUE, size=40)).encode(y=load, tooltip=tooltip),
        base.mark_line(color=ORANGE, strokeDash=[6, 4], interpolate="step").encode(y="seats:Q"),
    ]  # fmt: skip
    if observed:
        points = base.mark_point(color=GREEN, filled=True, shape="diamond", size=90, opacity=1)
        layers.append(
            points.encode(
                y="load:Q", tooltip=[*tooltip, alt.Tooltip("load:Q", title="Observed", format=".0f")]
            )
        )
    return alt.layer(*layers).properties(height=340)


def journey_key(observed: bool = False) -> str:
    """The words under a journey's chart."""
    seen = " Green diamonds: observed." if observed else ""
    return f"Blue line: expected passengers. Blue area: P10 to P90, in 8 of 10 cases. Orange dashes: seats.{seen}"


def lines_over_days(
    rows: pl.DataFrame,
    value: str,
    title: str,
    series: str | None = None,
    *,
    percent: bool = True,
    order: Sequence[str] = (),
) -> alt.Chart:
    """A value by operating date, one line for each value of `series`, in `order`. `percent` formats shares."""
    axis = alt.Axis(format=".0%" if percent else "~g")
    tooltip = [alt.Tooltip("operating_date:T", title="Operating date"), alt.Tooltip(f"{value}:Q", title=title, format=".1%" if percent else ".3f")]  # fmt: skip
    encoded = {
        "x": alt.X("operating_date:T", title=None, axis=alt.Axis(format="%d %b", tickCount="day", labelOverlap=True)),
        "y": alt.Y(f"{value}:Q", title=title, axis=axis, scale=alt.Scale(zero=percent)),
    }  # fmt: skip
    chart = alt.Chart(rows)
    if series is None:
        return (
            chart.mark_line(color=BLUE, point=True).encode(**encoded, tooltip=tooltip).properties(height=260)
        )
    present = rows[series].unique(maintain_order=True).to_list()
    names = [name for name in order if name in present] or present
    return (
        chart.mark_line(point=True)
        .encode(
            **encoded,
            color=alt.Color(f"{series}:N", title=None, scale=alt.Scale(domain=names, range=SERIES[: len(names)]), legend=_legend()),
            strokeDash=alt.StrokeDash(f"{series}:N", title=None, scale=alt.Scale(domain=names, range=DASHES[: len(names)]), legend=_legend()),
            tooltip=[alt.Tooltip(f"{series}:N", title="Forecast"), *tooltip],
        )
        .properties(height=260)
    )  # fmt: skip


def with_thresholds(
    chart: alt.Chart, warn: float | None, act: float | None, both_sides: bool = False
) -> Chart:
    """The chart with dashed lines at its thresholds: orange warns, purple acts."""
    sides = (1, -1) if both_sides else (1,)
    rules = [
        {"at": side * value, "threshold": name}
        for name, value in (("warn", warn), ("act", act))
        if value is not None
        for side in sides
    ]
    if not rules:
        return alt.layer(chart)
    lines = alt.Chart(pl.DataFrame(rules)).mark_rule(strokeWidth=2).encode(
        y="at:Q",
        color=alt.Color("threshold:N", scale=alt.Scale(domain=["warn", "act"], range=[ORANGE, PURPLE]), legend=_legend("Threshold")),
        strokeDash=alt.StrokeDash("threshold:N", scale=alt.Scale(domain=["warn", "act"], range=[[6, 4], [2, 2]]), legend=_legend("Threshold")),
    )  # fmt: skip
    return alt.layer(chart, lines).resolve_scale(color="independent", strokeDash="independent")


def stop_map(rows: pl.DataFrame) -> alt.Chart:
    """Stops at their coordinates, without a background map: no request leaves the machine."""
    return (
        alt.Chart(rows)
        .mark_circle(stroke=GREY, strokeWidth=0.5)
        .encode(
            longitude="longitude:Q",
            latitude="latitude:Q",
            size=alt.Size("expected_above_seats:Q", title="Expected above seats", scale=alt.Scale(range=[8, 400])),
            color=alt.Color("prob_above_seats:Q", title="Largest probability", scale=alt.Scale(scheme="viridis", domain=[0, 1]), legend=alt.Legend(format=".0%")),
            tooltip=[
                alt.Tooltip("stop:N", title="Stop"), alt.Tooltip("departures:Q", title="Departures"),
                alt.Tooltip("expected_above_seats:Q", title="Expected above seats", format=".1f"),
                alt.Tooltip("prob_above_seats:Q", title="Largest probability", format=".0%"),
            ],
        )
        .project(type="mercator")
        .properties(height=460)
    )  # fmt: skip


def _axis_of_stops() -> alt.Axis:
    return alt.Axis(labelAngle=-45, labelLimit=_LABEL_WIDTH, labelOverlap=False)


def _legend(title: str | None = None) -> alt.Legend:
    return alt.Legend(
        orient="top", title=title, labelLimit=300, symbolType="stroke", symbolSize=400, symbolStrokeWidth=3
    )
