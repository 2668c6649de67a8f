"""The forecast of an issue date: model rows in, contract `forecasts.load_forecasts` out, one row per departure."""

from __future__ import annotations

from datetime import date

import polars as pl

from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.contracts.validation import conform
from ruter_dagster.forecasting.baselines import baseline_columns, forecast_baseline
from ruter_dagster.forecasting.model import LoadModel
from ruter_dagster.forecasting.model_rows import model_rows
from ruter_dagster.forecasting.occupancy import OccupancyThresholds, occupancy
from ruter_dagster.forecasting.reasons import reasons
from ruter_dagster.forecasting.tiers import has_own_counts


def forecast(
    features: pl.DataFrame,
    levels: pl.DataFrame,
    weather: pl.DataFrame,
    model: LoadModel | None,
    issue_date: date,
    thresholds: OccupancyThresholds,
    model_version: str | None = None,
) -> pl.DataFrame:
    """Forecasts of `features` (contract `features.departure_features`, service dates D to D+3) issued on D.

    Only the `levels` and `weather` issued on D are read. Without a model, HA4 is the forecast (`source` baseline). If HA4
    is unknown too, the forecast is a mean of wider groups (`source` fallback).
    """
    rows = model_rows(features, levels, weather, issue_date)
    return conform(
        pl.concat([rows, forecast_rows(rows, model)], how="horizontal")
        .lazy()
        .with_columns(
            pl.col("service_date").alias("operating_date"),
            pl.lit(model_version if model else None, pl.String).alias("model_version"),
            *baseline_columns(),
            pl.lit(thresholds.version).alias("thresholds_version"),
            *occupancy("mean", thresholds),
            reasons(),
        )
        .select(LOAD_FORECASTS.column_names)
        .collect(),
        LOAD_FORECASTS,
    )


def forecast_rows(rows: pl.DataFrame, model: LoadModel | None) -> pl.DataFrame:
    """`mean`, `p10`, `p50`, `p90`, `prob_above_seats` and `source` of model rows, row by row."""
    if model is None:
        return forecast_baseline(rows)
    source = pl.when(has_own_counts()).then(pl.lit("model")).otherwise(pl.lit("fallback"))
    return model.predict(rows).with_columns(rows.select(source.alias("source")).to_series())
