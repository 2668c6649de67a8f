"""Whether forecasts and loads are still what they were: drift metrics of an operating date, per network and per mode.

Small metrics of our own on fixed bins. No Kolmogorov-Smirnov p-values: at this size every difference is significant.
Thresholds and verdicts belong in contracts/drift.py.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl

from ruter_dagster.contracts.drift import DRIFT_METRICS, NETWORK, USUAL_COVERAGE, DriftMetric, DriftWindows
from ruter_dagster.contracts.frames import conform, polars_schema
from ruter_dagster.contracts.tables import DRIFT
from ruter_dagster.forecasting.counts import vehicle_imbalance

LOAD_BINS = (0.5, 5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 100.0, 150.0, 300.0)
"""Upper bounds of the bins of a load, the last open; the first holds empty vehicles."""
_QUANTILES = np.linspace(0.0005, 0.9995, 1000)
_SMALLEST_SHARE = 1e-4

Values = tuple[float | None, ...]
"""A metric's value on the measured date, then on the dates before it."""


def drift(
    operating_date: date,
    performance: pl.DataFrame,
    loads: pl.DataFrame,
    visits: pl.DataFrame | None = None,
    metrics: tuple[DriftMetric, ...] = DRIFT_METRICS,
    windows: DriftWindows = DriftWindows(),  # noqa: B008 (frozen)
) -> pl.DataFrame:
    """Drift metrics of one operating date as contract `DRIFT`: a row for each metric and scope.

    Args:
        performance: contract `FORECAST_PERFORMANCE` of the date and the 56 before it.
        loads: contract `STOP_LOADS` of the same dates; `service_date`, `trip_id`, `stop_sequence`, `mode`, `load` do.
        visits: contract `STOP_VISITS` of the date, for the vehicles' imbalance; None where it is not at hand.

    A metric whose history is too short has a null value and the verdict `unknown`. Only rows of a model are judged by
    skill, WAPE, bias and coverage: a baseline needs no watch.
    """
    performance = performance.filter(pl.col("operating_date") <= operating_date)
    loads = loads.filter(pl.col("service_date") <= operating_date)
    modes = sorted(loads.filter(pl.col("service_date") == operating_date)["mode"].unique())
    rows = []
    for scope in (NETWORK, *modes):
        of_scope = pl.lit(True) if scope == NETWORK else pl.col("mode") == scope
        measured = _measure(
            operating_date,
            performance.filter(of_scope),
            loads.filter(of_scope),
            None if visits is None else visits.filter(of_scope),
            windows,
        )
        rows += [_row(operating_date, metric, scope, measured.get(metric.name, ())) for metric in metrics]
    return conform(pl.DataFrame(rows, schema=polars_schema(DRIFT), orient="row"), DRIFT)


def _row(operating_date: date, metric: DriftMetric, scope: str, values: Values) -> tuple:
    value = values[0] if values else None
    return (operating_date, metric.name, scope, value, metric.warn, metric.act, metric.verdict(values))


def _measure(
    day: date,
    performance: pl.DataFrame,
    loads: pl.DataFrame,
    visits: pl.DataFrame | None,
    windows: DriftWindows,
) -> dict[str, Values]:
    """Every metric of one scope; those that must last are measured on the dates before, too."""
    by_date = _errors_by_date(performance)
    running = [day - timedelta(days) for days in range(max(metric.days_to_act for metric in DRIFT_METRICS))]
    distances = [_distances(loads, each, windows) for each in running]

    def on(measure: Callable[[pl.DataFrame, date, DriftWindows], float | None]) -> Values:
        return tuple(measure(by_date, each, windows) for each in running)

    return {
        "skill_against_ha4": on(_skill),
        "wape_deviation": on(_wape_deviation),
        "bias": on(_bias),
        "coverage_deviation": on(_coverage_deviation),
        "matched_share": (_matched_share(performance, loads, day),),
        "vehicle_imbalance": (None if visits is None else _worst_vehicle(visits, windows),),
        **{name: tuple(of_date.get(name) for of_date in distances) for name in distances[0]},
    }


# How the forecasts did


def _errors_by_date(performance: pl.DataFrame) -> pl.DataFrame:
    """Sums of each operating date over a model's forecasts of every horizon."""
    load, mean, ha4 = pl.col("load"), pl.col("mean"), pl.col("ha4")
    error = (mean - load).abs()
    return (
        performance.filter(pl.col("source") == "model")
        .group_by("operating_date")
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


def _pooled(by_date: pl.DataFrame, day: date, windows: DriftWindows) -> dict[str, float] | None:
    """Sums over the window that ends with `day`; None where too few of its dates are known, `day` among them."""
    window = by_date.filter(pl.col("operating_date").is_between(day - timedelta(windows.days - 1), day))
    if window.height < windows.min_days or day not in window["operating_date"]:
        return None
    return window.drop("operating_date").sum().row(0, named=True)


def _skill(by_date: pl.DataFrame, day: date, windows: DriftWindows) -> float | None:
    sums = _pooled(by_date, day, windows)
    return 1 - sums["error_beside_ha4"] / sums["error_ha4"] if sums and sums["error_ha4"] > 0 else None


def _bias(by_date: pl.DataFrame, day: date, windows: DriftWindows) -> float | None:
    sums = _pooled(by_date, day, windows)
    return sums["mean"] / sums["load"] - 1 if sums and sums["load"] > 0 else None


def _coverage_deviation(by_date: pl.DataFrame, day: date, windows: DriftWindows) -> float | None:
    sums = _pooled(by_date, day, windows)
    return sums["covered"] / sums["rows"] - USUAL_COVERAGE if sums else None


def _wape_deviation(by_date: pl.DataFrame, day: date, windows: DriftWindows) -> float | None:
    """How far the date's WAPE lies above the same weekdays', by their deviation, or 5 % of their mean if that is more."""
    wapes = (
        by_date.filter(pl.col("load") > 0, pl.col("operating_date").dt.weekday() == day.isoweekday())
        .filter(pl.col("operating_date").is_between(day - timedelta(windows.reference_days), day))
        .select("operating_date", wape=pl.col("error") / pl.col("load"))
    )
    today = wapes.filter(pl.col("operating_date") == day)["wape"]
    before = wapes.filter(pl.col("operating_date") < day)["wape"].to_numpy()
    if today.is_empty() or len(before) < windows.min_weekdays:
        return None
    usual = float(before.mean())
    return (today.item() - usual) / max(float(before.std(ddof=1)), 0.05 * usual, 1e-9)


# What the counters brought


def _matched_share(performance: pl.DataFrame, loads: pl.DataFrame, day: date) -> float | None:
    """Share of the date's loads with a forecast of any horizon; None where nothing was forecast for the date."""
    key = ["trip_id", "stop_sequence"]
    forecast = performance.filter(pl.col("operating_date") == day).select(key).unique()
    observed = loads.filter(pl.col("service_date") == day).select(key)
    if forecast.is_empty() or observed.is_empty():
        return None
    return observed.join(forecast, on=key, how="semi").height / observed.height


def _worst_vehicle(visits: pl.DataFrame, windows: DriftWindows) -> float | None:
    worst = vehicle_imbalance(visits, windows.min_passengers)
    return worst["imbalance"][0] if worst.height else None


# What the loads look like


def _distances(loads: pl.DataFrame, day: date, windows: DriftWindows) -> dict[str, float | None]:
    """Distances of a date's loads from those of the same weekdays before."""
    same_weekday = loads.filter(
        pl.col("service_date").dt.weekday() == day.isoweekday(),
        pl.col("service_date").is_between(day - timedelta(windows.reference_days), day),
    )
    today = same_weekday.filter(pl.col("service_date") == day)["load"].to_numpy()
    before = same_weekday.filter(pl.col("service_date") < day)
    if len(today) < windows.min_rows or before["service_date"].n_unique() < windows.min_reference_dates:
        return dict.fromkeys(("population_stability_index", "jensen_shannon", "normed_wasserstein"))
    reference = before["load"].to_numpy()
    shares, usual = _bin_shares(today), _bin_shares(reference)
    return {
        "population_stability_index": population_stability_index(shares, usual),
        "jensen_shannon": jensen_shannon(shares, usual),
        "normed_wasserstein": normed_wasserstein(today, reference),
    }


def _bin_shares(loads: np.ndarray) -> np.ndarray:
    return np.bincount(np.digitize(loads, LOAD_BINS), minlength=len(LOAD_BINS) + 1) / len(loads)


def population_stability_index(shares: np.ndarray, usual: np.ndarray) -> float:
    """Sum of (p - q) ln(p / q) over bins; an empty bin counts as one in ten thousand."""
    p, q = shares.clip(min=_SMALLEST_SHARE), usual.clip(min=_SMALLEST_SHARE)
    return float(np.sum((p - q) * np.log(p / q)))


def jensen_shannon(shares: np.ndarray, usual: np.ndarray) -> float:
    """Jensen-Shannon distance, base 2: 0 for equal shares, 1 for shares that have no bin in common."""
    middle = (shares + usual) / 2

    def divergence(p: np.ndarray) -> float:
        present = p > 0
        return float(np.sum(p[present] * np.log2(p[present] / middle[present])))

    return float(np.sqrt(max(0.0, (divergence(shares) + divergence(usual)) / 2)))


def normed_wasserstein(loads: np.ndarray, reference: np.ndarray) -> float | None:
    """First Wasserstein distance, by a thousand quantiles, in standard deviations of `reference`; None if that is 0."""
    deviation = float(reference.std())
    if deviation == 0:
        return None
    apart = np.abs(np.quantile(loads, _QUANTILES) - np.quantile(reference, _QUANTILES))
    return float(apart.mean()) / deviation
