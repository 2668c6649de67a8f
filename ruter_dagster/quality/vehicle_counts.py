"""Compares each vehicle's counts with those of other vehicles at the same stops and hours. Polars only.

A counter whose door sensor fails misses boardings and alightings equally, so that the counts agree but are too low. One date
is too noisy to show it. So each date's sums are kept, and the check uses a week.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.checks import LOW_COUNTS
from ruter_dagster.quality.failing_rows import DATE

WEEK = 7
"""Dates that are summed: the checked date and those before it."""
MIN_DATES = 4
"""Minimum number of these dates with counts of the vehicle and of others."""
MIN_EXPECTED = 200
"""Minimum expected boardings and alightings of the vehicle."""
SCHEMA = {DATE: pl.Date, "vehicle_id": pl.String, "passengers": pl.Float64, "expected": pl.Float64}
_CELL = ("line_id", "direction_id", "stop_id", "_hour")


def vehicle_counts(visits: pl.DataFrame) -> pl.DataFrame:
    """Each vehicle's boardings plus alightings on a date, where other vehicles were counted on the same line, stop and hour.

    `visits` is contract `STOP_VISITS`. Columns: `SCHEMA`. `passengers` is the vehicle's own count. `expected` is its number
    of visits times the mean of the other vehicles' visits to the same stop, line, direction and hour.
    """
    counted = (
        visits.lazy()
        .filter(pl.all_horizontal(pl.col("vehicle_id", "boardings", "alightings").is_not_null()))
        .select(
            pl.col("service_date").alias(DATE),
            pl.col("line_id", "stop_id", "vehicle_id").cast(pl.Categorical),
            "direction_id",
            pl.col("scheduled_departure_time").dt.truncate("1h").alias("_hour"),
            (pl.col("boardings") + pl.col("alightings")).cast(pl.Int64).alias("_passengers"),
        )
    )
    own = counted.group_by(DATE, *_CELL, "vehicle_id").agg(
        pl.col("_passengers").sum().alias("_own"), pl.len().cast(pl.Int64).alias("_own_visits")
    )
    others = [
        (pl.col(name).sum().over(DATE, *_CELL) - pl.col(name)).alias(name.replace("_own", "_others"))
        for name in ("_own", "_own_visits")
    ]
    expected = pl.col("_own_visits") * pl.col("_others") / pl.col("_others_visits")
    return (
        own.with_columns(others)
        .filter(pl.col("_others_visits") > 0)
        .group_by(DATE, "vehicle_id")
        .agg(
            pl.col("_own").sum().cast(pl.Float64).alias("passengers"),
            # Sums of integers do not depend on the order of rows, sums of floats do.
            ((expected * 1000).round().cast(pl.Int64).sum() / 1000).alias("expected"),
        )
        .with_columns(pl.col("vehicle_id").cast(pl.String))
        .sort(DATE, "vehicle_id")
        .collect()
    )


def compare_with_others(counts: pl.DataFrame) -> pl.DataFrame:
    """Each vehicle's counted over expected passengers, of a date and the six dates before it, the lowest ratio first.

    `counts` is `vehicle_counts` of any dates. Vehicles with too few dates or expected passengers are left out.
    Columns: date, vehicle_id, dates, passengers, expected, ratio.
    """
    days = counts.select("vehicle_id", pl.col(DATE).alias("_checked_date"))
    before = pl.col("_checked_date") - pl.col(DATE)
    return (
        days.join(counts, on="vehicle_id")
        .filter(before.is_between(timedelta(0), timedelta(WEEK - 1)))
        .group_by(pl.col("_checked_date").alias(DATE), "vehicle_id")
        .agg(pl.len().alias("dates"), pl.col("passengers", "expected").sum())
        .filter((pl.col("dates") >= MIN_DATES) & (pl.col("expected") >= MIN_EXPECTED))
        .with_columns((pl.col("passengers") / pl.col("expected")).alias("ratio"))
        .sort("ratio", DATE, "vehicle_id")
    )


def low_vehicles(compared: pl.DataFrame) -> pl.DataFrame:
    """The rows of `compare_with_others` of vehicles with low counts."""
    return compared.filter(pl.col("ratio") < LOW_COUNTS)


def count_low_vehicles(compared: pl.DataFrame) -> pl.DataFrame:
    """The number of vehicles with low counts. Columns: `date`, `vehicles_count_alike`."""
    low = (pl.col("ratio") < LOW_COUNTS).sum().alias("vehicles_count_alike")
    return compared.group_by(DATE).agg(low)


def earlier_dates(days: list[date]) -> list[date]:
    """The dates before `days` (sorted) whose counts the check of `days` needs."""
    return [days[0] - timedelta(ago) for ago in range(WEEK - 1, 0, -1)]
