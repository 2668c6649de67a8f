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

LOADS = ("mean", "p10", "p50", "p90")
"""The columns of a forecast that are loads, in passengers."""


class ModelFailed(Exception):
    """A model cannot be read, or cannot forecast these rows. The baseline can be published instead."""


def forecast(
    features: pl.DataFrame,
    levels: pl.DataFrame,
    weather: pl.DataFrame,
    model: LoadModel | None,
    issue_date: date,
    thresholds: OccupancyThresholds,
    model_version: str | None = None,
    *,
    has_default_seats: pl.Expr | None = None,
    model_failed: bool = False,
) -> pl.DataFrame:
    """Forecasts of `features` (contract `features.departure_features`, service dates D to D+3) issued on D.

    Only the `levels` and `weather` issued on D are read. Without a model, HA4 is the forecast (`source` baseline). If HA4
    is unknown too, the forecast is a mean of wider groups (`source` fallback).

    `has_default_seats`: see `reasons`. `model_failed`: the baseline replaces a model that failed, so that every row has the
    `source` fallback and the reason `modelFailed`. Raises `ModelFailed` if the model cannot forecast these rows.
    """
    rows = model_rows(features, levels, weather, issue_date)
    source = [pl.lit("fallback").alias("source")] if model_failed else []
    return conform(
        pl.concat([rows, forecast_rows(rows, model)], how="horizontal")
        .lazy()
        .with_columns(
            pl.col("service_date").alias("operating_date"),
            pl.lit(model_version if model else None, pl.String).alias("model_version"),
            *baseline_columns(),
            pl.lit(thresholds.version).alias("thresholds_version"),
            *occupancy("mean", thresholds),
            *source,
            reasons(has_default_seats, model_failed),
        )
        .select(LOAD_FORECASTS.column_names)
        .collect(),
        LOAD_FORECASTS,
    )


def forecast_rows(rows: pl.DataFrame, model: LoadModel | None) -> pl.DataFrame:
    """`mean`, `p10`, `p50`, `p90`, `prob_above_seats` and `source` of model rows, row by row.

    Raises `ModelFailed` if the model raises any error, or forecasts something other than finite numbers.
    """
    if model is None:
        return forecast_baseline(rows)
    source = pl.when(has_own_counts()).then(pl.lit("model")).otherwise(pl.lit("fallback"))
    return _predict(model, rows).with_columns(rows.select(source.alias("source")).to_series())


def _predict(model: LoadModel, rows: pl.DataFrame) -> pl.DataFrame:
    try:
        predicted = model.predict(rows)
    except MemoryError:
        raise
    except Exception as error:
        raise ModelFailed(f"it cannot forecast {rows.height:,} departures: {error}") from error
    broken = predicted.filter(pl.any_horizontal(pl.col(LOADS).is_finite().not_())).height
    if broken:
        raise ModelFailed(f"{broken:,} of its {rows.height:,} forecasts are no finite numbers")
    return predicted
