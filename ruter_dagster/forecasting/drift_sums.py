"""Sums by operating date and mode from which drift is computed. Their size does not depend on the number of departures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from ruter_dagster.contracts.drift import NETWORK
from ruter_dagster.forecasting.counts import vehicle_imbalance
from ruter_dagster.forecasting.distances import MAX_PASSENGERS

PERFORMANCE_COLUMNS = (
    "operating_date", "trip_id", "stop_sequence", "mode", "source", "load", "mean", "p10", "p90", "ha4",
)  # fmt: skip
"""The columns of contract `FORECAST_PERFORMANCE` that are read."""
LOAD_COLUMNS = ("service_date", "trip_id", "stop_sequence", "mode", "load")
"""The columns of contract `STOP_LOADS` that are read; rows without a load (weight 0) are left out."""
_KEY = ("operating_date", "trip_id", "stop_sequence")
_VEHICLES = {"operating_date": pl.Date, "mode": pl.String, "imbalance": pl.Float64}


@dataclass(frozen=True)
class DriftSums:
    """Frames by operating date and mode."""

    errors: pl.DataFrame
    """Of a model's forecasts: rows, and sums of load, mean, error, error_beside_ha4, error_ha4 and covered."""
    loads: pl.DataFrame
    """Rows by number of passengers."""
    matched: pl.DataFrame
    """Rows of loads, and rows with a forecast."""
    vehicles: pl.DataFrame
    """Imbalance of each vehicle."""

    @classmethod
    def of(
        cls,
        dates: Collection[date],
        performance: pl.DataFrame,
        loads: pl.DataFrame,
        visits: pl.DataFrame | None,
    ) -> DriftSums:
        """Sums of any dates; `matched` covers `dates` only.

        Args:
            dates: the operating dates to measure.
            performance: contract `FORECAST_PERFORMANCE`, with the columns `PERFORMANCE_COLUMNS`.
            loads: contract `STOP_LOADS` of the same dates, with the columns `LOAD_COLUMNS`.
            visits: contract `STOP_VISITS` of `dates`, for the imbalance of vehicles; None if they are not available.
        """
        loads = loads.drop_nulls("load").rename({"service_date": "operating_date"})
        passengers = pl.col("load").round().clip(0, MAX_PASSENGERS).cast(pl.Int32).alias("passengers")
        return cls(
            errors=_errors(performance),
            loads=loads.group_by("operating_date", "mode", passengers).agg(rows=pl.len()),
            matched=_matched(dates, performance, loads),
            vehicles=pl.DataFrame(schema=_VEHICLES)
            if visits is None
            else vehicle_imbalance(visits).rename({"service_date": "operating_date"}).select(*_VEHICLES),
        )

    @classmethod
    def joined(cls, parts: Sequence[DriftSums]) -> DriftSums:
        """The sums of parts without a common operating date."""
        return cls(
            *(
                pl.concat(frames)
                for frames in zip(*((p.errors, p.loads, p.matched, p.vehicles) for p in parts), strict=True)
            )
        )

    def of_scope(self, scope: str) -> DriftSums:
        """The sums of one mode, or all for the network."""
        if scope == NETWORK:
            return self
        frames = (self.errors, self.loads, self.matched, self.vehicles)
        return DriftSums(*(frame.filter(pl.col("mode") == scope) for frame in frames))


def _errors(performance: pl.DataFrame) -> pl.DataFrame:
    load, mean, ha4 = pl.col("load"), pl.col("mean"), pl.col("ha4")
    error = (mean - load).abs()
    return (
        performance.filter(pl.col("source") == "model")
        .group_by("operating_date", "mode")
        .agg(
            rows=pl.len(),
            load=load.sum(),
            mean=mean.sum(),
            error=error.sum(),
            error_beside_ha4=error.filter(ha4.is_not_null()).sum(),
            error_ha4=(ha4 - load).abs().sum(),
            covered=load.is_between("p10", "p90").sum(),
        )
    )


def _matched(dates: Collection[date], performance: pl.DataFrame, loads: pl.DataFrame) -> pl.DataFrame:
    of_dates = pl.col("operating_date").is_in(list(dates))
    forecast = performance.filter(of_dates).select(_KEY).unique().with_columns(forecast=pl.lit(True))
    return (
        loads.filter(of_dates)
        .join(forecast, on=_KEY, how="left")
        .group_by("operating_date", "mode")
        .agg(rows=pl.len(), forecast=pl.col("forecast").sum())
    )
