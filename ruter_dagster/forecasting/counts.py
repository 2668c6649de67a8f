"""From what the counters reported to balanced loads: pure functions over whole frames of stop visits.

A passenger who boards also alights: a performed trip starts and ends empty, no load is negative, and boardings equal
alightings. Counters break that; the difference is spread over both sides in proportion to the counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ruter_dagster.contracts.frames import conform
from ruter_dagster.contracts.tables import STOP_LOADS
from ruter_dagster.forecasting.slots import slot_hour

TOLERATED_PASSENGERS = 1
"""A trip off by so few is as good as one that agrees: on small trips one passenger is a large share."""
FLAGGED_IMBALANCE = 0.10
"""Imbalance beyond which a trip is flagged."""
_DECIMALS = 6

_trip = pl.col("_trip")
_counted = pl.col("boardings").is_not_null() & pl.col("alightings").is_not_null()


def balance(visits: pl.DataFrame, time_zone: str) -> pl.DataFrame:
    """Balanced loads of stop visits (contract `STOP_VISITS`, any number of dates) as contract `STOP_LOADS`.

    - Trips whose visits all carry boardings and alightings are balanced: both sides are scaled to their mean total,
      loads are the running sum, and where that is below zero the boardings and alightings that nobody can have made
      are taken out on both sides. The raw `departure_load` is not used.
    - Trips with loads alone pass as they are: no imbalance, weight 1.
    - Trips counted at some visits only pass with their loads where every visit has one; else the missing counts are 0
      and the weight falls with the share that is missing.
    - A side that counted nothing all along the trip (a dead sensor) is put at the trip's end: everyone boards at the
      first stop, or alights at the last.
    - Counts that add up to over twice the vehicle's capacity are scaled down to its capacity, with weight 0, so that
      one broken counter does not hold up the date. (A raw *load* over twice the capacity is refused before.)

    `weight` is 1 for trips off by at most one passenger, 0 from an imbalance of one half on.
    """
    trips = _prepare(visits)
    balanced = _within_capacity(_running_loads(_scale(trips)))
    loads_only = pl.col("_loads_only")
    return conform(
        balanced.with_columns(
            load=pl.when(loads_only).then("departure_load").otherwise("load").cast(pl.Float64),
            boardings=pl.when(~loads_only).then("_boardings"),
            alightings=pl.when(~loads_only).then("_alightings"),
            imbalance=pl.when(~loads_only).then("imbalance"),
            weight=pl.when(loads_only).then(1.0).otherwise("weight"),
            slot_hour=slot_hour("scheduled_departure_time", "service_date", time_zone),
        ).select(STOP_LOADS.column_names),
        STOP_LOADS,
    )


def _prepare(visits: pl.DataFrame) -> pl.DataFrame:
    """Visits in the order of their trips, with the trip's number and totals."""
    boardings, alightings = (
        pl.col(name).cast(pl.Float64).fill_null(0.0) for name in ("boardings", "alightings")
    )
    return (
        visits.sort("service_date", "trip_id_performed", "stop_sequence")
        .with_columns(pl.struct("service_date", "trip_id_performed").rle_id().alias("_trip"))
        .with_columns(
            boardings.alias("_boardings"),
            alightings.alias("_alightings"),
            boardings.sum().over(_trip).alias("_total_boardings"),
            alightings.sum().over(_trip).alias("_total_alightings"),
            _counted.mean().over(_trip).alias("_counted_share"),
            pl.col("departure_load").is_not_null().all().over(_trip).alias("_all_loads"),
        )
        .with_columns(_loads_only=(pl.col("_counted_share") < 1) & pl.col("_all_loads"))
    )


def _scale(trips: pl.DataFrame) -> pl.DataFrame:
    """Both sides scaled to the mean of their totals; `imbalance` and `weight` as the counts were."""
    boarded, alighted = pl.col("_total_boardings"), pl.col("_total_alightings")
    counted = boarded + alighted
    passengers = counted / 2
    difference = (boarded - alighted).abs()
    beyond = (difference - TOLERATED_PASSENGERS).clip(lower_bound=0)
    first, last = _trip.shift().ne_missing(_trip), _trip.shift(-1).ne_missing(_trip)
    return trips.with_columns(
        _boardings=_scaled("_boardings", boarded, alighted, passengers, first),
        _alightings=_scaled("_alightings", alighted, boarded, passengers, last),
        imbalance=pl.when(counted > 0).then(difference / counted).otherwise(0.0),
        weight=pl.when(counted > 0).then((1 - 2 * beyond / counted).clip(0, 1)).otherwise(1.0)
        * pl.col("_counted_share"),
    )


def _scaled(side: str, total: pl.Expr, other: pl.Expr, passengers: pl.Expr, end: pl.Expr) -> pl.Expr:
    """One side's counts scaled to `passengers`; a side without any takes them all at the trip's `end`.

    Where the other side is dead this one is what is known, and stays.
    """
    return (
        pl.when(total == 0)
        .then(pl.when(end).then(other).otherwise(0.0))
        .when(other == 0)
        .then(pl.col(side))
        .otherwise(pl.col(side) * passengers / total)
    )


def _running_loads(trips: pl.DataFrame) -> pl.DataFrame:
    """The running sum, never below zero: what would take it there is cut from alightings, and later from boardings."""
    running = (pl.col("_boardings") - pl.col("_alightings")).cum_sum().over(_trip).round(_DECIMALS)
    below = (-pl.col("_running")).clip(lower_bound=0)
    return (
        trips.with_columns(running.alias("_running"))
        .with_columns(_below=below, _more_below=below - below.shift(fill_value=0.0).over(_trip))
        .with_columns(
            load=pl.col("_running").clip(lower_bound=0),
            _alightings=(pl.col("_alightings") - pl.col("_more_below").clip(lower_bound=0)).clip(
                lower_bound=0
            ),
            _boardings=(pl.col("_boardings") + pl.col("_more_below").clip(upper_bound=0)).clip(lower_bound=0),
        )
        .with_columns(_kept=pl.col("_boardings").sum().over(_trip))
        .with_columns(weight=pl.col("weight") * _share_kept())
    )


def _share_kept() -> pl.Expr:
    """Share of the trip's passengers who remain once impossible moves are out."""
    cut = pl.col("_more_below").clip(lower_bound=0).sum().over(_trip)
    return pl.when(cut > 0).then(pl.col("_kept") / (pl.col("_kept") + cut)).otherwise(1.0)


def _within_capacity(trips: pl.DataFrame) -> pl.DataFrame:
    """Trips whose counts pile up beyond twice the capacity, scaled down to it and trusted no more."""
    over = (pl.col("load") / pl.col("total_capacity")).max().over(_trip)
    broken = (pl.col("total_capacity") > 0) & (over > 2)
    return trips.with_columns(
        *(
            pl.when(broken).then(pl.col(name) / over).otherwise(name).alias(name)
            for name in ("load", "_boardings", "_alightings")
        ),
        weight=pl.when(broken).then(0.0).otherwise("weight"),
    )


@dataclass(frozen=True)
class BalanceSummary:
    """What balancing found; imbalances are null where no trip carries counts."""

    trips: int
    counted_trips: int
    flagged_trips: int
    mean_imbalance: float | None
    worst_vehicle: str | None
    worst_vehicle_imbalance: float | None


def balance_summary(visits: pl.DataFrame, loads: pl.DataFrame) -> BalanceSummary:
    """How far the counts of `visits` (contract `STOP_VISITS`) agreed, beside their `loads` (contract `STOP_LOADS`)."""
    trips = loads.group_by("service_date", "trip_id_performed").agg(
        pl.col("imbalance").first(), pl.col("weight").first()
    )
    counted = trips.drop_nulls("imbalance")
    flagged = counted.filter((pl.col("imbalance") > FLAGGED_IMBALANCE) & (pl.col("weight") < 1))
    worst = vehicle_imbalance(visits).head(1)
    return BalanceSummary(
        trips=trips.height,
        counted_trips=counted.height,
        flagged_trips=flagged.height,
        mean_imbalance=counted["imbalance"].mean() if counted.height else None,  # pyright: ignore[reportArgumentType]
        worst_vehicle=worst["vehicle_id"].item() if worst.height else None,
        worst_vehicle_imbalance=worst["imbalance"].item() if worst.height else None,
    )


def vehicle_imbalance(visits: pl.DataFrame, min_passengers: int = 200) -> pl.DataFrame:
    """Each vehicle's |boardings - alightings| / (boardings + alightings) over all its counted visits of a date, the worst first.

    Chance evens out over many trips, a bad sensor does not: so vehicles with fewer than `min_passengers` boardings
    and alightings are left out. Columns: service_date, mode, vehicle_id, passengers, imbalance.
    """
    boarded, alighted = pl.col("boardings").sum(), pl.col("alightings").sum()
    return (
        visits.filter(_counted & pl.col("vehicle_id").is_not_null())
        .group_by("service_date", "mode", "vehicle_id")
        .agg(passengers=boarded + alighted, imbalance=(boarded - alighted).abs() / (boarded + alighted))
        .filter(pl.col("passengers") >= min_passengers)
        .sort("imbalance", "service_date", "vehicle_id", descending=[True, False, False])
    )
