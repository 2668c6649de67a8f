"""Forecasts joined to the loads that arrived: how right each forecast of each horizon was. No thresholds: drift.py."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ruter_dagster.contracts.tables import FORECAST_PERFORMANCE
from ruter_dagster.contracts.validation import conform

_DEPARTURE = ("operating_date", "trip_id", "stop_sequence")


@dataclass(frozen=True)
class PerformanceSummary:
    """Departures with a forecast, with a load (of a weight above 0), and with both. `matched_share` is null where nothing was forecast."""

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
        return self.matched / self.forecast if self.forecast else None


def forecast_performance(
    forecasts: pl.DataFrame, loads: pl.DataFrame
) -> tuple[pl.DataFrame, PerformanceSummary]:
    """Joins `forecasts` (contract `LOAD_FORECASTS`, any issue dates) to `loads` (contract `STOP_LOADS`) of the same dates.

    Gives contract `FORECAST_PERFORMANCE`, a row for each departure and horizon that has both, and the counts of
    departures that lack one side. Loads of weight 0 are no truth.
    """
    truth = loads.filter(pl.col("weight") > 0).select(
        pl.col("service_date").alias("operating_date"), "trip_id", "stop_sequence", "load"
    )
    joined = forecasts.join(truth, on=_DEPARTURE, how="inner", validate="m:1")
    performance = conform(joined.select(FORECAST_PERFORMANCE.column_names), FORECAST_PERFORMANCE)
    summary = PerformanceSummary(
        forecast=forecasts.select(_DEPARTURE).n_unique(),
        observed=truth.height,
        matched=performance.select(_DEPARTURE).n_unique(),
    )
    return performance.sort(FORECAST_PERFORMANCE.key), summary
