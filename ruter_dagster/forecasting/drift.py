"""Whether forecasts and loads are still what they were: drift metrics of operating dates, per network and per mode.

Small metrics of our own on fixed bins. No Kolmogorov-Smirnov p-values: at this size every difference is significant.
Thresholds and verdicts belong in contracts/drift.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from ruter_dagster.contracts.drift import DRIFT_METRICS, NETWORK, USUAL_COVERAGE, DriftMetric, DriftWindows
from ruter_dagster.contracts.frames import conform, polars_schema
from ruter_dagster.contracts.tables import DRIFT
from ruter_dagster.forecasting.counts import vehicle_imbalance
from ruter_dagster.forecasting.distances import (
    MOST_PASSENGERS,
    bin_shares,
    jensen_shannon,
    normed_wasserstein,
    population_stability_index,
)

_KEY = ("operating_date", "trip_id", "stop_sequence")
_DISTANCES = ("population_stability_index", "jensen_shannon", "normed_wasserstein")

Values = tuple[float | None, ...]
"""A metric's value on the measured date, then on the dates before it."""


@dataclass(frozen=True)
class _Sums:
    """What the metrics need, by operating date and mode: small frames, however many departures there were."""

    errors: pl.DataFrame
    """rows and sums of load, mean, error, error_beside_ha4, error_ha4, covered, of a model's forecasts."""
    loads: pl.DataFrame
    """rows by passengers."""
    matched: pl.DataFrame
    """rows of loads, and of those with a forecast."""
    vehicles: pl.DataFrame
    """imbalance of each vehicle."""

    def of(self, scope: str) -> _Sums:
        if scope == NETWORK:
            return self
        frames = (self.errors, self.loads, self.matched, self.vehicles)
        return _Sums(*(frame.filter(pl.col("mode") == scope) for frame in frames))


def drift(
    dates: Collection[date],
    performance: pl.DataFrame,
    loads: pl.DataFrame,
    visits: pl.DataFrame | None = None,
    metrics: tuple[DriftMetric, ...] = DRIFT_METRICS,
    windows: DriftWindows = DriftWindows(),  # noqa: B008 (frozen)
) -> pl.DataFrame:
    """Drift metrics of operating dates as contract `DRIFT`: for each date, a row for each metric and scope.

    Args:
        dates: the operating dates to measure; a date without loads still has its rows for the network.
        performance: contract `FORECAST_PERFORMANCE` of the dates and the 56 before them.
        loads: contract `STOP_LOADS` of the same; `service_date`, `trip_id`, `stop_sequence`, `mode`, `load` will do.
        visits: contract `STOP_VISITS` of the dates, for the vehicles' imbalance; None where they are not at hand.

    A metric whose history is too short has a null value and the verdict `unknown`. Only forecasts of a model are
    judged by skill, WAPE, bias and coverage: a baseline needs no watch. What lies after a date never counts for it.
    """
    sums = _sums(dates, performance, loads, visits, windows)
    rows = []
    for day in sorted(dates):
        modes = sums.loads.filter(pl.col("operating_date") == day)["mode"].unique().sort()
        for scope in (NETWORK, *modes):
            measured = _measure(day, sums.of(scope), windows)
            rows += [_row(day, metric, scope, measured[metric.name]) for metric in metrics]
    return conform(pl.DataFrame(rows, schema=polars_schema(DRIFT), orient="row"), DRIFT)


def _row(day: date, metric: DriftMetric, scope: str, values: Values) -> tuple:
    # Sums of floats depend on the order of rows in their last digits, and a table's version must not.
    value = None if values[0] is None else round(values[0], 9)
    return (day, metric.name, scope, value, metric.warn, metric.act, metric.verdict(values))


def _measure(day: date, sums: _Sums, windows: DriftWindows) -> dict[str, Values]:
    """Every metric of one date and scope; those that must last are measured on the dates before, too."""
    running = [day - timedelta(days) for days in range(max(metric.days for metric in DRIFT_METRICS))]
    errors = sums.errors.group_by("operating_date").agg(pl.exclude("mode").sum())
    distances = [_distances(sums.loads, each, windows) for each in running]

    def on(measure: Callable[[pl.DataFrame, date, DriftWindows], float | None]) -> Values:
        return tuple(measure(errors, each, windows) for each in running)

    return {
        "skill_against_ha4": on(_skill),
        "wape_deviation": on(_wape_deviation),
        "bias": on(_bias),
        "coverage_deviation": on(_coverage_deviation),
        "matched_share": (_matched_share(sums.matched, day),),
        "vehicle_imbalance": (_worst_vehicle(sums.vehicles, day),),
        **{name: tuple(of_date[name] for of_date in distances) for name in _DISTANCES},
    }


# What is summed once


def _sums(
    dates: Collection[date],
    performance: pl.DataFrame,
    loads: pl.DataFrame,
    visits: pl.DataFrame | None,
    windows: DriftWindows,
) -> _Sums:
    loads = loads.rename({"service_date": "operating_date"})
    passengers = pl.col("load").round().clip(0, MOST_PASSENGERS).cast(pl.Int32).alias("passengers")
    vehicles = {"operating_date": pl.Date, "mode": pl.String, "imbalance": pl.Float64}
    return _Sums(
        errors=_errors(performance),
        loads=loads.group_by("operating_date", "mode", passengers).agg(rows=pl.len()),
        matched=_matched(dates, performance, loads),
        vehicles=pl.DataFrame(schema=vehicles)
        if visits is None
        else vehicle_imbalance(visits, windows.min_passengers)
        .rename({"service_date": "operating_date"})
        .select(*vehicles),
    )


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


# How the forecasts did


def _pooled(errors: pl.DataFrame, day: date, windows: DriftWindows) -> dict[str, float] | None:
    """Sums over the window that ends with `day`; None where too few of its dates are known, `day` among them."""
    window = errors.filter(pl.col("operating_date").is_between(day - timedelta(windows.days - 1), day))
    if window.height < windows.min_days or day not in window["operating_date"]:
        return None
    return window.drop("operating_date").sum().row(0, named=True)


def _skill(errors: pl.DataFrame, day: date, windows: DriftWindows) -> float | None:
    sums = _pooled(errors, day, windows)
    return 1 - sums["error_beside_ha4"] / sums["error_ha4"] if sums and sums["error_ha4"] > 0 else None


def _bias(errors: pl.DataFrame, day: date, windows: DriftWindows) -> float | None:
    sums = _pooled(errors, day, windows)
    return sums["mean"] / sums["load"] - 1 if sums and sums["load"] > 0 else None


def _coverage_deviation(errors: pl.DataFrame, day: date, windows: DriftWindows) -> float | None:
    sums = _pooled(errors, day, windows)
    return sums["covered"] / sums["rows"] - USUAL_COVERAGE if sums else None


def _wape_deviation(errors: pl.DataFrame, day: date, windows: DriftWindows) -> float | None:
    """How far the date's WAPE lies above the same weekdays', by their deviation, or 5 % of their mean if that is more."""
    wapes = _same_weekdays(errors, day, windows).filter(pl.col("load") > 0)
    wapes = wapes.select("operating_date", wape=pl.col("error") / pl.col("load"))
    today = wapes.filter(pl.col("operating_date") == day)["wape"]
    before = wapes.filter(pl.col("operating_date") < day)["wape"].to_numpy()
    if today.is_empty() or len(before) < windows.min_weekdays:
        return None
    usual = float(before.mean())
    return (today.item() - usual) / max(float(before.std(ddof=1)), 0.05 * usual, 1e-9)


def _same_weekdays(frame: pl.DataFrame, day: date, windows: DriftWindows) -> pl.DataFrame:
    """Rows of the date and of its weekday in the weeks before."""
    return frame.filter(
        pl.col("operating_date").is_between(day - timedelta(windows.reference_days), day),
        pl.col("operating_date").dt.weekday() == day.isoweekday(),
    )


# What the counters brought


def _matched_share(matched: pl.DataFrame, day: date) -> float | None:
    """Share of the date's loads with a forecast of any horizon; None where nothing was forecast for the date."""
    sums = matched.filter(pl.col("operating_date") == day).select(pl.col("rows", "forecast").sum())
    rows, forecast = sums.row(0)
    return forecast / rows if forecast else None


def _worst_vehicle(vehicles: pl.DataFrame, day: date) -> float | None:
    return vehicles.filter(pl.col("operating_date") == day).select(pl.col("imbalance").max()).item()


# What the loads look like


def _distances(loads: pl.DataFrame, day: date, windows: DriftWindows) -> dict[str, float | None]:
    """Distances of a date's loads from those of the same weekdays before."""
    same_weekdays = _same_weekdays(loads, day, windows)
    before = same_weekdays.filter(pl.col("operating_date") < day)
    today = _by_passengers(same_weekdays.filter(pl.col("operating_date") == day))
    if today.sum() < windows.min_rows or before["operating_date"].n_unique() < windows.min_reference_dates:
        return dict.fromkeys(_DISTANCES)
    usual = _by_passengers(before)
    return {
        "population_stability_index": population_stability_index(bin_shares(today), bin_shares(usual)),
        "jensen_shannon": jensen_shannon(bin_shares(today), bin_shares(usual)),
        "normed_wasserstein": normed_wasserstein(today, usual),
    }


def _by_passengers(loads: pl.DataFrame) -> np.ndarray:
    """Number of loads with 0, 1, 2 … passengers."""
    return np.bincount(loads["passengers"], loads["rows"], minlength=MOST_PASSENGERS + 1)
