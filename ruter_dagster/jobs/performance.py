"""Joins forecasts to the loads that arrived."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.jobs import Performance
from ruter_dagster.contracts.tables import FORECAST_PERFORMANCE, LOAD_FORECASTS, STOP_LOADS
from ruter_dagster.forecasting.forecast_performance import forecast_performance
from ruter_dagster.jobs.context import JobContext, day_range
from ruter_dagster.jobs.plots import forecast_against_truth


def run(parameters: Performance, context: JobContext) -> None:
    loads, dates = context.read_asked(STOP_LOADS, parameters)
    issued = day_range(dates[0] - timedelta(HORIZON_DAYS), dates[-1])
    forecasts = context.read_unjudged(LOAD_FORECASTS, issued, where=pl.col("operating_date").is_in(dates))
    rows, summary = forecast_performance(forecasts, loads)
    wape = (
        rows.select((pl.col("mean") - pl.col("load")).abs().sum() / pl.col("load").sum()).item()
        if rows.height
        else None
    )
    context.write(
        FORECAST_PERFORMANCE,
        rows,
        dates,
        wape=wape,
        matched_share=summary.matched_share,
        forecast_without_truth=summary.forecast_without_truth,
        truth_without_forecast=summary.truth_without_forecast,
        forecast_against_truth=forecast_against_truth(rows) if rows.height else None,
    )
