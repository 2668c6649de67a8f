"""Measures drift of operating dates and warns of it: each metric is a check of the asset."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.date_windows import DRIFT_REFERENCE_DAYS
from ruter_dagster.contracts.drift import DRIFT_METRICS
from ruter_dagster.contracts.jobs import Drift, asset_of
from ruter_dagster.contracts.tables import DRIFT, FORECAST_PERFORMANCE, STOP_LOADS, STOP_VISITS
from ruter_dagster.forecasting.drift import drift_from_sums
from ruter_dagster.forecasting.drift_sums import LOAD_COLUMNS, PERFORMANCE_COLUMNS, DriftSums
from ruter_dagster.jobs.context import JobContext, day_range
from ruter_dagster.jobs.pipes import table


def run(parameters: Drift, context: JobContext) -> None:
    dates = context.dates_passed(STOP_LOADS, parameters.dates, parameters.of_range)
    measured = drift_from_sums(dates, _sums(dates, context))
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


def _sums(dates: Sequence[date], context: JobContext) -> DriftSums:
    """Of the dates and those that they are compared with, read one at a time."""
    days = day_range(dates[0] - timedelta(DRIFT_REFERENCE_DAYS), dates[-1])
    performed = context.snapshot(FORECAST_PERFORMANCE).versions(days)
    known = {*context.history(STOP_LOADS, days), *performed}
    parts = []
    for day in context.track([day for day in days if day in known or day in dates], "Dates summed"):
        judged = [day] if day in dates else []
        parts.append(
            DriftSums.of(
                judged,
                context.read_unjudged(FORECAST_PERFORMANCE, [day], PERFORMANCE_COLUMNS),
                context.read_history(STOP_LOADS, [day], LOAD_COLUMNS, ordered=False),
                context.read_history(STOP_VISITS, judged) if judged else None,
            )
        )
    return DriftSums.joined(parts)
