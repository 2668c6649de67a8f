"""Forecasts joined to observed loads: the error of each forecast. Thresholds belong in contracts/drift.py."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ruter_dagster.contracts.tables import FORECAST_PERFORMANCE, STOP_LOADS
from ruter_dagster.contracts.validation import conform, ordered_by_key
from ruter_dagster.forecasting.scores import departure_scores

_DEPARTURE = ("operating_date", "trip_id", "stop_sequence")
LOAD_COLUMNS = ("service_date", "trip_id", "stop_sequence", "load", "weight")
"""The columns of contract `STOP_LOADS` that are read."""
TRUTH_COLUMNS = (*_DEPARTURE, "load")
"""Columns of `FORECAST_PERFORMANCE` with the observed load of a departure."""


@dataclass(frozen=True)
class PerformanceSummary:
    """Numbers of departures with a forecast, with a load (weight above 0), and with both."""

    forecast: int
    observed: int
    matched: int

    @property
    def forecast_without_truth(self) -> int:
        return self.forecast - self.matched

    @property
    def truth_without_forecast(self) -> int:
        return self.observed - self.matched

    @property
    def matched_share(self) -> float | None:
        """Share of forecast departures with a load; None if nothing was forecast."""
        return self.matched / self.forecast if self.forecast else None


def forecast_performance(
    forecasts: pl.DataFrame, loads: pl.DataFrame, is_final: bool = False
) -> tuple[pl.DataFrame, PerformanceSummary]:
    """Joins `forecasts` (columns of `LOAD_FORECASTS`, any issue dates) to `loads` (`LOAD_COLUMNS`) of the same dates.

    Returns contract `FORECAST_PERFORMANCE`, one scored row per departure and horizon with both, and the numbers of
    departures. Loads of weight 0 do not count as observed. `is_final`: whether the truth of the dates is final.
    """
    observed = (
        ordered_by_key(loads, STOP_LOADS)
        .filter(pl.col("weight") > 0)
        .select(pl.col("service_date").alias("operating_date"), "trip_id", "stop_sequence", "load")
        .with_row_index("truth")
    )
    # Rows are joined and sorted as indexes: texts of millions of wide rows take three times as long.
    indexes = (
        forecasts.select(*_DEPARTURE, "horizon_days")
        .with_row_index("forecast")
        .join(observed.drop("load"), on=_DEPARTURE, how="left", validate="m:1")
    )
    known = pl.col("truth").is_not_null()
    matches = indexes.filter(known).sort("operating_date", "horizon_days", "truth")
    rows = forecasts[matches["forecast"]].with_columns(observed["load"].gather(matches["truth"]))
    matched = matches["truth"].n_unique()
    summary = PerformanceSummary(
        forecast=matched + indexes.filter(~known).select(_DEPARTURE).n_unique(),
        observed=observed.height,
        matched=matched,
    )
    return _scored(rows, is_final), summary


def scored_against(forecasts: pl.DataFrame, truth: pl.DataFrame, is_final: bool) -> pl.DataFrame:
    """The forecasts (columns of `LOAD_FORECASTS`) that have a load in `truth`, scored: contract `FORECAST_PERFORMANCE`.

    `truth` has `TRUTH_COLUMNS`, one row per departure.
    """
    return _scored(forecasts.join(truth, on=_DEPARTURE, how="inner", validate="m:1"), is_final)


def _scored(joined: pl.DataFrame, is_final: bool) -> pl.DataFrame:
    scored = joined.with_columns(*departure_scores(), pl.lit(is_final).alias("is_final"))
    return conform(scored.select(FORECAST_PERFORMANCE.column_names), FORECAST_PERFORMANCE)


def late_counts(stored: pl.DataFrame, performance: pl.DataFrame) -> int:
    """Number of departures whose load in `performance` differs from the load in `stored`, or is missing there.

    Both have the contract `FORECAST_PERFORMANCE`. The stored rows are final, so that these loads are not used.
    """
    return (
        performance.select(TRUTH_COLUMNS)
        .unique()
        .join(stored.select(TRUTH_COLUMNS).unique(), on=TRUTH_COLUMNS, how="anti")
        .height
    )
