"""Data of the page Yesterday: forecasts against observed loads, from the network down to one departure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from math import isclose
from typing import Any

import polars as pl

from ruter_dagster.contracts.scores import LINE_SCORES
from ruter_dagster.contracts.tables import OWN_TIERS
from ruter_dagster.dashboards.data.words import Names, different, local_time, reasons_in_words, share
from ruter_dagster.dashboards.engine import Reader
from ruter_dagster.dashboards.queries import (
    JOURNEY_PERFORMANCE,
    JOURNEYS_OF_LINE,
    LINE_DAY_SCORES,
    NETWORK_SCORES,
    PERFORMANCE_SUMS,
    STOP_DAY_SCORES,
    WORST_JOURNEYS,
)
from ruter_dagster.forecasting.scores import ratios

PERIOD_DAYS = 30
BY_SURPRISE, BY_ERROR = "surprise", "error"
ORDERS = {BY_SURPRISE: "Error / P10-P90", BY_ERROR: "Largest error"}
"""Orders of the worst forecasts, in words. Ordered by error, large vehicles hide a mode of small ones."""
LINE_SHIFT = 0.25
"""From this change on, a whole line is the likely reason of its departures' errors. The change is observed / forecast passengers - 1."""
JOURNEY_SHIFT = 0.5
CLOSE = 0.5
"""The mean of four weeks is as wrong as the forecast if its error is at least this share of the forecast's error."""


@dataclass(frozen=True)
class Selection:
    """Forecasts of an operating date that were issued `horizon` days before; None selects all modes and lines."""

    operating_date: date
    horizon: int = 1
    mode: str | None = None
    line: str | None = None


def scored_dates(reader: Reader) -> list[date]:
    """The newest 30 written dates of the scores, the newest first."""
    return reader.dates(LINE_SCORES)[: -PERIOD_DAYS - 1 : -1]


def network_scores(
    reader: Reader, first: date, last: date, horizon: int, mode: str | None = None, line: str | None = None
) -> pl.DataFrame:
    """Ratios of the published forecasts by operating date, of all or one mode and line; dates with observed loads alone."""
    sums = reader.run(NETWORK_SCORES, first=first, last=last, horizon=horizon, mode=mode, line=line)
    return ratios(sums.filter(pl.col("matched") > 0), ("operating_date",))


def with_scored_lines(reader: Reader, day: date, horizon: int, names: Names) -> Names:
    """The names, with the lines and modes that have scores on the date. Without a timetable, these are all lines."""
    rows = reader.run(LINE_DAY_SCORES, first=day, last=day, horizon=horizon, mode=None)
    return replace(names, modes={**dict(rows.select("line_id", "mode").iter_rows()), **names.modes})


def line_scores(reader: Reader, selection: Selection, names: Names) -> pl.DataFrame:
    """Ratios of the selected lines and `load`, the sum of observed loads; the line with the largest error first."""
    day = selection.operating_date
    sums = reader.run(LINE_DAY_SCORES, first=day, last=day, horizon=selection.horizon, mode=selection.mode)
    sums = sums.filter(pl.col("matched") > 0)
    added = sums.select("line_id", "mode", "load", "absolute_error")
    scores = ratios(sums, ("line_id", "mode")).join(added, on=("line_id", "mode"))
    return (
        names.labelled(scores)
        .with_columns(operating_date=pl.lit(day))
        .sort("absolute_error", descending=True)
    )


def scores_note(reader: Reader, day: date, horizon: int) -> str:
    """A sentence if the scores of a date are those of other rows than the forecasts and observed loads have now; else empty."""
    sums = reader.run(LINE_DAY_SCORES, first=day, last=day, horizon=horizon, mode=None)
    rows = reader.run(PERFORMANCE_SUMS, operating_date=day, horizon=horizon).row(0, named=True)
    if all(
        isclose(sums[name].sum(), rows[name] or 0, rel_tol=1e-6, abs_tol=0.5)
        for name in ("matched", "load", "mean")
    ):
        return ""
    return (
        f"The scores of {day} are older than its forecasts and observed loads, so the figures on this page contradict each other. "
        f"Materialise `monitoring/line_scores` for {day}."
    )


def stop_scores(reader: Reader, selection: Selection, names: Names) -> pl.DataFrame:
    """Ratios of the stops of the selected line, by direction."""
    day = selection.operating_date
    sums = reader.run(STOP_DAY_SCORES, first=day, last=day, horizon=selection.horizon, line=selection.line)
    scores = names.labelled(ratios(sums.filter(pl.col("matched") > 0), ("stop_id", "direction_id")))
    return scores.with_columns(operating_date=pl.lit(day), line_id=pl.lit(selection.line, pl.String))


def journeys(reader: Reader, selection: Selection, time_zone: str) -> pl.DataFrame:
    """The service journeys of the selected line with WAPE and bias, the one with the largest error first."""
    rows = reader.run(
        JOURNEYS_OF_LINE,
        operating_date=selection.operating_date,
        horizon=selection.horizon,
        line=selection.line,
    )
    load = pl.when(pl.col("load") > 0).then("load")
    return rows.with_columns(
        operating_date=pl.lit(selection.operating_date),
        line_id=pl.lit(selection.line, pl.String),
        time=_time(time_zone),
        wape=pl.col("absolute_error") / load,
        bias=(pl.col("mean") - pl.col("load")) / load,
        coverage=pl.col("covered") / pl.col("departures"),
    )


def journey_labels(journeys: pl.DataFrame) -> dict[str, str]:
    """A different label for each journey of a line, by trip: `08:08 direction 0`. `journeys` is the result of `journeys`."""
    return different({row["trip_id"]: f"{row['time']} direction {row['direction_id']}" for row in journeys.iter_rows(named=True)})  # fmt: skip


def worst_of_line(worst: pl.DataFrame, line: str | None) -> tuple[str, str] | None:
    """The trip of the line's worst forecast and its words, time and stop: that of `day_sentence`, if the line is selected."""
    rows = worst.filter(pl.col("line_id") == pl.lit(line, pl.String))
    if rows.is_empty():
        return None
    row = rows.row(0, named=True)
    return row["trip_id"], f"{row['time']} from {row['stop']}"


def journey(reader: Reader, selection: Selection, trip: str, names: Names, time_zone: str) -> pl.DataFrame:
    """Forecasts and observed loads along a service journey, in stop order, with the columns line, stop and time."""
    rows = reader.run(
        JOURNEY_PERFORMANCE, operating_date=selection.operating_date, horizon=selection.horizon, trip=trip
    )
    return names.labelled(rows).with_columns(time=_time(time_zone))


def worst_journeys(
    reader: Reader,
    selection: Selection,
    lines: pl.DataFrame,
    names: Names,
    time_zone: str,
    order: str = BY_SURPRISE,
) -> pl.DataFrame:
    """The 50 journeys with the worst forecasts, one row each at its worst stop, with the likely reason.

    `surprise` is the journey's sum of absolute errors / the sum of its widths of P10-P90. `lines` is the result of `line_scores`,
    `order` one of `ORDERS`.
    """
    rows = reader.run(
        WORST_JOURNEYS,
        operating_date=selection.operating_date,
        horizon=selection.horizon,
        mode=selection.mode,
        line=selection.line,
        order=order,
    )
    changes = line_changes(lines)
    reasons = [
        likely_reason(row, changes.get(row["line_id"]), _whole_journey(row))
        for row in rows.iter_rows(named=True)
    ]
    return names.labelled(rows).with_columns(
        time=_time(time_zone),
        interval=pl.format("{}-{}", pl.col("p10").round().cast(pl.Int64), pl.col("p90").round().cast(pl.Int64)),
        error=pl.col("mean") - pl.col("load"),
        likely_reason=pl.Series(reasons, dtype=pl.String),
    )  # fmt: skip


def line_changes(lines: pl.DataFrame) -> dict[str, float | None]:
    """Observed / forecast passengers - 1 of each line: -0.5 if half of those that were forecast travelled. None if none were forecast.

    `lines` has the bias of each line, forecast / observed passengers - 1.
    """
    forecast = 1 + pl.col("bias")
    changes = lines.select("line_id", change=1 / pl.when(forecast > 0).then(forecast) - 1)
    return dict(changes.iter_rows())


def _whole_journey(row: Mapping[str, Any]) -> bool:
    """Whether at least half of the journey's departures are outside P10-P90 on the side of the worst stop."""
    outside = row["above"] if row["load"] > row["mean"] else row["below"]
    return row["journey_departures"] > 1 and 2 * outside >= row["journey_departures"]


def likely_reason(row: Mapping[str, Any], line_change: float | None, whole_journey: bool) -> str:
    """Why a forecast was far from the observed load, in words: the first of these that applies.

    The reasons that the forecast itself stated; a baseline in place of the model; no counts of the departure; a whole line or a
    whole journey that differed; a load as unusual for the last four weeks as for the model; else an error of the model.
    `line_change` is observed / forecast passengers of the line on the date - 1. `whole_journey`: at least half of the journey's
    departures are outside P10-P90 on the same side.
    """
    busier = row["load"] > row["mean"]
    more = "more" if busier else "fewer"
    if row["reasons"]:
        return f"Known before: {reasons_in_words(row['reasons'])}"
    if row["source"] != "model":
        return f"Not forecast by the model, but by the {row['source']}"
    if row["expected_tier"] is not None and row["expected_tier"] not in OWN_TIERS:
        return "No counts of this departure in the weeks before"
    if line_change is not None and abs(line_change) >= LINE_SHIFT and (line_change > 0) == busier:
        return f"Whole line: {abs(line_change):.0%} {more} passengers than forecast"
    if _unusual_too_for_ha4(row, busier):
        where = "Whole journey" if whole_journey else "This stop alone"
        return f"{where}: far {more} than its 4-week mean ({row['ha4']:.0f})"
    if row["ha4"] is not None:
        return f"Error of the model: the 4-week mean was closer ({row['ha4']:.0f})"
    return "Unknown: no loads of the last four weeks to compare with"


def _unusual_too_for_ha4(row: Mapping[str, Any], busier: bool) -> bool:
    if row["ha4"] is None:
        return False
    difference = row["load"] - row["ha4"]
    return (difference > 0) == busier and abs(difference) >= CLOSE * abs(row["load"] - row["mean"])


def _time(time_zone: str) -> pl.Expr:
    """The local time; of rows of an older version, which lack the time, the hour."""
    hour = pl.format("{}:--", (pl.col("slot_hour") % 24).cast(pl.String).str.zfill(2))
    return pl.coalesce(local_time(time_zone), hour)


def day_sentence(scores: Mapping[str, Any], worst: pl.DataFrame, unusual: str = "") -> str:
    """The answer to the page's first question, in Markdown.

    `scores` is a row of `network_scores`, `unusual` the sentence about lines with unusual errors.
    """
    sentence = f"Forecasts were off by **{share(scores['wape'], 1)}** of the passengers (WAPE)"
    if scores["skill_against_ha4"] is not None:
        skill = scores["skill_against_ha4"]
        sentence += f", {share(abs(skill), 1)} {'less' if skill >= 0 else 'more'} than the mean of four weeks"
    sentence = f"{sentence}. {unusual}".rstrip()
    if worst.is_empty():
        return sentence
    row = worst.row(0, named=True)
    return (
        f"{sentence} The worst forecast was **line {row['line']} at {row['time']} from {row['stop']}**: "
        f"{row['mean']:.0f} expected, {row['load']:.0f} observed. Likely reason: {_lower(row['likely_reason'])}."
    )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def period_of(dates: list[date], days: int) -> tuple[date, date]:
    """First and last date of the newest `days` days that end with the newest of `dates`."""
    newest = max(dates)
    return newest - timedelta(days - 1), newest
