"""WARN checks that need a measure of their own: shares of a date's journeys, vehicles and departures. Polars only.

A check that is not listed in `MEASURES` is measured in `measures.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from ruter_dagster.contracts.checks import VEHICLE_IMBALANCE
from ruter_dagster.forecasting.counts import vehicle_imbalance
from ruter_dagster.quality.failing_rows import DATE

_JOURNEY = (DATE, "trip_id")
_SERVICE_DATE = pl.col("service_date").alias(DATE)


@dataclass(frozen=True)
class Measurement:
    """What was measured for one check.

    - `values`: columns `date` and `value`. A date without a row, or with null, is not judged.
    - `rows`: the rows that explain the values, the worst first, each with its `date`. The report shows the first of them.
    """

    values: pl.DataFrame
    rows: pl.DataFrame


Measure = Callable[[pl.DataFrame, pl.DataFrame | None], Measurement | None]
"""Measures a check: the table's rows and the planned departures of the same dates in; None if nothing can be judged."""


def measure_missing_journeys(frame: pl.DataFrame, plan: pl.DataFrame | None) -> Measurement | None:
    """The share of planned service journeys without any row in `frame`, for each date of the plan."""
    if plan is None:
        return None
    planned = _journeys(plan)
    missing = planned.join(_journeys(frame), on=_JOURNEY, how="anti").sort(_JOURNEY)
    counts = planned.group_by(DATE).agg(planned=pl.len())
    counts = counts.join(missing.group_by(DATE).agg(missing=pl.len()), on=DATE, how="left")
    share = (pl.col("missing").fill_null(0) / pl.col("planned")).alias("value")
    return Measurement(counts.select(DATE, share), missing)


def measure_imbalanced_vehicles(visits: pl.DataFrame, plan: pl.DataFrame | None) -> Measurement:
    """The share of vehicles whose day's |boardings - alightings| / (boardings + alightings) is above `VEHICLE_IMBALANCE`.

    Vehicles with too few counted passengers are left out. Columns of the rows: date, vehicle_id, passengers, imbalance.
    """
    imbalances = vehicle_imbalance(visits).rename({"service_date": DATE}).drop("mode")
    share = (pl.col("imbalance") > VEHICLE_IMBALANCE).mean().alias("value")
    return Measurement(imbalances.group_by(DATE).agg(share), imbalances)


def measure_unknown_seats(departures: pl.DataFrame, plan: pl.DataFrame | None) -> Measurement:
    """The share of planned departures without seats. Columns of the rows: date, line_id, mode, departures."""
    unknown = departures.filter(pl.col("seats").is_null()).group_by(_SERVICE_DATE, "line_id", "mode")
    by_line = unknown.agg(departures=pl.len())
    share = pl.col("seats").is_null().mean().alias("value")
    return Measurement(
        departures.group_by(_SERVICE_DATE).agg(share),
        by_line.sort("departures", DATE, "line_id", descending=[True, False, False]),
    )


def _journeys(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(_SERVICE_DATE, "trip_id").unique()


MEASURES: dict[str, Measure] = {
    "few_unknown_seats": measure_unknown_seats,
    "journeys_as_planned": measure_missing_journeys,
    "vehicles_balanced": measure_imbalanced_vehicles,
}
"""The measure of each check that has one of its own, by the check's name."""
