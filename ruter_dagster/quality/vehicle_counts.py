"""What each vehicle counted beside what others counted at the same stops and hours. Polars only.

A door that is dead in both directions misses boardings and alightings alike: the vehicle's counts agree, and are too few.
One date is too noisy to tell; a week is not, so each date's sums are kept for the six dates after it.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.checks import LOW_COUNTS
from ruter_dagster.quality.failing_rows import DATE

WEEK = 7
"""Dates that are added up: the judged one and those before it."""
MIN_DATES = 4
"""Dates of those on which the vehicle ran beside others, needed to judge it."""
MIN_EXPECTED = 200
"""Boardings and alightings that others let expect of it, needed to judge it."""
SCHEMA = {DATE: pl.Date, "vehicle_id": pl.String, "passengers": pl.Float64, "expected": pl.Float64}
_CELL = ("line_id", "direction_id", "stop_id", "_hour")


def vehicle_counts(visits: pl.DataFrame) -> pl.DataFrame:
    """Each vehicle's boardings and alightings of a date, where others were counted on the same line, stop and hour.

    `visits` is contract `STOP_VISITS`. Columns of `SCHEMA`: `passengers`, as the vehicle counted; `expected`, if each of
    its visits had had the mean of the other vehicles' visits to the stop on the line and direction in that hour.
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
            # Whole thousandths add up alike in any order.
            ((expected * 1000).round().cast(pl.Int64).sum() / 1000).alias("expected"),
        )
        .with_columns(pl.col("vehicle_id").cast(pl.String))
        .sort(DATE, "vehicle_id")
        .collect()
    )


def compared_with_others(counts: pl.DataFrame) -> pl.DataFrame:
    """Each vehicle's counts over what others let expect, of a date and the six before it; the lowest ratio first.

    `counts` is `vehicle_counts` of any dates, stacked, each date once. A vehicle is left out on dates on which it was not
    counted beside others, or of which too little is known. Columns: date, vehicle_id, dates, passengers, expected, ratio.
    """
    days = counts.select("vehicle_id", pl.col(DATE).alias("_judged"))
    before = pl.col("_judged") - pl.col(DATE)
    return (
        days.join(counts, on="vehicle_id")
        .filter(before.is_between(timedelta(0), timedelta(WEEK - 1)))
        .group_by(pl.col("_judged").alias(DATE), "vehicle_id")
        .agg(pl.len().alias("dates"), pl.col("passengers", "expected").sum())
        .filter((pl.col("dates") >= MIN_DATES) & (pl.col("expected") >= MIN_EXPECTED))
        .with_columns((pl.col("passengers") / pl.col("expected")).alias("ratio"))
        .sort("ratio", DATE, "vehicle_id")
    )


def vehicles_with_low_counts(compared: pl.DataFrame) -> pl.DataFrame:
    """`date` and `vehicles_count_alike`: how many vehicles of `compared_with_others` count too few of a date."""
    low = (pl.col("ratio") < LOW_COUNTS).sum().alias("vehicles_count_alike")
    return compared.group_by(DATE).agg(low)


def former_dates(days: list[date]) -> list[date]:
    """The dates before `days` (in order) whose counts are added to theirs."""
    return [days[0] - timedelta(ago) for ago in range(WEEK - 1, 0, -1)]
