"""States with forecasts, loads and drift of two issue dates, for tests of the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl
from dagster import AssetMaterialization, DagsterInstance

from ruter_dagster.contracts.jobs import asset_of
from ruter_dagster.contracts.tables import DRIFT, LOAD_FORECASTS, STOP_LOADS
from ruter_dagster.contracts.validation import conform
from ruter_dagster.storage.tables import TableStore
from tests.publishing.samples import ISSUE_DATE, load_forecasts
from tests.recorded_runs import record

DEPARTURES = 400
NEXT = ISSUE_DATE + timedelta(1)
ISSUE_DATES = (ISSUE_DATE, NEXT)


def forecasts(
    factor: float = 1.0, days: Sequence[date] = ISSUE_DATES, level: str | None = None
) -> pl.DataFrame:
    """Forecasts of the same departures on each issue date, all means multiplied by `factor`."""
    # Four consecutive rows are the dates of one departure: its mean is the same on all of them.
    mean = (pl.int_range(pl.len()) // 4 % 97) * 1.2345
    frame = load_forecasts(DEPARTURES).with_columns(mean=mean)
    parts = [
        frame.with_columns(
            issue_date=pl.lit(day),
            operating_date=pl.col("operating_date") + (day - ISSUE_DATE),
            mean=pl.col("mean") * factor,
            **({"occupancy_level": pl.lit(level)} if level else {}),
        )
        for day in days
    ]
    return conform(pl.concat(parts), LOAD_FORECASTS)


def loads(days: Sequence[date], factor: float = 1.0) -> pl.DataFrame:
    """Counted loads: the means of `forecasts()` of the operating dates, multiplied by `factor`."""
    frame = forecasts().filter(pl.col("operating_date").is_in(list(days)))
    counted = frame.unique(("operating_date", "trip_id", "stop_sequence"), keep="first").with_columns(
        service_date="operating_date",
        trip_id_performed="trip_id",
        load=pl.col("mean") * factor,
        weight=pl.lit(1.0),
    )
    missing = [name for name in STOP_LOADS.column_names if name not in counted.columns]
    return conform(
        counted.with_columns(pl.lit(None).alias(name) for name in missing).select(STOP_LOADS.column_names),
        STOP_LOADS,
    )


def drift(day: date, verdict: str) -> pl.DataFrame:
    row = {
        "operating_date": day,
        "metric": "skill_against_ha4",
        "scope": "network",
        "value": 0.04,
        "warn": 0.05,
    }
    return conform(pl.DataFrame([{**row, "act": 0.0, "verdict": verdict, "detail": None}]), DRIFT)


def write(store: TableStore, frame: pl.DataFrame) -> None:
    store.write(LOAD_FORECASTS, frame, frame["issue_date"].unique().to_list(), code_version="1")


def write_truth(store: TableStore, days: Sequence[date], factor: float = 1.0, verdict: str = "ok") -> None:
    store.write(STOP_LOADS, loads(days, factor), days, code_version="1")
    store.write(DRIFT, drift(days[-1], verdict), [days[-1]], code_version="1")


def record_run(instance: DagsterInstance, store: TableStore, cost: float) -> None:
    """Records the present forecasts of all dates in one run, each date as a job with this cost."""
    asset = asset_of(LOAD_FORECASTS.name)
    dates = [
        AssetMaterialization(
            asset,
            partition=str(day),
            metadata={
                "content_hash": version,
                "sagemaker/job_arn": f"arn:{day}:{version}",
                "sagemaker/estimated_cost": cost,
            },
        )
        for day, version in store.versions(LOAD_FORECASTS, ISSUE_DATES).items()
    ]
    record(instance, *dates)
