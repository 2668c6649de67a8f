"""From what the counters reported to balanced loads: pure functions over whole frames of stop visits.

A passenger who boards also alights: a performed trip starts and ends empty, no load is negative, and boardings equal
alightings. Counters break that; the difference is spread over both sides in proportion to the counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ruter_dagster.contracts.tables import STOP_LOADS
from ruter_dagster.contracts.validation import conform
from ruter_dagster.forecasting.carry_over import CarryOver, carried_loads
from ruter_dagster.forecasting.slots import slot_hour

TOLERATED_PASSENGERS = 1
"""A trip off by so few is as good as one that agrees: on small trips one passenger is a large share."""
FLAGGED_IMBALANCE = 0.10
"""Imbalance beyond which a trip is flagged."""
_DECIMALS = 6
_MIN_WEIGHT = 1e-6

_trip = pl.col("_trip")
_counted = pl.col("boardings").is_not_null() & pl.col("alightings").is_not_null()
_SIDES = ("boardings", "alightings")


def balance(visits: pl.DataFrame, time_zone: str, carry_over: CarryOver = CarryOver()) -> pl.DataFrame:  # noqa: B008 (frozen)
    """Balanced loads of stop visits (contract `STOP_VISITS`, any number of dates) as contract `STOP_LOADS`.

    - Trips with counts are balanced: both sides are scaled to their mean total, loads are the running sum, and where
      that is below zero the boardings and alightings that nobody can have made are taken out on both sides. The raw
      `departure_load` is not used.
    - A trip starts and ends empty, except where its vehicle carries passengers over to its next trip (carry_over.py).
    - Trips without any counts pass with their loads as they are: no imbalance, weight 1, and no load at a visit without.
    - Of trips counted at some visits only, the loads pass where every visit has one; else the missing counts are 0 and
      the weight falls with the share of visits without.
    - A side that counted nothing all along the trip is put at the trip's end: everyone boards at the first stop, or
      alights at the last.

    `weight` is 1 for trips off by at most one passenger. A trip whose counts cannot be reconciled has weight 0 and no
    load, boardings or alightings (null), so that nothing is learnt from it and no forecast is judged by it: one side of
    its counts is three times the other and two passengers more, or beyond, no passenger remains once alightings that nobody
    can have made are out, loads pile up beyond twice the vehicle's capacity, or nothing at all was counted.
    """
    return balance_with_lines(visits, time_zone, carry_over)[0]


def balance_with_lines(
    visits: pl.DataFrame, time_zone: str, carry_over: CarryOver
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`balance`, and what `carried_loads` decided for each line."""
    prepared, lines = _prepare(visits, carry_over)
    balanced = _with_weights(_running_loads(_scale(prepared)))
    loads_only, known = pl.col("_loads_only"), pl.col("weight") > 0
    trusted = ~loads_only & known
    loads = balanced.with_columns(
        load=pl.when(loads_only).then("departure_load").when(known).then("load").cast(pl.Float64),
        boardings=pl.when(trusted).then("_boardings"),
        alightings=pl.when(trusted).then("_alightings"),
        initial_load=pl.when(trusted).then("initial_load"),
        final_load=pl.when(trusted).then("final_load"),
        imbalance=pl.when(~loads_only).then("imbalance"),
        weight=pl.when(loads_only)
        .then(pl.col("departure_load").is_not_null().cast(pl.Float64))
        .otherwise("weight"),
        slot_hour=slot_hour("scheduled_departure_time", "service_date", time_zone),
    )
    return conform(loads.select(STOP_LOADS.column_names), STOP_LOADS), lines


def _prepare(visits: pl.DataFrame, carry_over: CarryOver) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Visits in the order of their trips, with the trip's number, totals and loads at its ends; and the lines."""
    ordered = visits.sort("service_date", "trip_id_performed", "stop_sequence").with_columns(
        pl.struct("service_date", "trip_id_performed").rle_id().alias("_trip"),
        *(pl.col(name).cast(pl.Float64).fill_null(0.0).alias(f"_{name}") for name in _SIDES),
    )
    trips = _trips(ordered)
    ends, lines = carried_loads(ordered, trips, carry_over)
    known = pl.concat([trips, ends], how="horizontal").select(
        *ends.columns,
        *(pl.col(name).fill_null(0.0).alias(f"_{name}") for name in ends.columns),
        *(pl.col(name).alias(f"_total_{name}") for name in _SIDES),
        "_counted_share",
        (~pl.col("counted")).alias("_loads_only"),
    )
    # The number of a trip is its row: looking it up takes a third of the time of a sum over each trip.
    return pl.concat([ordered, known[ordered["_trip"]]], how="horizontal"), lines


def _trips(ordered: pl.DataFrame) -> pl.DataFrame:
    """One row for each trip of prepared visits, by its number: what `carried_loads` takes, and `_counted_share`."""
    loads = pl.col("departure_load").is_not_null()
    trips = ordered.group_by("_trip", maintain_order=True).agg(
        pl.col("service_date", "line_id", "direction_id", "vehicle_id", "block_id").first(),
        pl.col("stop_id").first().alias("first_stop"),
        pl.col("stop_id").last().alias("last_stop"),
        pl.col("scheduled_departure_time").first().alias("start"),
        pl.col("scheduled_departure_time").last().alias("end"),
        *(pl.col(f"_{name}").sum().alias(name) for name in _SIDES),
        _counted.mean().alias("_counted_share"),
        loads.all().alias("_all_loads"),
        loads.any().alias("_any_load"),
    )
    share = pl.col("_counted_share")
    loads_only = pl.when(share == 0).then("_any_load").otherwise((share < 1) & pl.col("_all_loads"))
    agreement = _agreement(pl.col("boardings"), pl.col("alightings"))
    return trips.drop("_trip").with_columns(counted=~loads_only, agreement=agreement)


def _scale(trips: pl.DataFrame) -> pl.DataFrame:
    """Both sides scaled to the mean of their totals; `imbalance` and `weight` as the counts were.

    Whoever is on board before the first stop counts as boarded, whoever stays on board after the last as alighted.
    """
    initial, final = pl.col("_initial_load"), pl.col("_final_load")
    boarded, alighted = pl.col("_total_boardings"), pl.col("_total_alightings")
    total_in, total_out = boarded + initial, alighted + final
    counted = total_in + total_out
    passengers = counted / 2
    first, last = _trip.shift().ne_missing(_trip), _trip.shift(-1).ne_missing(_trip)
    return trips.with_columns(
        _boardings=_scaled("_boardings", boarded, alighted, passengers - initial, total_out - initial, first),
        _alightings=_scaled("_alightings", alighted, boarded, passengers - final, total_in - final, last),
        imbalance=pl.when(counted > 0).then((total_in - total_out).abs() / counted).otherwise(0.0),
        weight=_agreement(total_in, total_out) * pl.col("_counted_share"),
    )


def _agreement(total_in: pl.Expr, total_out: pl.Expr) -> pl.Expr:
    """1 where both sides of a trip's counts differ by a passenger at most, 0 from an imbalance of one half on."""
    counted = total_in + total_out
    beyond = ((total_in - total_out).abs() - TOLERATED_PASSENGERS).clip(lower_bound=0)
    return pl.when(counted > 0).then((1 - 2 * beyond / counted).clip(0, 1)).otherwise(1.0)


def _scaled(
    side: str, total: pl.Expr, other: pl.Expr, wanted: pl.Expr, all_of_them: pl.Expr, end: pl.Expr
) -> pl.Expr:
    """One side's counts scaled to the passengers `wanted`; a side without any takes `all_of_them` at the trip's `end`.

    Where the other side is dead this one is what is known, and stays.
    """
    return (
        pl.when(total == 0)
        .then(pl.when(end).then(all_of_them).otherwise(0.0))
        .when(other == 0)
        .then(pl.col(side))
        .otherwise(pl.col(side) * wanted / total)
    )


def _running_loads(trips: pl.DataFrame) -> pl.DataFrame:
    """The running sum, never below zero: what would take it there is cut from alightings, and later from boardings."""
    change = (pl.col("_boardings") - pl.col("_alightings")).cum_sum().over(_trip)
    running = (pl.col("_initial_load") + change).round(_DECIMALS)
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
    )


def _with_weights(trips: pl.DataFrame) -> pl.DataFrame:
    """The weight lowered by the share of passengers who made impossible moves; 0 for trips beyond repair.

    Beyond repair are trips whose loads pile up over twice the capacity, and those whose weight is next to nothing.
    """
    kept, cut = pl.col("_kept") + pl.col("_initial_load"), pl.col("_cut")
    share_kept = pl.when(cut > 0).then(kept / (kept + cut)).otherwise(1.0)
    broken = (pl.col("_most_load") > 2).fill_null(False)
    by_trip = trips.group_by("_trip", maintain_order=True).agg(
        pl.col("_initial_load", "weight").first(),
        pl.col("_boardings").sum().alias("_kept"),
        pl.col("_more_below").clip(lower_bound=0).sum().alias("_cut"),
        (pl.col("load") / pl.col("total_capacity"))
        .filter(pl.col("total_capacity") > 0)
        .max()
        .alias("_most_load"),
    )
    weight = pl.col("weight") * share_kept
    weights = by_trip.select(
        pl.when(broken | (weight < _MIN_WEIGHT)).then(0.0).otherwise(weight).alias("weight")
    )
    return trips.with_columns(weights.to_series().gather(trips["_trip"]))


@dataclass(frozen=True)
class BalanceSummary:
    """What balancing found; imbalances are null where no trip carries counts."""

    trips: int
    counted_trips: int
    flagged_trips: int
    trips_without_load: int
    """Trips of weight 0: their counts cannot be reconciled."""
    trips_carrying_over: int
    """Trips that end with passengers who stay on board for the vehicle's next trip."""
    mean_imbalance: float | None
    worst_vehicle: str | None
    worst_vehicle_imbalance: float | None


def balance_summary(visits: pl.DataFrame, loads: pl.DataFrame) -> BalanceSummary:
    """How far the counts of `visits` (contract `STOP_VISITS`) agreed, beside their `loads` (contract `STOP_LOADS`)."""
    trips = loads.group_by("service_date", "trip_id_performed").agg(
        pl.col("imbalance", "weight", "final_load").first()
    )
    counted = trips.drop_nulls("imbalance")
    flagged = counted.filter((pl.col("imbalance") > FLAGGED_IMBALANCE) & (pl.col("weight") < 1))
    worst = vehicle_imbalance(visits).head(1)
    return BalanceSummary(
        trips=trips.height,
        counted_trips=counted.height,
        flagged_trips=flagged.height,
        trips_without_load=counted.filter(pl.col("weight") == 0).height,
        trips_carrying_over=trips.filter(pl.col("final_load") > 0).height,
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
