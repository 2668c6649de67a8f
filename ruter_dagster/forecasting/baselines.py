"""Baselines on model rows: LW, HA4, HA8, and the forecast that is published where no model stands."""

from __future__ import annotations

import numpy as np
import polars as pl

from ruter_dagster.contracts.features import LAG_WEEKS
from ruter_dagster.forecasting.model import forecast_columns
from ruter_dagster.forecasting.spread import QUANTILES, Numbers, to_root
from ruter_dagster.forecasting.tiers import with_ignorance

BASELINES = ("last_week", "ha4", "ha8")
_BANDS = (2.0, 5.0, 10.0, 20.0, 40.0)
"""Bounds of the bands of load within which slots share one spread."""
_FEWEST_IN_BAND = 50
_UNKNOWN_SPREAD = (-0.9, 0.0, 0.9)


def baseline_columns() -> list[pl.Expr]:
    """`last_week`, `ha4`, `ha8` and `history_count` of departure features or model rows."""
    return [pl.col("lag_1").alias("last_week"), pl.col("ha4"), pl.col("ha8"), pl.col("history_count")]


def forecast_baseline(rows: pl.DataFrame) -> pl.DataFrame:
    """HA4 as a forecast: columns as `LoadModel.predict`, and `source`.

    Where HA4 is unknown (`source` fallback) the mean is the row's `expected`, of whatever tier; where nothing was ever
    counted, a share of the seats, as wide as they are.
    """
    mean = rows.select(pl.coalesce("ha4", "expected")).to_series()
    spread = _spread_of_history(rows, mean.to_numpy())
    source = pl.when(pl.col("ha4").is_null()).then(pl.lit("fallback")).otherwise(pl.lit("baseline"))
    return with_ignorance(forecast_columns(mean.to_numpy(), spread, rows["seats"]), rows).with_columns(
        rows.select(source.alias("source")).to_series()
    )


def _spread_of_history(rows: pl.DataFrame, mean: Numbers) -> Numbers:
    """Empirical quantiles of past loads around HA8, on the scale of roots, by band of load; shape (rows, 3)."""
    lags = rows.select(f"lag_{week}" for week in range(1, LAG_WEEKS + 1)).cast(pl.Float64).to_numpy()
    average = rows["ha8"].cast(pl.Float64).to_numpy()[:, None]
    # A mean of n lags lies closer to each of them than to the load to come: (n + 1) / (n - 1) in variance.
    count = rows["history_count"].to_numpy()[:, None].astype(float)
    inflation = np.sqrt((count + 1) / np.maximum(count - 1, 1))
    residual = (to_root(lags) - to_root(average)) * inflation
    residual[(count < 2)[:, 0]] = np.nan
    bands, of_past = np.digitize(mean, _BANDS), np.digitize(np.nan_to_num(average[:, 0]), _BANDS)
    overall = _quantiles(residual, np.array(_UNKNOWN_SPREAD))
    table = np.array([_quantiles(residual[of_past == band], overall) for band in range(len(_BANDS) + 1)])
    return table[bands]


def _quantiles(residual: Numbers, otherwise: Numbers) -> Numbers:
    known = residual[np.isfinite(residual)]
    return np.quantile(known, QUANTILES) if len(known) >= _FEWEST_IN_BAND else otherwise
