"""Occupancy levels of a load, with the names of SIRI 2.1 and GTFS-realtime. The operator sets the thresholds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import polars as pl

GTFS_STATUS = {
    "empty": 0,
    "manySeatsAvailable": 1,
    "fewSeatsAvailable": 2,
    "standingRoomOnly": 3,
    "crushedStandingRoomOnly": 4,
    "full": 5,
    "unknown": 7,
}
"""GTFS-realtime OccupancyStatus of each SIRI level that a forecast can have; 7 is NO_DATA_AVAILABLE."""
_MAX_PERCENT = 400


@dataclass(frozen=True)
class OccupancyThresholds:
    """Thresholds between levels; the defaults are those in use in the Nordic countries.

    `empty_below` is in passengers, the two `…_seats_free_above` are shares of the seats, `crushed_standing_above` is a
    share of the standing places, and `full_above` a share of all places.
    """

    empty_below: float = 0.5
    many_seats_free_above: float = 0.5
    few_seats_free_above: float = 0.1
    crushed_standing_above: float = 0.8
    full_above: float = 1.0

    @property
    def version(self) -> str:
        """Eight hexadecimal digits that depend on the values only."""
        content = json.dumps({name: float(value) for name, value in asdict(self).items()}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:8]


def occupancy(load: str = "mean", thresholds: OccupancyThresholds | None = None) -> list[pl.Expr]:
    """`occupancy_level`, `occupancy_status` and `occupancy_percentage` of a load, from seats and total_capacity.

    Unknown seats give `unknown`; an unknown or zero total capacity gives no percentage, and no level above standing.
    """
    level = _level(load, thresholds or OccupancyThresholds())
    capacity = pl.when(pl.col("total_capacity") > 0).then(pl.col("total_capacity"))
    percentage = (20 * pl.col(load) / capacity).round().clip(0, _MAX_PERCENT // 5) * 5
    return [
        level.alias("occupancy_level"),
        level.replace_strict(GTFS_STATUS, return_dtype=pl.Int32).alias("occupancy_status"),
        percentage.cast(pl.Int32).alias("occupancy_percentage"),
    ]


def _level(name: str, thresholds: OccupancyThresholds) -> pl.Expr:
    load, seats, total = pl.col(name), pl.col("seats"), pl.col("total_capacity")
    free = 1 - load / pl.when(seats > 0).then(seats)
    standing = total - seats
    crushed = (standing > 0) & (load - seats > thresholds.crushed_standing_above * standing)
    # The first true condition decides. A vehicle without seats (a ferry's deck) has none free, so it starts at standing.
    return (
        pl.when(seats.is_null() | load.is_null()).then(pl.lit("unknown"))
        .when(load < thresholds.empty_below).then(pl.lit("empty"))
        .when((total > 0) & (load >= thresholds.full_above * total)).then(pl.lit("full"))
        .when(free > thresholds.many_seats_free_above).then(pl.lit("manySeatsAvailable"))
        .when(free > thresholds.few_seats_free_above).then(pl.lit("fewSeatsAvailable"))
        .when(crushed).then(pl.lit("crushedStandingRoomOnly"))
        .otherwise(pl.lit("standingRoomOnly"))
    )  # fmt: skip
