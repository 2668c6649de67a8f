"""Adds up the scores of operating dates by line and by stop.

Both tables are written in one step: the sums by stop have no asset of their own, because they follow from the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.jobs import Scores
from ruter_dagster.contracts.scores import LINE_SCORES, PUBLISHED, STOP_SCORES
from ruter_dagster.contracts.tables import CHALLENGER_FORECASTS, FORECAST_PERFORMANCE, LOAD_FORECASTS, Table
from ruter_dagster.forecasting.forecast_performance import TRUTH_COLUMNS, scored_against
from ruter_dagster.forecasting.scores import GROUP_COLUMNS, SCORED_COLUMNS, ratios, score_sums
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import table


def run(parameters: Scores, context: JobContext) -> None:
    dates = list(
        context.tables.versions(
            FORECAST_PERFORMANCE, parameters.dates, missing=parameters.missing, verdict="ignore"
        )
    )
    # One date at a time, to limit memory: a date has millions of departures.
    by_date = [_sums_of(day, parameters, context) for day in context.track(dates, "Dates scored")]
    line_scores, stop_scores = (pl.concat(frames) for frames in zip(*by_date, strict=True))
    written = context.write_part(STOP_SCORES, stop_scores, dates)
    published = line_scores.filter(pl.col("variant") == PUBLISHED)
    context.write(
        LINE_SCORES,
        line_scores,
        dates,
        numbers={day: _numbers(published.filter(operating_date=day)) for day in dates},
        scores_by_variant=table(ratios(line_scores, ("variant",)).to_dicts()),
        stop_scores_rows=stop_scores.height,
        stop_scores_dates=len(written),
    )


def _sums_of(day: date, parameters: Scores, context: JobContext) -> tuple[pl.DataFrame, pl.DataFrame]:
    performance = context.tables.read(
        FORECAST_PERFORMANCE, [day], SCORED_COLUMNS, verdict="ignore", ordered=False
    )
    forecasts = _forecasts_of(LOAD_FORECASTS, day, GROUP_COLUMNS, context)
    stored = [context.store.snapshot(each) for each in (LINE_SCORES, STOP_SCORES)]
    if forecasts.is_empty() and all(snapshot.versions([day]) for snapshot in stored):
        # The job `retention` has deleted the forecasts, so that departures cannot be counted again.
        return stored[0].read([day]), stored[1].read([day])
    challenger = _challenger_of(day, performance["is_final"].any(), context)
    return score_sums(performance, forecasts, parameters.crowded_probability, *challenger)


def _forecasts_of(
    table: Table, day: date, columns: Sequence[str] | None, context: JobContext
) -> pl.DataFrame:
    return context.tables.read(
        table,
        day_range(day - timedelta(HORIZON_DAYS), day),
        columns,
        missing="skip",
        verdict="ignore",
        where=pl.col("operating_date") == day,
        ordered=False,
    )


def _challenger_of(
    day: date, is_final: bool, context: JobContext
) -> tuple[pl.DataFrame, pl.DataFrame] | tuple[()]:
    """The challenger's scored forecasts of a date, and all its forecasts; nothing if there are none.

    Its truth is that of the published forecasts, so that both are compared on the same loads.
    """
    forecasts = _forecasts_of(CHALLENGER_FORECASTS, day, None, context)
    if forecasts.is_empty():
        return ()
    truth = context.tables.read(FORECAST_PERFORMANCE, [day], TRUTH_COLUMNS, verdict="ignore", ordered=False)
    return scored_against(forecasts, truth.unique(), is_final), forecasts


def _numbers(sums: pl.DataFrame) -> dict[str, float | None]:
    """Scores of the published forecasts of one date."""
    names = (
        "wape",
        "bias",
        "coverage",
        "crps",
        "crowded_recall",
        "crowded_precision",
        "matched_share",
        "skill_against_ha4",
    )
    return ratios(sums).select(names).row(0, named=True)
