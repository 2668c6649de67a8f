"""Filters and tables that the pages share.

A filter's key is its parameter in the address, and the words of the selected option are the parameter's value, so that a view can
be shared. Options therefore have different words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date
from typing import Any, Literal

import polars as pl
import polars.selectors as cs
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.tables import MODES
from ruter_dagster.dashboards.data.words import UNKNOWN, Names, age_note

DEFAULT_HORIZON = 1
_FILTER_WIDTH = 175
"""Pixels of a filter, enough for a date and for the words `All lines`."""
_LONGEST_VALUE = 60
"""Characters of an unknown value in the address that are repeated on the page."""
_LONGEST_FILE_NAME = 100
_notes: ContextVar[list[str] | None] = ContextVar("notes", default=None)


def filter_row() -> DeltaGenerator:
    """A row for filters. On a narrow page, those without room are in a second row."""
    return st.container(horizontal=True)


@contextmanager
def noted_values() -> Iterator[list[str]]:
    """A list that gets one sentence for each unknown value in the address, of the filters that are drawn meanwhile."""
    notes: list[str] = []
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def unknown_value(kind: str, value: str, shown: str) -> str:
    """A sentence about a value in the address that does not exist, with what is shown in its place, in Markdown."""
    quoted = value.replace("`", "'")[:_LONGEST_VALUE]
    return f"The address names an unknown {kind}, `{quoted}`. Shown: {shown}."


def _check_address(
    kind: str, key: str, options: Sequence[str], words: Callable[[str], str], shown: str
) -> None:
    value, notes = st.query_params.get(key), _notes.get()
    if value and notes is not None and value not in set(map(words, options)):
        notes.append(unknown_value(kind.lower(), value, shown))


def choice(
    label: str,
    options: Sequence[str],
    key: str,
    *,
    index: int = 0,
    words: Callable[[str], str] = str,
    help: str | None = None,
    kind: str | None = None,
    width: int | Literal["stretch"] = _FILTER_WIDTH,
) -> str:
    """A choice of one of the options, shown in words. `kind` says what the options are, if the label does not."""
    _check_address(kind or label, key, options, words, words(options[index]))
    selected = st.selectbox(
        label, options, index=index, format_func=words, key=key, bind="query-params", help=help, width=width
    )
    return options[index] if selected is None else selected


def date_filter(key: str, dates: Sequence[date], default: date, label: str = "Operating date") -> date:
    """A choice of one of the dates. The address has the date in ISO 8601."""
    options = [day.isoformat() for day in dates]
    return date.fromisoformat(choice(label, options, key, index=options.index(default.isoformat())))


def horizon_filter(key: str = "horizon") -> int:
    """Days between issue date and operating date."""
    days = [str(days) for days in range(HORIZON_DAYS + 1)]
    meaning = "0 is the forecast of the same morning, 1 that of the day before."
    return int(choice("Days ahead", days, key, index=DEFAULT_HORIZON, help=meaning))


def period_filter(key: str = "days") -> int:
    """Days of the period, which ends with the newest scored date."""
    return int(choice("Days of the period", ["7", "14", "28"], key, index=2))


def optional_filter(
    label: str,
    key: str,
    options: Sequence[str],
    words: Callable[[str], str] = str,
    everything: str = "All",
    width: int | Literal["stretch"] = _FILTER_WIDTH,
) -> str | None:
    """A choice of one option, or None for all."""
    _check_address(label, key, options, words, everything[:1].lower() + everything[1:])
    return st.selectbox(
        label,
        options,
        index=None,
        format_func=words,
        placeholder=everything,
        key=key,
        bind="query-params",
        width=width,
    )


def mode_filter(key: str = "mode", modes: Sequence[str] = MODES) -> str | None:
    return optional_filter("Mode", key, modes, everything="All modes")


def line_filter(names: Names, mode: str | None, key: str = "line") -> str | None:
    """A choice of a line of the selected mode. The address has its label."""
    labels = names.line_labels(mode)
    return optional_filter("Line", key, list(labels), lambda line: labels.get(line, line), "All lines")


def show_table(
    frame: pl.DataFrame,
    columns: dict[str, Any],
    *,
    key: str,
    file: str,
    on_select: Callable[[], None] | None = None,
    height: int | Literal["auto"] = "auto",
    alt: str,
) -> None:
    """A table of some columns, with a button that downloads them as CSV. `on_select` is called after a click on a row."""
    shown = frame.select(list(columns))
    modes = ["single-row", "single-cell"]
    selection: dict[str, Any] = {"on_select": on_select, "selection_mode": modes} if on_select else {}
    st.dataframe(
        shown,
        hide_index=True,
        placeholder="-",
        column_config=columns,
        key=key,
        height=height,
        alt=alt,
        **selection,
    )  # pyright: ignore[reportCallIssue, reportArgumentType]
    download(csv_rows(frame, columns), file, key)


_IDS = ("operating_date", "line_id", "trip_id", "stop_id")
"""Columns that a CSV has besides those of its table, by their names in the tables, so that its rows can be joined."""


def csv_rows(frame: pl.DataFrame, columns: Mapping[str, Any]) -> pl.DataFrame:
    """The rows of a table for a CSV: its columns under their labels, P10 and P90 in place of `interval`, then date and ids.

    `above_seats`, in percent on a page, is a share, as all others. Numbers have four decimals.
    """
    shown: dict[str, pl.Expr] = {}
    for name, column in columns.items():
        if name == "interval":
            shown |= {"P10": pl.col("p10"), "P90": pl.col("p90")}
        else:
            value = pl.col("prob_above_seats" if name == "above_seats" else name)
            shown[column["label"] or name] = value
    shown |= {name: pl.col(name) for name in _IDS if name in frame.columns and name not in columns}
    rows = frame.select(value.alias(label) for label, value in shown.items())
    return rows.with_columns(cs.float().round(4))


def show_metrics(metrics: Mapping[str, tuple[str, str]], width: int) -> None:
    """Values in frames, side by side, and below each other on a narrow page: by label, the value and its meaning.

    `width` is that of one frame in pixels.
    """
    row = st.container(horizontal=True)
    for label, (value, meaning) in metrics.items():
        # The word is too long for a small frame.
        shown, more = ("-", ". Unknown for this selection") if value == UNKNOWN else (value, "")
        row.metric(label, shown, help=meaning + more, border=True, width=width)


def download(frame: pl.DataFrame, file: str, key: str) -> None:
    st.download_button(
        "Download CSV",
        frame.write_csv().encode(),
        file_name=csv_file_name(file, st.query_params.to_dict().values()),
        mime="text/csv",
        icon=":material/download:",
        key=f"{key}-csv",
        on_click="ignore",
    )


def csv_file_name(table: str, filters: Iterable[str]) -> str:
    """The table's name and the selected values, so that files of different views differ: `stops-2026-11-19-Metro.csv`."""
    words = [re.sub(r"[^\w.]+", "-", value).strip("-") for value in filters]
    return "-".join([table, *filter(None, words)])[:_LONGEST_FILE_NAME] + ".csv"


def selected_row(key: str) -> int | None:
    """The row of a table that was clicked last, on its box or on a cell; None if a selection was removed."""
    selection = st.session_state.get(key, {}).get("selection", {})
    rows, cells = list(selection.get("rows", [])), [cell[0] for cell in selection.get("cells", [])]
    before = st.session_state.get(f"{key}-selected", ([], []))
    st.session_state[f"{key}-selected"] = (rows, cells)
    changed = [now for now, old in zip((rows, cells), before, strict=True) if now and now != old]
    return changed[0][0] if changed else None


def keep_selected(key: str, ids: Sequence[str], chosen: str | None) -> None:
    """Ticks the row of the chosen id, and no other, before the table is drawn: other filters give other rows.

    `ids` has the id of each row. A table in which nothing was clicked stays as it is.
    """
    selection = st.session_state.get(key, {}).get("selection", {})
    before = (list(selection.get("rows", [])), list(selection.get("cells", [])))
    rows = [ids.index(chosen)] if chosen in ids else []
    if before != ([], []) and before != (rows, []):
        st.session_state[key] = {"selection": {"rows": rows, "columns": [], "cells": []}}
        st.session_state[f"{key}-selected"] = (rows, [])


def nothing_to_show(what: str, remedy: str) -> None:
    """An empty state: what is missing, and the command that makes it."""
    st.info(f"{what} {remedy}", icon=":material/info:")


def show_age(what: str, day: date, today: date, usual_days: int, demo: bool) -> None:
    """Says that the state is a demo, or warns if the newest date of something is far from today."""
    if demo:
        st.markdown("Demo data: its dates are fixed, and not those of today.")
    elif note := age_note(what, day, today, usual_days):
        st.warning(note, icon=":material/warning:")
