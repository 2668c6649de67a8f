"""Measures the drift of operating dates. Each metric is a check of the asset."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.date_windows import DRIFT_REFERENCE_DAYS
from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.drift import DRIFT_METRICS, NETWORK, DriftMetric
from ruter_dagster.contracts.jobs import Drift, asset_of
from ruter_dagster.contracts.tables import DRIFT, FORECAST_PERFORMANCE, STOP_LOADS, STOP_VISITS
from ruter_dagster.forecasting.drift import measure_drift
from ruter_dagster.forecasting.drift_sums import LOAD_COLUMNS, PERFORMANCE_COLUMNS, DriftSums
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import table


def run(parameters: Drift, context: JobContext) -> None:
    dates = list(context.tables.versions(STOP_LOADS, parameters.dates, missing=parameters.missing))
    measured = measure_drift(dates, _sums(dates, context))
    for metric in DRIFT_METRICS:
        _report_check(metric, measured.filter(metric=metric.name), context)
    verdicts = measured["verdict"].value_counts()
    context.write(
        DRIFT,
        measured,
        dates,
        numbers={day: _values(measured.filter(operating_date=day)) for day in dates},
        verdicts=table(verdicts.sort("verdict").to_dicts()),
    )


def _report_check(metric: DriftMetric, rows: pl.DataFrame, context: JobContext) -> None:
    """Reports the check of a metric. `measured` is the network's value on the newest date."""
    beyond = rows.filter(pl.col("verdict").is_in(["warn", "act"]))
    newest = rows.filter(pl.col("scope") == NETWORK).sort("operating_date")["value"].tail(1)
    context.report.checked(
        asset_of(DRIFT.name),
        metric.name,
        beyond.is_empty(),
        "WARN",
        judged=bool((rows["verdict"] != "unknown").any()),
        act="act" in beyond["verdict"],
        measured=newest.item() if len(newest) else None,
        warn_threshold=metric.warn,
        act_threshold=metric.act,
        beyond=table(beyond.cast({"operating_date": pl.String}).to_dicts()),
    )


def _values(of_date: pl.DataFrame) -> dict[str, float | None]:
    """The value of each metric for the whole network on one date."""
    network = of_date.filter(pl.col("scope") == NETWORK)
    return dict(network.select("metric", "value").iter_rows())


def _sums(dates: Sequence[date], context: JobContext) -> DriftSums:
    """Sums of the dates and of the dates before them, read one date at a time to limit memory."""
    days = day_range(dates[0] - timedelta(DRIFT_REFERENCE_DAYS), dates[-1])
    performance = context.tables.versions(FORECAST_PERFORMANCE, days, missing="skip", verdict="ignore")
    known = {*context.tables.versions(STOP_LOADS, days, missing="skip", verdict="skip"), *performance}
    parts = []
    for day in context.track([day for day in days if day in known or day in dates], "Dates summed"):
        measured = [day] if day in dates else []
        parts.append(
            DriftSums.of(
                measured,
                context.tables.read(
                    FORECAST_PERFORMANCE, [day], PERFORMANCE_COLUMNS, missing="skip", verdict="ignore"
                ),
                context.tables.read(
                    STOP_LOADS, [day], LOAD_COLUMNS, missing="skip", verdict="skip", ordered=False
                ),
                context.tables.read(STOP_VISITS, measured, missing="skip", verdict="skip")
                if measured
                else None,
            )
        )
    return DriftSums.joined(parts)
