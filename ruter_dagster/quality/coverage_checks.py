"""Shares of a date's journeys, vehicles and departures that something is wrong with. Polars only."""

from __future__ import annotations

import polars as pl

from ruter_dagster.contracts.checks import VEHICLE_IMBALANCE
from ruter_dagster.forecasting.counts import vehicle_imbalance
from ruter_dagster.quality.failing_rows import DATE

_JOURNEY = (DATE, "trip_id")


def missing_journeys(frame: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    """Planned service journeys without any row in `frame`: `date` and `trip_id`."""
    return _journeys(plan).join(_journeys(frame), on=_JOURNEY, how="anti").sort(_JOURNEY)


def share_of_missing_journeys(missing: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    """`date` and `journeys_as_planned`: the share of planned journeys that are `missing`, for each date of the plan."""
    planned = _journeys(plan).group_by(DATE).agg(planned=pl.len())
    return planned.join(missing.group_by(DATE).agg(missing=pl.len()), on=DATE, how="left").select(
        DATE, (pl.col("missing").fill_null(0) / pl.col("planned")).alias("journeys_as_planned")
    )


def vehicle_imbalances(visits: pl.DataFrame) -> pl.DataFrame:
    """Imbalance of each vehicle's day, |boardings - alightings| / (boardings + alightings), the worst first.

    Vehicles with too few counted passengers are left out. Columns: date, vehicle_id, passengers, imbalance.
    """
    return vehicle_imbalance(visits).rename({"service_date": DATE}).drop("mode")


def share_of_imbalanced_vehicles(imbalances: pl.DataFrame) -> pl.DataFrame:
    """`date` and `vehicles_balanced`: the share of vehicles (rows of `vehicle_imbalances`) beyond the imbalance allowed."""
    beyond = pl.col("imbalance") > VEHICLE_IMBALANCE
    return imbalances.group_by(DATE).agg(beyond.mean().alias("vehicles_balanced"))


def departures_without_seats(plan: pl.DataFrame) -> pl.DataFrame:
    """Number of planned departures without seats by line, the most first: `date`, `line_id`, `mode`, `departures`."""
    unknown = plan.filter(pl.col("seats").is_null())
    return (
        unknown.group_by(pl.col("service_date").alias(DATE), "line_id", "mode")
        .agg(departures=pl.len())
        .sort("departures", DATE, "line_id", descending=[True, False, False])
    )


def share_without_seats(plan: pl.DataFrame) -> pl.DataFrame:
    """`date` and `few_unknown_seats`: the share of planned departures without seats."""
    share = pl.col("seats").is_null().mean().alias("few_unknown_seats")
    return plan.group_by(pl.col("service_date").alias(DATE)).agg(share)


def _journeys(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.col("service_date").alias(DATE), "trip_id").unique()
