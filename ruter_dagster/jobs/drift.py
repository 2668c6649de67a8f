"""Measures the drift of operating dates. Each metric is a check of the asset."""

from __future__ import annotations

import polars as pl

from ruter_dagster.contracts.drift import NETWORK, DriftMetric
from ruter_dagster.contracts.jobs import Drift, asset_of
from ruter_dagster.contracts.tables import DRIFT, STOP_LOADS
from ruter_dagster.forecasting.drift import measure_drift
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.drift_sums import read_sums
from ruter_dagster.jobs.operator_rules import drift_metrics_of
from ruter_dagster.jobs.pipes import table as as_table


def run(parameters: Drift, context: JobContext) -> None:
    dates = list(context.tables.versions(STOP_LOADS, parameters.dates, missing=parameters.missing))
    metrics = drift_metrics_of(context.operator)
    measured = measure_drift(dates, read_sums(dates, context), metrics, context.calendar.kind_of_loads)
    for metric in metrics:
        _report_check(metric, measured.filter(metric=metric.name), context)
    verdicts = measured["verdict"].value_counts()
    context.write(
        DRIFT,
        measured,
        dates,
        numbers={day: _values(measured.filter(operating_date=day)) for day in dates},
        verdicts=as_table(verdicts.sort("verdict").to_dicts()),
    )


def _report_check(metric: DriftMetric, rows: pl.DataFrame, context: JobContext) -> None:
    """Reports the check of a metric. `measured` is the network's value on the newest date, `scopes` all verdicts of that date."""
    beyond = rows.filter(pl.col("verdict").is_in(["warn", "act"]))
    of_newest_date = rows.filter(pl.col("operating_date") == pl.col("operating_date").max())
    newest = of_newest_date.filter(pl.col("scope") == NETWORK)["value"]
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
        beyond=as_table(beyond.cast({"operating_date": pl.String}).to_dicts()),
        scopes=as_table(
            of_newest_date.select(pl.col("operating_date").cast(pl.String), "scope", "verdict").to_dicts()
        ),
    )


def _values(of_date: pl.DataFrame) -> dict[str, float | None]:
    """The value of each metric for the whole network on one date."""
    network = of_date.filter(pl.col("scope") == NETWORK)
    return dict(network.select("metric", "value").iter_rows())
