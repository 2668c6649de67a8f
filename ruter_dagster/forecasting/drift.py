"""Drift metrics of operating dates, for the network and for each mode: have forecasts or loads changed?

The metrics use fixed bins. There are no Kolmogorov-Smirnov p-values: with this many loads every difference is significant.
Thresholds and verdicts belong in contracts/drift.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import date, timedelta

import numpy as np
import polars as pl

from ruter_dagster.contracts.date_windows import DRIFT_REFERENCE_DAYS
from ruter_dagster.contracts.drift import (
    DRIFT_METRICS,
    MIN_COMPARED_LOADS,
    MIN_POOLED_DATES,
    MIN_REFERENCE_DATES,
    MIN_SAME_WEEKDAYS,
    NETWORK,
    POOLED_DAYS,
    USUAL_COVERAGE,
    DriftMetric,
)
from ruter_dagster.contracts.tables import DRIFT
from ruter_dagster.contracts.validation import conform, polars_schema
from ruter_dagster.forecasting.distances import (
    MAX_PASSENGERS,
    bin_shares,
    jensen_shannon,
    normed_wasserstein,
    population_stability_index,
)
from ruter_dagster.forecasting.drift_sums import DriftSums

_DISTANCES = ("population_stability_index", "jensen_shannon", "normed_wasserstein")

Values = tuple[float | None, ...]
"""A metric's value on the measured date, then on the dates before it."""


def measure_drift(dates: Collection[date], sums: DriftSums) -> pl.DataFrame:
    """Drift metrics of operating dates as contract `DRIFT`: one row per date, metric and scope.

    Args:
        dates: the operating dates to measure; a date without loads still has its rows for the network.
        sums: sums of the dates and of the reference dates before them. They can be computed date by date to save memory.

    A metric with too little history has a null value and the verdict `unknown`. Skill, WAPE, bias and coverage describe
    only forecasts of a model, not baselines. Later dates never count for a date.
    """
    rows = []
    for day in sorted(dates):
        modes = sums.loads.filter(pl.col("operating_date") == day)["mode"].unique().sort()
        for scope in (NETWORK, *modes):
            measured = _measure(day, sums.of_scope(scope))
            rows += [_row(day, metric, scope, measured[metric.name]) for metric in DRIFT_METRICS]
    return conform(pl.DataFrame(rows, schema=polars_schema(DRIFT), orient="row"), DRIFT)


def _row(day: date, metric: DriftMetric, scope: str, values: Values) -> tuple:
    # Sums of floats depend on the order of rows in their last digits, and a table's version must not.
    value = None if values[0] is None else round(values[0], 9)
    return (day, metric.name, scope, value, metric.warn, metric.act, metric.verdict(values))


def _measure(day: date, sums: DriftSums) -> dict[str, Values]:
    """Every metric of one date and scope, followed by its values on the dates before."""
    recent = [day - timedelta(days) for days in range(max(metric.days for metric in DRIFT_METRICS))]
    errors = sums.errors.group_by("operating_date").agg(pl.exclude("mode").sum())
    distances = [_distances(sums.loads, each) for each in recent]

    def on(measure: Callable[[pl.DataFrame, date], float | None]) -> Values:
        return tuple(measure(errors, each) for each in recent)

    return {
        "skill_against_ha4": on(_skill),
        "wape_deviation": on(_wape_deviation),
        "bias": on(_bias),
        "coverage_deviation": on(_coverage_deviation),
        "matched_share": (_matched_share(sums.matched, day),),
        "vehicle_imbalance": (_worst_vehicle(sums.vehicles, day),),
        **{name: tuple(values[name] for values in distances) for name in _DISTANCES},
    }


# Quality of the forecasts


def _pooled(errors: pl.DataFrame, day: date) -> dict[str, float] | None:
    """Sums over the window that ends with `day`; None if `day` or too many of its other dates are missing."""
    window = errors.filter(pl.col("operating_date").is_between(day - timedelta(POOLED_DAYS - 1), day))
    if window.height < MIN_POOLED_DATES or day not in window["operating_date"]:
        return None
    return window.drop("operating_date").sum().row(0, named=True)


def _skill(errors: pl.DataFrame, day: date) -> float | None:
    sums = _pooled(errors, day)
    return 1 - sums["error_beside_ha4"] / sums["error_ha4"] if sums and sums["error_ha4"] > 0 else None


def _bias(errors: pl.DataFrame, day: date) -> float | None:
    sums = _pooled(errors, day)
    return sums["mean"] / sums["load"] - 1 if sums and sums["load"] > 0 else None


def _coverage_deviation(errors: pl.DataFrame, day: date) -> float | None:
    sums = _pooled(errors, day)
    return sums["covered"] / sums["rows"] - USUAL_COVERAGE if sums else None


def _wape_deviation(errors: pl.DataFrame, day: date) -> float | None:
    """How far the date's WAPE is above that of the same weekdays, in their deviations (or 5 % of their mean if larger)."""
    wapes = _same_weekdays(errors, day).filter(pl.col("load") > 0)
    wapes = wapes.select("operating_date", wape=pl.col("error") / pl.col("load"))
    today = wapes.filter(pl.col("operating_date") == day)["wape"]
    before = wapes.filter(pl.col("operating_date") < day)["wape"].to_numpy()
    if today.is_empty() or len(before) < MIN_SAME_WEEKDAYS:
        return None
    usual = float(before.mean())
    return (today.item() - usual) / max(float(before.std(ddof=1)), 0.05 * usual, 1e-9)


def _same_weekdays(frame: pl.DataFrame, day: date) -> pl.DataFrame:
    """Rows of the date and of the same weekday in the weeks before."""
    return frame.filter(
        pl.col("operating_date").is_between(day - timedelta(DRIFT_REFERENCE_DAYS), day),
        pl.col("operating_date").dt.weekday() == day.isoweekday(),
    )


# Quality of the counts


def _matched_share(matched: pl.DataFrame, day: date) -> float | None:
    """Share of the date's loads with a forecast of any horizon; None if nothing was forecast for the date."""
    sums = matched.filter(pl.col("operating_date") == day).select(pl.col("rows", "forecast").sum())
    rows, forecast = sums.row(0)
    return forecast / rows if forecast else None


def _worst_vehicle(vehicles: pl.DataFrame, day: date) -> float | None:
    return vehicles.filter(pl.col("operating_date") == day).select(pl.col("imbalance").max()).item()


# Distribution of the loads


def _distances(loads: pl.DataFrame, day: date) -> dict[str, float | None]:
    """Distances between the loads of a date and those of the same weekdays before."""
    same_weekdays = _same_weekdays(loads, day)
    before = same_weekdays.filter(pl.col("operating_date") < day)
    today = _by_passengers(same_weekdays.filter(pl.col("operating_date") == day))
    if today.sum() < MIN_COMPARED_LOADS or before["operating_date"].n_unique() < MIN_REFERENCE_DATES:
        return dict.fromkeys(_DISTANCES)
    usual = _by_passengers(before)
    return {
        "population_stability_index": population_stability_index(bin_shares(today), bin_shares(usual)),
        "jensen_shannon": jensen_shannon(bin_shares(today), bin_shares(usual)),
        "normed_wasserstein": normed_wasserstein(today, usual),
    }


def _by_passengers(loads: pl.DataFrame) -> np.ndarray:
    """Number of loads with 0, 1, 2 … passengers."""
    return np.bincount(loads["passengers"], loads["rows"], minlength=MAX_PASSENGERS + 1)
