"""Measures drift of operating dates and warns of it: each metric is a check of the asset."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from ruter_dagster.contracts.drift import DRIFT_METRICS
from ruter_dagster.contracts.jobs import Drift, asset_of
from ruter_dagster.contracts.tables import DRIFT, FORECAST_PERFORMANCE, STOP_LOADS, STOP_VISITS
from ruter_dagster.forecasting.drift import drift
from ruter_dagster.jobs.context import JobContext, day_range
from ruter_dagster.jobs.pipes import table

REFERENCE_DAYS = 56


def run(parameters: Drift, context: JobContext) -> None:
    dates = context.dates_asked(STOP_LOADS, parameters.dates, parameters.of_range)
    context.read(STOP_LOADS, dates, ["service_date"])
    days = day_range(dates[0] - timedelta(REFERENCE_DAYS), dates[-1])
    loads = context.read_history(
        STOP_LOADS, days, ["service_date", "trip_id", "stop_sequence", "mode", "load"]
    )
    performance = context.read_unjudged(FORECAST_PERFORMANCE, days)
    visits = context.read_history(STOP_VISITS, dates)
    measured = drift(dates, performance, loads, visits)
    for metric in DRIFT_METRICS:
        of_metric = measured.filter(metric=metric.name)
        beyond = of_metric.filter(pl.col("verdict").is_in(["warn", "act"]))
        context.report.checked(
            asset_of(DRIFT.name),
            metric.name,
            beyond.is_empty(),
            "WARN",
            judged=bool((of_metric["verdict"] != "unknown").any()),
            act="act" in beyond["verdict"],
            beyond=table(beyond.cast({"operating_date": pl.String}).to_dicts()),
        )
    verdicts = measured["verdict"].value_counts()
    context.write(DRIFT, measured, dates, verdicts=table(verdicts.sort("verdict").to_dicts()))
