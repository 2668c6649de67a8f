"""Joins forecasts to the loads that arrived."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.jobs import Performance
from ruter_dagster.contracts.tables import FORECAST_PERFORMANCE, LOAD_FORECASTS, STOP_LOADS
from ruter_dagster.forecasting.forecast_performance import PerformanceSummary, forecast_performance
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.plots import forecast_against_truth


def run(parameters: Performance, context: JobContext) -> None:
    dates = list(context.tables.versions(STOP_LOADS, parameters.dates, missing=parameters.missing))
    loads = context.tables.read(STOP_LOADS, dates)
    issued = day_range(dates[0] - timedelta(HORIZON_DAYS), dates[-1])
    forecasts = context.tables.read(
        LOAD_FORECASTS,
        issued,
        missing="skip",
        verdict="ignore",
        where=pl.col("operating_date").is_in(dates),
    )
    by_date = {
        day: forecast_performance(
            forecasts.filter(pl.col("operating_date") == day), loads.filter(pl.col("service_date") == day)
        )
        for day in dates
    }
    rows = pl.concat([rows for rows, _ in by_date.values()]).sort(FORECAST_PERFORMANCE.key)
    context.write(
        FORECAST_PERFORMANCE,
        rows,
        dates,
        numbers={day: _numbers(of_date, summary) for day, (of_date, summary) in by_date.items()},
        wape=_wape(rows),
        forecast_against_truth=forecast_against_truth(rows).markdown() if rows.height else None,
    )


def _numbers(rows: pl.DataFrame, summary: PerformanceSummary) -> dict[str, float | None]:
    """Accuracy and coverage of the forecasts of one date."""
    return {
        "wape": _wape(rows),
        "matched_share": summary.matched_share,
        "forecast_without_truth": summary.forecast_without_truth,
        "truth_without_forecast": summary.truth_without_forecast,
    }


def _wape(rows: pl.DataFrame) -> float | None:
    """Weighted absolute percentage error: sum of absolute errors / sum of loads; None if all loads are zero."""
    errors = (pl.col("mean") - pl.col("load")).abs().sum()
    wape = pl.when(pl.col("load").sum() > 0).then(errors / pl.col("load").sum())
    return rows.select(wape).item()
