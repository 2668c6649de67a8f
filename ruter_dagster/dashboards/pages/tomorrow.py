"""The page Tomorrow: which departures will be crowded, and the forecasts along a journey."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import polars as pl
import streamlit as st

from ruter_dagster.dashboards.data import tomorrow as data
from ruter_dagster.dashboards.data.words import UNKNOWN, Names, day_in_words, different, last_part
from ruter_dagster.dashboards.pages.charts import journey_chart, journey_key, show_chart, stop_map
from ruter_dagster.dashboards.pages.controls import (
    choice,
    date_filter,
    filter_row,
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

_TABLE, _DEPARTURE = "departures", "departure"
_HOURS = (0, 30)
_USUAL_AGE = 1
"""Days: before the morning's publication, the newest issue date is yesterday."""


def show(context: Context) -> None:
    st.title("Tomorrow: the crowded departures")
    published = data.newest_published(context.reader)
    if published is None:
        nothing_to_show(
            "There are no forecasts in this state.",
            "Run `ruter-dagster demo`, or materialise `forecasts/load_forecasts`.",
        )
        return
    selection, names = _filters(context, published)
    _describe(published, selection.operating_date, context.time_zone)
    show_age("The newest issue date", published.issue_date, context.today, _USUAL_AGE, context.sources.demo)
    departures = data.crowded_departures(context.reader, published, selection, names, context.time_zone)
    st.markdown(data.most_crowded_sentence(departures))
    if departures.is_empty():
        return
    probability = context.sources.crowded_probability
    _show_totals(data.totals(context.reader, published, selection, probability), probability)
    _show_departures(departures)
    _show_journey(context, published, selection.operating_date, departures, names)
    _show_stops(context, published, selection, names)


def _filters(context: Context, published: data.Published) -> tuple[data.Selection, Names]:
    dates = published.operating_dates
    with filter_row():
        day = date_filter("date", dates, dates[1])
        names = context.names(day)
        mode = mode_filter(modes=sorted(set(names.modes.values())))
        line = line_filter(names, mode)
        stop = optional_filter("Stop", "stop", names.stop_names(), last_part, everything="All stops")
        first, last = st.slider(
            "Hours (24 is midnight)", *_HOURS, value=_HOURS, key="hours", bind="query-params", width=200
        )
    last_hour = data.LAST_HOUR if last == _HOURS[1] else last - 1
    return data.Selection(day, mode, line, stop, first, max(first, last_hour)), names


def _describe(published: data.Published, day: date, time_zone: str) -> None:
    at = (
        f", published {_local(published.published_at, time_zone)}"
        if published.published_at
        else ", no publication is recorded"
    )
    st.markdown(f"**{day_in_words(day)}**: forecasts issued on {published.issue_date}{at}. Times are local.")
    if published.degraded:
        st.warning("The model failed. These forecasts are the baseline.", icon=":material/warning:")


def _local(at: datetime, time_zone: str) -> str:
    return at.astimezone(ZoneInfo(time_zone)).strftime("%Y-%m-%d %H:%M")


def _show_totals(totals: dict[str, float | None], crowded_probability: float) -> None:
    shown = {
        "Departures": (_number(totals["departures"]), "Selected planned departures from stops"),
        "Journeys": (_number(totals["journeys"]), "Service journeys of these departures"),
        "Crowded": (
            _number(totals["crowded"]),
            f"Departures whose probability of more passengers than seats is at least {crowded_probability:.0%}",
        ),
    }
    show_metrics(shown, 170)
    st.markdown(
        f"Crowded: the probability of more passengers than seats is at least {crowded_probability:.0%} "
        "(`RUTER_CROWDED_PROBABILITY`), as in the scores."
    )


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f}"


def _show_departures(departures: pl.DataFrame) -> None:
    st.subheader("Most crowded journeys")
    st.markdown("One row per journey, at its most crowded stop. Click on a row to see the journey below.")
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    columns = {
        "time": text("Time", width=55),
        "line": text("Line", width=50),
        "stop": text("From stop", width=85),
        "mean": number("Expected", format="%.0f", width=75, help="Expected passengers on board"),
        "interval": text("P10-P90", width=70, help="The load in 8 of 10 cases"),
        "seats": number("Seats", width=55),
        "above_seats": st.column_config.ProgressColumn(
            "Above seats", format="%.0f %%", min_value=0, max_value=100, width=110, help="Probability of more passengers than seats"
        ),
        "level": text("Level", width=130),
        "reason": text("What sets it apart", width=195),
        "mode": text("Mode", width=60),
        "direction_id": number("Direction", width=70),
    }  # fmt: skip

    def select_journey() -> None:
        if (row := selected_row(_TABLE)) is not None:
            st.session_state[_DEPARTURE] = departures["trip_id"][row]

    show_table(
        departures,
        columns,
        key=_TABLE,
        file="most-crowded-journeys",
        on_select=select_journey,
        height=390,
        alt="The most crowded journeys, each at its most crowded stop, the most crowded first",
    )


def _show_journey(
    context: Context, published: data.Published, day: date, departures: pl.DataFrame, names: Names
) -> None:
    st.subheader("Along a journey")
    first = departures.unique("trip_id", keep="first", maintain_order=True)
    labels = different(
        {
            row["trip_id"]: f"{row['time']} line {row['line']} from {row['stop']}"
            for row in first.iter_rows(named=True)
        }
    )
    trip = choice(
        "Journey (click on a row above, or choose here)",
        list(labels),
        _DEPARTURE,
        words=lambda value: labels.get(value, value),
        kind="journey",
        width="stretch",
    )
    rows = data.journey(context.reader, published, day, trip, names, context.time_zone)
    description = f"Forecasts of the journey {labels[trip]}, stop by stop"
    show_chart(journey_chart(rows), "journey-chart", description)
    st.markdown(journey_key())


def _show_stops(context: Context, published: data.Published, selection: data.Selection, names: Names) -> None:
    st.subheader("Stops")
    stops = data.crowded_stops(context.reader, published, selection, names)
    if stops.is_empty():
        nothing_to_show("There is no map: the timetable has no coordinates of stops.", "A GTFS timetable has them (`RUTER_GTFS_PATH`).")  # fmt: skip
        return
    show_chart(stop_map(stops), "stop-map", "Map of the selected stops, by crowding")


PAGE = DashboardPage("Tomorrow", "tomorrow", ":material/event_upcoming:", show)
