"""Baselines: last week (LW), means of 4 and 8 weeks (HA4, HA8), a six-month mean, and the forecast without a model."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from ruter_dagster.contracts.date_windows import LAG_WEEKS
from ruter_dagster.forecasting.lookup import look_up
from ruter_dagster.forecasting.model import forecast_columns
from ruter_dagster.forecasting.prediction_intervals import QUANTILES, Numbers, to_root
from ruter_dagster.forecasting.tiers import with_unknown_loads

BASELINES = ("last_week", "ha4", "ha8")
SIX_MONTH_MEAN = "six_month_mean"
_SIX_MONTHS = 182
_WEEKS = {"last_week": 1, "ha4": 4, "ha8": 8}
_BANDS = (2.0, 5.0, 10.0, 20.0, 40.0)
"""Bounds of the load bands. Slots of one band share a spread."""
_MIN_IN_BAND = 50
_UNKNOWN_SPREAD = (-0.9, 0.0, 0.9)


def baseline_columns() -> list[pl.Expr]:
    """`last_week`, `ha4`, `ha8` and `history_count` of departure features or model rows."""
    return [pl.col("lag_1").alias("last_week"), pl.col("ha4"), pl.col("ha8"), pl.col("history_count")]


def baseline_quantiles() -> list[pl.Expr]:
    """`<baseline>_p10`, `_p50`, `_p90` and `_above_seats` of model rows.

    They are quantiles of the lags that a baseline averages, and the share of lags above the seats; null without lags.
    """
    return [
        column
        for name, weeks in _WEEKS.items()
        for column in _lag_quantiles(name, [f"lag_{week}" for week in range(1, weeks + 1)])
    ]


def _lag_quantiles(name: str, lags: list[str]) -> list[pl.Expr]:
    known = pl.concat_list(lags).list.drop_nulls()
    quantiles = [
        known.list.eval(pl.element().quantile(level, "linear"))
        .list.first()
        .alias(f"{name}_p{round(100 * level)}")
        for level in QUANTILES
    ]
    above = pl.mean_horizontal((pl.col(lag) > pl.col("seats")).cast(pl.Float64) for lag in lags)
    return [*quantiles, above.alias(f"{name}_above_seats")]


def six_month_means(counted: pl.DataFrame, rows: pl.DataFrame, issue_date: date) -> pl.DataFrame:
    """`six_month_mean` and its `_p10`, `_p50`, `_p90`, one row for each of `rows`: the usual method of commercial products.

    It is a mean load on the 182 service dates before the issue date, null if there was none. The mean is over the same line,
    direction, stop, weekday, quarter hour and school period (holiday or not). Both frames are departure features. `counted` also has
    `load`; only its dates before the issue date are read.
    """
    quarter = (pl.col("departure_minute") // 15).alias("quarter_hour")
    key = ("line_id", "direction_id", "stop_id", "weekday", "school_holiday", "quarter_hour")
    first = issue_date - timedelta(_SIX_MONTHS)
    earlier = pl.col("service_date").is_between(first, issue_date, closed="left")
    load = pl.col("load")
    means = (
        counted.filter(earlier)
        .with_columns(quarter)
        .group_by(key)
        .agg(
            load.mean().alias(SIX_MONTH_MEAN),
            *(
                load.quantile(level, "linear").alias(f"{SIX_MONTH_MEAN}_p{round(100 * level)}")
                for level in QUANTILES
            ),
        )
    )
    return look_up(rows.with_columns(quarter), means, key)


def forecast_baseline(rows: pl.DataFrame) -> pl.DataFrame:
    """HA4 as a forecast: columns as `LoadModel.predict`, and `source`.

    If HA4 is unknown (`source` fallback), the mean is the row's `expected` of any tier. If nothing was ever counted, the
    mean is a share of the seats, and P10 to P90 spans all seats.
    """
    mean = rows.select(pl.coalesce("ha4", "expected")).to_series()
    spread = _historical_spread(rows, mean.to_numpy())
    source = pl.when(pl.col("ha4").is_null()).then(pl.lit("fallback")).otherwise(pl.lit("baseline"))
    return with_unknown_loads(forecast_columns(mean.to_numpy(), spread, rows["seats"]), rows).with_columns(
        rows.select(source.alias("source")).to_series()
    )


def _historical_spread(rows: pl.DataFrame, mean: Numbers) -> Numbers:
    """Empirical quantiles of past loads around HA8 by load band, on the scale of roots; shape (rows, 3)."""
    lags = rows.select(f"lag_{week}" for week in range(1, LAG_WEEKS + 1)).cast(pl.Float64).to_numpy()
    average = rows["ha8"].cast(pl.Float64).to_numpy()[:, None]
    # A mean of n lags lies closer to each of them than to the load to come: (n + 1) / (n - 1) in variance.
    count = rows["history_count"].to_numpy()[:, None].astype(float)
    inflation = np.sqrt((count + 1) / np.maximum(count - 1, 1))
    residual = (to_root(lags) - to_root(average)) * inflation
    residual[(count < 2)[:, 0]] = np.nan
    bands, past_bands = np.digitize(mean, _BANDS), np.digitize(np.nan_to_num(average[:, 0]), _BANDS)
    overall = _quantiles(residual, np.array(_UNKNOWN_SPREAD))
    table = np.array([_quantiles(residual[past_bands == band], overall) for band in range(len(_BANDS) + 1)])
    return table[bands]


def _quantiles(residual: Numbers, default: Numbers) -> Numbers:
    known = residual[np.isfinite(residual)]
    return np.quantile(known, QUANTILES) if len(known) >= _MIN_IN_BAND else default
