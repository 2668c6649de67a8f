"""Balanced loads from counts: pure functions over frames of stop visits.

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
"""A difference this small counts as agreement: on small trips one passenger is a large share."""
MIN_VEHICLE_PASSENGERS = 200
"""Boardings and alightings of a vehicle's day that its imbalance needs."""
MIN_IMBALANCE_TRIPS = 4
"""Trips with passengers of a vehicle's date that the standard error of its imbalance needs."""
STANDARD_ERRORS = 4
"""Standard errors that are subtracted from a vehicle's imbalance."""
COUNT_VARIANCE = 0.05
"""Least variance of boardings - alightings per counted passenger: that of counters that miss one passenger of twenty by chance."""
FLAGGED_IMBALANCE = 0.10
"""A trip with more imbalance is flagged."""
_DECIMALS = 6
_MIN_WEIGHT = 1e-6

_trip = pl.col("_trip")
_counted = pl.col("boardings").is_not_null() & pl.col("alightings").is_not_null()
_SIDES = ("boardings", "alightings")


def balance(visits: pl.DataFrame, time_zone: str, carry_over: CarryOver = CarryOver()) -> pl.DataFrame:  # noqa: B008 (frozen)
    """Balanced loads of stop visits (contract `STOP_VISITS`, any number of dates) as contract `STOP_LOADS`.

    - Trips with counts are balanced: both sides are scaled to their mean total, and loads are the running sum. If the sum
      falls below zero, impossible boardings and alightings are removed on both sides. The raw `departure_load` is not used.
    - A trip starts and ends empty, unless its vehicle carries passengers over to its next trip (carry_over.py).
    - Trips without counts keep their reported loads: no imbalance, weight 1, no load at visits without one.
    - Trips with counts at some visits keep their reported loads if every visit has one. Otherwise missing counts are 0,
      and the weight falls with the share of visits without counts.
    - If one side counted nothing on the whole trip, everyone boards at the first stop, or alights at the last.

    `weight` is 1 for trips whose sides differ by at most one passenger. A trip that cannot be reconciled has weight 0 and
    null loads, boardings and alightings. No model learns from it and no forecast is scored by it. Such a trip has one of
    these faults:

    - Its sides differ by a factor of three or more, and by more than two passengers.
    - No passenger remains without impossible alightings.
    - Loads exceed twice the vehicle's capacity.
    - Nothing was counted.
    """
    return balance_with_lines(visits, time_zone, carry_over)[0]


def balance_with_lines(
    visits: pl.DataFrame, time_zone: str, carry_over: CarryOver
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`balance`, and the decision of `carried_loads` for each line."""
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
    """Visits in trip order with the trip's number, totals and loads at its ends; and the decision for each line."""
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
    # A trip's number is its row index. Looking up its totals takes a third of the time of a sum per trip (goal: a week of counts).
    return pl.concat([ordered, known[ordered["_trip"]]], how="horizontal"), lines


def _trips(ordered: pl.DataFrame) -> pl.DataFrame:
    """One row per trip of prepared visits, by its number: the input of `carried_loads`, and `_counted_share`."""
    has_load = pl.col("departure_load").is_not_null()
    trips = ordered.group_by("_trip", maintain_order=True).agg(
        pl.col("service_date", "line_id", "direction_id", "vehicle_id", "block_id").first(),
        pl.col("stop_id").first().alias("first_stop"),
        pl.col("stop_id").last().alias("last_stop"),
        pl.col("scheduled_departure_time").first().alias("start"),
        pl.col("scheduled_departure_time").last().alias("end"),
        *(pl.col(f"_{name}").sum().alias(name) for name in _SIDES),
        _counted.mean().alias("_counted_share"),
        has_load.all().alias("_all_loads"),
        has_load.any().alias("_any_load"),
    )
    share = pl.col("_counted_share")
    loads_only = pl.when(share == 0).then("_any_load").otherwise((share < 1) & pl.col("_all_loads"))
    agreement = _agreement(pl.col("boardings"), pl.col("alightings"))
    return trips.drop("_trip").with_columns(counted=~loads_only, agreement=agreement)


def _scale(trips: pl.DataFrame) -> pl.DataFrame:
    """Both sides scaled to the mean of their totals; `imbalance` and `weight` describe the original counts.

    Passengers on board before the first stop count as boarded, passengers who stay after the last stop as alighted.
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
    """1 if both sides of a trip differ by at most one passenger, falling to 0 at an imbalance of one half."""
    counted = total_in + total_out
    excess = ((total_in - total_out).abs() - TOLERATED_PASSENGERS).clip(lower_bound=0)
    return pl.when(counted > 0).then((1 - 2 * excess / counted).clip(0, 1)).otherwise(1.0)


def _scaled(
    side: str, total: pl.Expr, other: pl.Expr, target: pl.Expr, missing: pl.Expr, end: pl.Expr
) -> pl.Expr:
    """One side's counts scaled to the total `target`; a side without counts gets `missing` passengers at the trip's `end`.

    If the other side counted nothing, this side is all that is known, and stays as it is.
    """
    return (
        pl.when(total == 0)
        .then(pl.when(end).then(missing).otherwise(0.0))
        .when(other == 0)
        .then(pl.col(side))
        .otherwise(pl.col(side) * target / total)
    )


def _running_loads(trips: pl.DataFrame) -> pl.DataFrame:
    """Loads as the running sum, never negative: the excess is cut from alightings, and later from boardings."""
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
    """The weight, reduced by the share of impossible moves; 0 for trips that cannot be reconciled.

    Those are trips with loads over twice the capacity, and trips with almost no weight left.
    """
    kept, cut = pl.col("_kept") + pl.col("_initial_load"), pl.col("_cut")
    share_kept = pl.when(cut > 0).then(kept / (kept + cut)).otherwise(1.0)
    broken = (pl.col("_max_load_ratio") > 2).fill_null(False)
    by_trip = trips.group_by("_trip", maintain_order=True).agg(
        pl.col("_initial_load", "weight").first(),
        pl.col("_boardings").sum().alias("_kept"),
        pl.col("_more_below").clip(lower_bound=0).sum().alias("_cut"),
        (pl.col("load") / pl.col("total_capacity"))
        .filter(pl.col("total_capacity") > 0)
        .max()
        .alias("_max_load_ratio"),
    )
    weight = pl.col("weight") * share_kept
    weights = by_trip.select(
        pl.when(broken | (weight < _MIN_WEIGHT)).then(0.0).otherwise(weight).alias("weight")
    )
    return trips.with_columns(weights.to_series().gather(trips["_trip"]))


@dataclass(frozen=True)
class BalanceSummary:
    """Figures of a balanced date. Imbalances are None if no trip has counts."""

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
    """Summarises how well the counts of `visits` (contract `STOP_VISITS`) agree; `loads` are their balanced loads (`STOP_LOADS`)."""
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


def vehicle_imbalance(visits: pl.DataFrame) -> pl.DataFrame:
    """|boardings - alightings| / (boardings + alightings) of each vehicle's counted visits on a date, largest first.

    Chance evens out over many trips, a faulty sensor does not. Vehicles with fewer than `MIN_VEHICLE_PASSENGERS` boardings and
    alightings are left out. Columns: service_date, mode, vehicle_id, passengers, imbalance.
    """
    boarded, alighted = pl.col("boardings").sum(), pl.col("alightings").sum()
    return (
        visits.filter(_counted & pl.col("vehicle_id").is_not_null())
        .group_by("service_date", "mode", "vehicle_id")
        .agg(passengers=boarded + alighted, imbalance=(boarded - alighted).abs() / (boarded + alighted))
        .filter(pl.col("passengers") >= MIN_VEHICLE_PASSENGERS)
        .sort("imbalance", "service_date", "vehicle_id", descending=[True, False, False])
    )


def door_imbalance(trips: pl.DataFrame) -> pl.DataFrame:
    """The imbalance of each vehicle's date that chance does not explain; 0 if chance may explain all of it.

    It is the imbalance minus `STANDARD_ERRORS` standard errors, which come from the differences between the vehicle's trips. A
    dead sensor shifts all trips alike, so they differ little. A trip that lost its counts, and passengers who stay on board
    between two trips, raise the standard error as well.

    Args:
        trips: one row per trip with service_date, mode, vehicle_id, and the sums of boardings and alightings.

    Returns:
        service_date, mode, vehicle_id, door_imbalance (0 to 1). Vehicles with fewer than `MIN_IMBALANCE_TRIPS` trips with
        passengers are left out.
    """
    imbalance = pl.col("difference").abs() / pl.col("counted")
    bound = imbalance - STANDARD_ERRORS * pl.col("variance").sqrt() / pl.col("counted")
    return (
        _differences(trips)
        .filter(pl.col("trips") >= MIN_IMBALANCE_TRIPS)
        .select("service_date", "mode", "vehicle_id", bound.clip(lower_bound=0).alias("door_imbalance"))
    )


def _differences(trips: pl.DataFrame) -> pl.DataFrame:
    """Sums of each vehicle's date: trips, counted, difference (boardings - alightings), and the variance of the difference.

    The variance is that of a ratio estimate: the squares of what trips differ by, beyond their share of the vehicle's difference.
    """
    boarded, alighted = (pl.col(side).cast(pl.Float64) for side in _SIDES)
    difference, counted, number = boarded - alighted, boarded + alighted, pl.col("trips")
    ratio = pl.col("difference") / pl.col("counted")
    squares = pl.col("_squares") - 2 * ratio * pl.col("_products") + ratio**2 * pl.col("_counted_squares")
    return (
        trips.filter(counted > 0)
        .group_by("service_date", "mode", "vehicle_id")
        .agg(
            trips=pl.len(),
            counted=counted.sum(),
            difference=difference.sum(),
            _squares=(difference**2).sum(),
            _products=(difference * counted).sum(),
            _counted_squares=(counted**2).sum(),
        )
        # One trip has no variance; `MIN_IMBALANCE_TRIPS` leaves it out.
        .with_columns(variance=squares * number / (number - 1) + COUNT_VARIANCE * pl.col("counted"))
    )
