"""Drift metrics of operating dates, for the network and for each mode: have forecasts, loads or counters changed?

The metrics use fixed bins. There are no Kolmogorov-Smirnov p-values: with this many loads every difference is significant.
Thresholds and verdicts belong in contracts/drift.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl

from ruter_dagster.contracts.date_windows import (
    DRIFT_REFERENCE_DAYS,
    DRIFT_VEHICLE_DAYS,
    DRIFT_VERDICT_DAYS,
)
from ruter_dagster.contracts.drift import (
    DRIFT_METRICS,
    MIN_COMPARED_LOADS,
    MIN_LEVEL_LOADS,
    MIN_POOLED_DATES,
    MIN_REFERENCE_DATES,
    MIN_SAME_WEEKDAYS,
    MIN_WAPE_DEVIATION,
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
from ruter_dagster.forecasting.sensor_health import (
    MetricValue,
    SensorSums,
    absent_vehicles,
    counted_share,
    list_subjects,
    silent_lines,
    silent_vehicles,
    timetable_change,
    trip_gaps,
)

_DISTANCES = ("population_stability_index", "jensen_shannon", "normed_wasserstein")

DayKind = Callable[[date], Hashable | None]
"""What dates have in common whose loads are comparable, beyond the weekday; None for a date without comparable dates."""
Comparable = list[date]
"""The same weekdays before a date that are comparable with it."""


def measure_drift(
    dates: Collection[date],
    sums: DriftSums,
    metrics: Sequence[DriftMetric] = DRIFT_METRICS,
    kind_of_day: DayKind = date.weekday,
) -> pl.DataFrame:
    """Drift metrics of operating dates as contract `DRIFT`: one row per date, metric and scope.

    Args:
        dates: the operating dates to measure; a date without loads still has its rows for the network.
        sums: sums of the dates and of the reference dates before them. They can be computed date by date to save memory.
        metrics: the metrics with the operator's thresholds.
        kind_of_day: compares loads only with those of the same weekday and kind, and not at all if the kind is None.

    A metric with too little history has a null value and the verdict `unknown`. Skill, WAPE, bias and coverage describe
    only forecasts of a model, not baselines. Later dates never count for a date.
    """
    rows: list[tuple] = []
    modes = sums.loads.filter(pl.col("operating_date").is_in(list(dates)))["mode"].unique().sort()
    for scope in (NETWORK, *modes):
        scoped = sums.of_scope(scope)
        measured = {day: _measure(day, scoped, metrics, kind_of_day) for day in _with_dates_before(dates)}
        in_scope = dates if scope == NETWORK else set(scoped.loads["operating_date"]).intersection(dates)
        rows += [_row(day, metric, scope, measured) for day in in_scope for metric in metrics]
    frame = pl.DataFrame(rows, schema=polars_schema(DRIFT), orient="row")
    return conform(frame.sort("operating_date", maintain_order=True), DRIFT)


def _with_dates_before(dates: Collection[date]) -> list[date]:
    """The dates, and the dates before them on which their verdicts depend."""
    return sorted({day - timedelta(ago) for day in dates for ago in range(DRIFT_VERDICT_DAYS + 1)})


def _row(
    day: date, metric: DriftMetric, scope: str, measured: Mapping[date, Mapping[str, MetricValue]]
) -> tuple:
    values = [measured[day - timedelta(ago)][metric.name].value for ago in range(DRIFT_VERDICT_DAYS + 1)]
    detail = measured[day][metric.name].detail
    return (day, metric.name, scope, values[0], metric.warn, metric.act, metric.verdict(values), detail)


def _measure(
    day: date, sums: DriftSums, metrics: Sequence[DriftMetric], kind_of_day: DayKind
) -> dict[str, MetricValue]:
    """Every metric of one date and scope."""
    comparable = _comparable_dates(day, kind_of_day)
    warn = {metric.name: metric.warn for metric in metrics}
    measured = {
        **_measure_forecasts(day, sums, comparable),
        **{name: MetricValue(value) for name, value in _distances(sums.loads, day, comparable).items()},
        "passenger_level": MetricValue(_passenger_level(sums.loads, day, comparable)),
        "vehicle_imbalance": _worst_vehicle(sums.vehicles, day, "imbalance", warn["vehicle_imbalance"]),
        "door_imbalance": _worst_vehicle(sums.vehicles, day, "door_imbalance", warn["door_imbalance"]),
        **_measure_sensors(day, sums.sensors, comparable, warn["counted_share"]),
    }
    # Sums of floats depend on the order of rows in their last digits, and a table's version must not.
    return {
        name: MetricValue(value if value is None else round(value, 9), detail)
        for name, (value, detail) in measured.items()
    }


def _measure_forecasts(day: date, sums: DriftSums, comparable: Comparable) -> dict[str, MetricValue]:
    errors = sums.errors.group_by("operating_date").agg(pl.exclude("mode").sum())
    return {
        "skill_against_ha4": MetricValue(_skill(errors, day)),
        "wape_deviation": MetricValue(_wape_deviation(errors, day, comparable)),
        "bias": MetricValue(_bias(errors, day)),
        "coverage_deviation": MetricValue(_coverage_deviation(errors, day)),
        "matched_share": MetricValue(_matched_share(sums.matched, day)),
    }


def _measure_sensors(
    day: date, sums: SensorSums, comparable: Comparable, healthy_share: float
) -> dict[str, MetricValue]:
    recent = [other for other in comparable if day - other <= timedelta(DRIFT_VEHICLE_DAYS)]
    return {
        "silent_vehicles": silent_vehicles(sums, day),
        "absent_vehicles": absent_vehicles(sums, day, recent),
        "silent_lines": silent_lines(sums, day),
        "counted_share": counted_share(sums, day, healthy_share),
        "trip_gaps": trip_gaps(sums, day),
        "timetable_change": timetable_change(sums, day),
    }


def _comparable_dates(day: date, kind_of_day: DayKind) -> Comparable:
    kind, weeks = kind_of_day(day), range(7, DRIFT_REFERENCE_DAYS + 1, 7)
    if kind is None:
        return []
    return [day - timedelta(ago) for ago in weeks if kind_of_day(day - timedelta(ago)) == kind]


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


def _wape_deviation(errors: pl.DataFrame, day: date, comparable: Comparable) -> float | None:
    """How far the date's WAPE is above that of the same weekdays, in their deviations (or 15 % of their mean if larger)."""
    wapes = errors.filter(pl.col("load") > 0, pl.col("rows") >= MIN_COMPARED_LOADS).select(
        "operating_date", wape=pl.col("error") / pl.col("load")
    )
    today = wapes.filter(pl.col("operating_date") == day)["wape"]
    before = (
        wapes.filter(pl.col("operating_date").is_in(comparable)).sort("operating_date")["wape"].to_numpy()
    )
    if today.is_empty() or len(before) < MIN_SAME_WEEKDAYS:
        return None
    usual = float(before.mean())
    return (today.item() - usual) / max(float(before.std(ddof=1)), MIN_WAPE_DEVIATION * usual, 1e-9)


# Quality of the counts


def _matched_share(matched: pl.DataFrame, day: date) -> float | None:
    """Share of the date's loads with a forecast of any horizon; None if nothing was forecast for the date."""
    sums = matched.filter(pl.col("operating_date") == day).select(pl.col("rows", "forecast").sum())
    rows, forecast = sums.row(0)
    return forecast / rows if forecast else None


def _worst_vehicle(vehicles: pl.DataFrame, day: date, column: str, threshold: float) -> MetricValue:
    """The largest imbalance of a vehicle. The detail lists vehicles beyond the threshold."""
    of_date = vehicles.filter(pl.col("operating_date") == day).drop_nulls(column)
    if of_date.is_empty():
        return MetricValue()
    beyond = of_date.filter(pl.col(column) > threshold)
    rows = (
        beyond.sort(column, "vehicle_id", descending=[True, False]).select("vehicle_id", column).iter_rows()
    )
    subjects = (f"{vehicle} ({imbalance:.2f})" for vehicle, imbalance in rows)
    return MetricValue(of_date[column].max(), list_subjects(subjects))  # pyright: ignore[reportArgumentType]


# Distribution of the loads


def _distances(loads: pl.DataFrame, day: date, comparable: Comparable) -> dict[str, float | None]:
    """Distances between the loads of a date and those of the same weekdays before."""
    before = loads.filter(pl.col("operating_date").is_in(comparable))
    today = _by_passengers(loads.filter(pl.col("operating_date") == day))
    if today.sum() < MIN_COMPARED_LOADS or before["operating_date"].n_unique() < MIN_REFERENCE_DATES:
        return dict.fromkeys(_DISTANCES)
    usual = _by_passengers(before)
    return {
        "population_stability_index": population_stability_index(bin_shares(today), bin_shares(usual)),
        "jensen_shannon": jensen_shannon(bin_shares(today), bin_shares(usual)),
        "normed_wasserstein": normed_wasserstein(today, usual),
    }


def _passenger_level(loads: pl.DataFrame, day: date, comparable: Comparable) -> float | None:
    """The date's mean load, over the lower quartile of those of the same weekdays before."""
    passengers = (pl.col("passengers") * pl.col("rows")).sum() / pl.col("rows").sum()
    means = (
        loads.filter(pl.col("operating_date").is_in([day, *comparable]))
        .group_by("operating_date")
        .agg(pl.col("rows").sum(), mean=passengers)
        .filter(pl.col("rows") >= MIN_LEVEL_LOADS)
    )
    today = means.filter(pl.col("operating_date") == day)["mean"]
    before = means.filter(pl.col("operating_date") < day)["mean"]
    usual = before.quantile(0.25, "linear") if before.len() >= MIN_REFERENCE_DATES else None
    return today.item() / usual if usual and not today.is_empty() else None


def _by_passengers(loads: pl.DataFrame) -> np.ndarray:
    """Number of loads with 0, 1, 2 … passengers."""
    return np.bincount(loads["passengers"], loads["rows"], minlength=MAX_PASSENGERS + 1)
