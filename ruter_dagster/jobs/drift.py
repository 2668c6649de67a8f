"""Measures the drift of operating dates. Each metric is a check of the asset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.date_windows import (
    DRIFT_PLAN_DAYS,
    DRIFT_REFERENCE_DAYS,
    DRIFT_VERDICT_DAYS,
)
from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.drift import NETWORK, DriftMetric
from ruter_dagster.contracts.jobs import Drift, asset_of
from ruter_dagster.contracts.tables import (
    DRIFT,
    FORECAST_PERFORMANCE,
    PLANNED_DEPARTURES,
    STOP_LOADS,
    STOP_VISITS,
    Table,
)
from ruter_dagster.forecasting.drift import measure_drift
from ruter_dagster.forecasting.drift_sums import (
    LOAD_COLUMNS,
    PERFORMANCE_COLUMNS,
    VISIT_COLUMNS,
    DriftSums,
)
from ruter_dagster.forecasting.sensor_health import PLAN_COLUMNS, SENSOR_LOAD_COLUMNS, SensorSums
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.operator_rules import drift_metrics_of
from ruter_dagster.jobs.pipes import table as as_table


def run(parameters: Drift, context: JobContext) -> None:
    dates = list(context.tables.versions(STOP_LOADS, parameters.dates, missing=parameters.missing))
    metrics = drift_metrics_of(context.operator)
    measured = measure_drift(dates, _sums(dates, context), metrics, context.calendar.kind_of_loads)
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


def _sums(dates: Sequence[date], context: JobContext) -> DriftSums:
    """Sums of the dates and of the dates before them, read one date at a time to limit memory."""
    first = dates[0] - timedelta(DRIFT_VERDICT_DAYS)
    days = day_range(first - timedelta(DRIFT_REFERENCE_DAYS), dates[-1])
    performance = context.tables.versions(FORECAST_PERFORMANCE, days, missing="skip", verdict="ignore")
    known = {*context.tables.versions(STOP_LOADS, days, missing="skip", verdict="skip"), *performance}
    parts = []
    for day in context.track([day for day in days if day in known or day in dates], "Dates summed"):
        parts.append(_sums_of(day, first, context))
    return DriftSums.joined(parts)


def _sums_of(day: date, first: date, context: JobContext) -> DriftSums:
    """Sums of one date. Dates before `first` are only references."""
    columns = dict.fromkeys((*LOAD_COLUMNS, *SENSOR_LOAD_COLUMNS))
    performance = context.tables.read(
        FORECAST_PERFORMANCE, [day], PERFORMANCE_COLUMNS, missing="skip", verdict="ignore", ordered=False
    )
    loads = context.tables.read(STOP_LOADS, [day], [*columns], missing="skip", verdict="skip", ordered=False)
    visits = _read(context, STOP_VISITS, day, VISIT_COLUMNS) if day >= first else None
    needed = [day] if day >= first else []
    return DriftSums.of(needed, performance, loads, visits, _sensor_sums(day, first, loads, context))


def _sensor_sums(day: date, first: date, loads: pl.DataFrame, context: JobContext) -> SensorSums:
    """Sums of the counters. The journeys of dates that no timetable is compared with are left out to limit memory."""
    plan = _read(context, PLANNED_DEPARTURES, day, PLAN_COLUMNS)
    sums = SensorSums.of(loads, plan, context.operator.time_zone)
    compared = day >= first - timedelta(DRIFT_PLAN_DAYS)
    return sums if compared else replace(sums, journeys=sums.journeys.clear())


def _read(context: JobContext, table: Table, day: date, columns: Sequence[str]) -> pl.DataFrame:
    return context.tables.read(table, [day], columns, missing="skip", verdict="skip", ordered=False)
