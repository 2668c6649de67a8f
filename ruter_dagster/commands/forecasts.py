"""`ruter-dagster forecasts`: the load forecasts of an operating date, the most crowded departures first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from difflib import get_close_matches
from typing import Any

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column
from rich.table import Table as RichTable

from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.dates import date_spans
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import LOAD_FORECASTS, PLANNED_DEPARTURES
from ruter_dagster.forecasting.crowding import most_crowded
from ruter_dagster.storage.configured_tables import open_existing_tables
from ruter_dagster.storage.snapshots import TableSnapshot
from ruter_dagster.storage.tables import TableStore

COLUMNS = (
    "operating_date",
    "scheduled_departure_time",
    "line_id",
    "direction_id",
    "stop_id",
    "trip_id",
    "stop_sequence",
    "mean",
    "p10",
    "p50",
    "p90",
    "prob_above_seats",
    "occupancy_level",
    "source",
    "expected_tier",
    "model_version",
)
NAMES = ("line_id", "line_name", "stop_id", "stop_name")
SUGGESTIONS = 5
"""Number of lines or stops that an error message suggests."""
_COMPACT: dict[str, Any] = {
    "box": SIMPLE_HEAD,
    "padding": (0, 1, 0, 0),
    "pad_edge": False,
    "show_edge": False,
}
"""Look of a table that fits into 80 columns."""


@dataclass(frozen=True)
class Selection:
    """Which forecasts to show. `line` and `stop` are ids, last parts of ids or names; `top` is the number of departures."""

    operating_date: date | None = None
    line: str | None = None
    stop: str | None = None
    top: int = 20


@dataclass(frozen=True)
class ForecastList:
    """Forecasts of one operating date from one issue date: `COLUMNS`, `line_name`, `stop_name` and local `time`."""

    issue_date: date
    operating_date: date
    departures: int
    """Number of departures that match, shown or not."""
    rows: pl.DataFrame

    def to_json(self) -> dict[str, Any]:
        rows = self.rows.with_columns(pl.col("scheduled_departure_time").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        return {
            "issue_date": self.issue_date.isoformat(),
            "operating_date": self.operating_date.isoformat(),
            "departures": self.departures,
            "rows": rows.drop("operating_date", "time").to_dicts(),
        }


def load_forecasts(settings: Settings, selection: Selection) -> ForecastList:
    """The selected forecasts: by departure time if a stop is selected, else the most crowded first.

    Raises `PermanentFailure` if there is no forecast of the date, or no departure of the line or stop.
    """
    store = open_existing_tables(settings)
    snapshot = store.snapshot(LOAD_FORECASTS)
    issue_date, operating_date, forecasts = _forecasts_of(snapshot, selection.operating_date)
    named = _with_names(forecasts, store, operating_date)
    matching = _select(_select(named, "line", selection.line), "stop", selection.stop)
    if matching.is_empty():
        raise PermanentFailure(
            f"No departure of line {selection.line} at stop {selection.stop} on {operating_date}. Leave out --line or --stop"
        )
    by_time = matching.sort("scheduled_departure_time", "line_id", "trip_id").head(selection.top)
    rows = by_time if selection.stop else most_crowded(matching, selection.top)
    local = pl.col("scheduled_departure_time").dt.convert_time_zone(operator_of(settings).time_zone)
    rows = rows.with_columns(time=local.dt.strftime("%H:%M"))
    return ForecastList(issue_date, operating_date, matching.height, rows)


def show(forecasts: ForecastList, console: Console) -> None:
    """Prints a table of the forecasts. A narrow terminal folds ids and names; a file or pipe gets full lines."""
    rows = forecasts.rows.to_dicts()
    sources = {_source(row) for row in rows}
    title = (
        f"Forecasts of {forecasts.operating_date}, issued {forecasts.issue_date}: "
        f"{len(rows):,} of {forecasts.departures:,} departures"
    )
    table = RichTable(*_columns(len(sources) > 1), title=title, **_COMPACT)
    for row in rows:
        table.add_row(*_cells(row), *([_source(row)] if len(sources) > 1 else []))
    if not console.is_terminal:
        unlimited = console.options.update(width=10_000)
        console.width = max(console.width, Measurement.get(console, unlimited, table).maximum)
    console.print(table)
    if len(sources) == 1:
        console.print(f"Source of all: {sources.pop()}")


def _columns(with_source: bool) -> list[Column]:
    names = ["line", "dir", "stop", "mean", "P10-P90", "above\nseats", "occupancy"] + ["source"] * with_source
    folded = ("line", "stop", "occupancy", "source")
    columns = [Column(name, overflow="fold", no_wrap=name not in folded) for name in names]
    return [Column("time", no_wrap=True), *columns]


def _source(row: dict[str, Any]) -> str:
    return f"{row['source']} ({row['expected_tier']})" if row["expected_tier"] else row["source"]


def _cells(row: dict[str, Any]) -> list[str]:
    probability = row["prob_above_seats"]
    return [
        row["time"],
        _label(row["line_id"], row["line_name"]),
        str(row["direction_id"]),
        _label(row["stop_id"], row["stop_name"]),
        f"{row['mean']:.1f}",
        f"{row['p10']:.0f}-{row['p90']:.0f}",
        "unknown" if probability is None else f"{probability:.0%}",
        row["occupancy_level"],
    ]


def _label(identifier: str, name: str | None) -> str:
    return identifier if name in (None, identifier) else f"{name} ({identifier})"


def _forecasts_of(snapshot: TableSnapshot, operating_date: date | None) -> tuple[date, date, pl.DataFrame]:
    """Issue date, operating date and forecasts; of several issue dates the newest that forecasts the date."""
    issue_dates = snapshot.dates()
    if not issue_dates:
        raise PermanentFailure(
            "There are no forecasts. Materialise forecasts/load_forecasts, or run `ruter-dagster demo`"
        )
    day = operating_date or issue_dates[-1]
    for issue_date in reversed(issue_dates):
        if timedelta(0) <= day - issue_date <= timedelta(HORIZON_DAYS):
            rows = snapshot.read([issue_date], COLUMNS, ordered=False, where=pl.col("operating_date") == day)
            if rows.height:
                return issue_date, day, rows
    raise PermanentFailure(_no_forecast(day, issue_dates))


def _no_forecast(day: date, issue_dates: Sequence[date]) -> str:
    last = issue_dates[-1] + timedelta(HORIZON_DAYS)
    return (
        f"There is no forecast of {day}. Forecasts were issued on {date_spans(issue_dates)}, each for its date and the "
        f"{HORIZON_DAYS} dates after it, up to {last}. Choose another --date, or materialise forecasts/load_forecasts for {day}"
    )


def _with_names(forecasts: pl.DataFrame, store: TableStore, day: date) -> pl.DataFrame:
    """The forecasts with `line_name` and `stop_name` from the date's plan, null if the plan has no names."""
    plan = store.snapshot(PLANNED_DEPARTURES)
    names = plan.read(list(plan.versions([day])), NAMES, ordered=False)
    for kind in ("line", "stop"):
        pairs = names.select(f"{kind}_id", f"{kind}_name").drop_nulls().unique(f"{kind}_id", keep="first")
        forecasts = forecasts.join(pairs, on=f"{kind}_id", how="left", maintain_order="left")
    return forecasts


def _select(forecasts: pl.DataFrame, kind: str, id_or_name: str | None) -> pl.DataFrame:
    """Forecasts of one line or stop, by its id, the last part of the id or its name; of a stop, part of the name is enough."""
    if id_or_name is None:
        return forecasts
    identifier, name, text = (
        pl.col(f"{kind}_id"),
        pl.col(f"{kind}_name").str.to_lowercase(),
        id_or_name.lower(),
    )
    last_part = identifier.str.split(":").list.last()
    named = name.str.contains(text, literal=True) if kind == "stop" else name == text
    matching = forecasts.filter(
        (identifier == id_or_name) | (last_part == id_or_name) | named.fill_null(False)
    )
    if forecasts.height and matching.is_empty():
        raise PermanentFailure(_no_departure(forecasts, kind, id_or_name))
    return matching


def _no_departure(forecasts: pl.DataFrame, kind: str, id_or_name: str) -> str:
    ids = forecasts[f"{kind}_id"].unique().sort().to_list()
    names = forecasts[f"{kind}_name"].drop_nulls().unique().sort().to_list()
    similar = get_close_matches(id_or_name, [*ids, *names], SUGGESTIONS, cutoff=0.6)
    suggestion = (
        f"Did you mean {' or '.join(similar)}?"
        if similar
        else f"For instance: {', '.join(ids[:SUGGESTIONS])}"
    )
    return f"No forecast departure of {kind} {id_or_name}. There are {len(ids):,} {kind}s. {suggestion}"
