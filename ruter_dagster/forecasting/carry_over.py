"""Passengers who stay in the vehicle from one trip to its next: loop lines and through-running vehicles.

Counts do not say how many passengers stay on board, but a vehicle's whole block of trips starts and ends empty. TCRP
Report 113, chapter 8, cuts a vehicle's day where the load is known to be zero, and balances each part as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
from polars.functions import col

from ruter_dagster.contracts.carry_over import CarryOverMode

MIN_CONNECTIONS = 10
"""Nothing is inferred for a line and direction with fewer connections on a date."""
INFERRED_SHARE, INFERRED_COUNT = 0.15, 3
"""Loads are carried over if the counts show passengers at this share, and this number, of a line's connections."""
MIN_EVIDENCE = 2
"""Passengers that both trips of a connection must show: more than a counter's usual error."""
EVIDENCE_SHARE = 0.1
"""The same as a share of the smaller trip's passengers."""
_MIN_PAIR_WEIGHT = 0.5
_OVERLAP_MINUTES = 1.0
_DECIMALS = 6

LOADS = ("initial_load", "final_load")
_LINE = ("service_date", "line_id", "direction_id")
_VEHICLE = ("service_date", "_vehicle")


@dataclass(frozen=True)
class CarryOver:
    """Where loads are carried over: `lines` by line, `mode` for all other lines.

    A vehicle's next trip is a connection if it starts within `longest_wait_minutes` after the end of the trip before.
    """

    mode: CarryOverMode = "infer"
    lines: Mapping[str, CarryOverMode] = field(default_factory=dict)
    longest_wait_minutes: float = 20.0

    def mode_of(self, line: pl.Expr) -> pl.Expr:
        return line.replace_strict(dict(self.lines), default=self.mode, return_dtype=pl.String)


def carried_loads(
    visits: pl.DataFrame, trips: pl.DataFrame, settings: CarryOver
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The loads at the ends of trips, and the decision for each line.

    `trips` has one row per performed trip: service_date, line_id, direction_id, vehicle_id, block_id, first_stop,
    last_stop, start, end (scheduled departures at both), boardings, alightings (as counted), agreement (weight of the
    trip alone, 0 to 1) and counted (false if it has loads only). `visits` has their visits in order: the row
    of the trip (`_trip`), and what was counted, without nulls (`_boardings`, `_alightings`).

    Returns `initial_load` and `final_load`, one row per trip (null if nothing is carried over), and one row per date, line and direction with connections: service_date, line_id, direction_id, mode, connections,
    with_passengers, carried_over.
    """
    ordered = _with_next_trip(trips.with_row_index("_trip"), settings)
    evidence = _with_evidence(ordered, visits)
    lines = _decide_lines(evidence, settings)
    no_loads = pl.DataFrame(
        {name: pl.repeat(None, trips.height, dtype=pl.Float64, eager=True) for name in LOADS}
    )
    if not lines["carried_over"].any():
        return no_loads, lines
    linked = evidence.join(lines, on=_LINE, how="left", maintain_order="left").with_columns(
        linked=col.connected & col.carried_over.fill_null(False) & _can_be_reconciled()
    )
    return _loads_between_trips(linked).sort("_trip").select(LOADS), lines


def carry_over_summary(loads: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """One row per line and direction whose loads were carried over on any date, from `loads` (contract `STOP_LOADS`).

    Columns: line_id, direction_id, mode, dates, connections and with_passengers (on those dates), and trips: the number
    that ended with passengers for the vehicle's next trip.
    """
    line = ["line_id", "direction_id"]
    trips = (
        loads.filter(col.final_load > 0)
        .group_by(line)
        .agg(trips=pl.struct("service_date", "trip_id_performed").n_unique())
    )
    return (
        lines.filter("carried_over")
        .group_by(*line, "mode")
        .agg(pl.len().alias("dates"), pl.col("connections", "with_passengers").sum())
        .join(trips, on=line, how="left")
        .with_columns(pl.col("trips").fill_null(0))
        .sort(line)
    )


def _with_next_trip(trips: pl.DataFrame, settings: CarryOver) -> pl.DataFrame:
    """Trips in each vehicle's order. `connected`: the vehicle continues to its next trip without a break."""
    vehicle = pl.coalesce("vehicle_id", "block_id")
    ordered = trips.with_columns(_vehicle=vehicle).sort(*_VEHICLE, "start", "_trip")
    wait = (_next("start") - col.end).dt.total_seconds() / 60
    waits = wait.is_between(-_OVERLAP_MINUTES, settings.longest_wait_minutes)
    counted = col.counted & _next("counted") & (settings.mode_of(col.line_id) != "never")
    return ordered.with_columns(connected=(waits & counted & _at_same_stop()).fill_null(False))


def _next(name: str) -> pl.Expr:
    """A column of the vehicle's next trip; null after its last trip, or if the vehicle is unknown."""
    same = (_shifted("_vehicle") == col._vehicle) & (_shifted("service_date") == col.service_date)
    return pl.when(same).then(_shifted(name))


def _shifted(name: str) -> pl.Expr:
    return pl.col(name).shift(-1)


def _at_same_stop() -> pl.Expr:
    """Both trips belong to one block; if blocks are unknown, they meet at one stop or turn at the line's terminus."""
    turns = (_next("line_id") == col.line_id) & (_next("direction_id") != col.direction_id)
    return pl.coalesce(_next("block_id") == col.block_id, (_next("first_stop") == col.last_stop) | turns)


def _with_evidence(ordered: pl.DataFrame, visits: pl.DataFrame) -> pl.DataFrame:
    """The passengers who must have been on board so that no load is negative.

    `needed`: before the trip's first stop; `left_over`: after its last one. Before that, both sides of a vehicle's day
    are scaled to agree (`_in`, `_out`), so that a counter that misses one side more often adds no passengers.
    """
    boarded, alighted = (pl.col(name).sum().over(_VEHICLE) for name in ("boardings", "alightings"))
    both = (boarded > 0) & (alighted > 0)
    scaled = ordered.with_columns(
        pl.when(both).then((boarded + alighted) / 2 / side).otherwise(1.0).alias(name)
        for name, side in (("_more_in", boarded), ("_more_out", alighted))
    ).with_columns(_in=col.boardings * col._more_in, _out=col.alightings * col._more_out)
    touched = scaled.filter(col.connected | _shifted_back("connected"))
    needed = _needed(visits, touched)
    return scaled.join(needed, on="_trip", how="left", maintain_order="left").with_columns(
        left_over=col._in - col._out + col.needed
    )


def _shifted_back(name: str) -> pl.Expr:
    return pl.col(name).shift(1, fill_value=False)


def _needed(visits: pl.DataFrame, trips: pl.DataFrame) -> pl.DataFrame:
    """`_trip` and `needed`: how far the running sum of a trip's scaled counts falls below zero."""
    change = (col._boardings * col._more_in - col._alightings * col._more_out).round(_DECIMALS)
    running = (
        visits.lazy()
        .select("_trip", "_boardings", "_alightings")
        .join(trips.lazy().select("_trip", "_more_in", "_more_out"), on="_trip", maintain_order="left")
        .with_columns(_change=change)
        .with_columns(_running=col._change.cum_sum())
    )
    # The minimum of one sum over all trips, less its value before the trip: a third of the time of a sum per trip.
    below = (col._running.first() - col._change.first() - col._running.min()).clip(lower_bound=0)
    return running.group_by("_trip").agg(below.round(_DECIMALS).alias("needed")).collect()


def _decide_lines(trips: pl.DataFrame, settings: CarryOver) -> pl.DataFrame:
    """Whether loads are carried over, for each date, line and direction. Only the counts of that date decide."""
    smaller = pl.min_horizontal(
        pl.max_horizontal("boardings", "alightings"),
        pl.max_horizontal(_next("boardings"), _next("alightings")),
    )
    evidence = pl.min_horizontal("left_over", _next("needed"))
    required = pl.max_horizontal(pl.lit(MIN_EVIDENCE), EVIDENCE_SHARE * smaller)
    inferred = (
        (col.connections >= MIN_CONNECTIONS)
        & (col.with_passengers >= INFERRED_COUNT)
        & (col.with_passengers >= INFERRED_SHARE * col.connections)
    )
    return (
        trips.with_columns(_has_passengers=evidence >= required)
        .filter("connected")
        .group_by(_LINE)
        .agg(connections=pl.len(), with_passengers=col._has_passengers.sum())
        .with_columns(mode=settings.mode_of(col.line_id))
        .with_columns(carried_over=(col.mode == "always") | ((col.mode == "infer") & inferred))
        .sort(_LINE)
    )


def _can_be_reconciled() -> pl.Expr:
    """False if one of two trips cannot be balanced alone and the other trip does not explain the difference."""
    names = ("boardings", "alightings")
    boarded, alighted = (pl.col(name) + _next(name) for name in names)
    together = 1 - 2 * (boarded - alighted).abs() / (boarded + alighted)
    return ((col.agreement > 0) & (_next("agreement") > 0)) | (together >= _MIN_PAIR_WEIGHT)


def _loads_between_trips(linked: pl.DataFrame) -> pl.DataFrame:
    """`_trip`, `initial_load` and `final_load` of trips in their vehicles' order.

    Linked trips form a block, which starts and ends empty: its counts are scaled to agree, and the load between two trips
    is the running sum. It is at least what both trips need. It is at most what boarded in the first trip and alighted in the
    second, because no passenger stays on board for a whole trip.
    """
    block = (~_shifted_back("linked")).cum_sum()
    boarded, alighted = (pl.col(name).sum().over("_block") for name in ("boardings", "alightings"))
    passengers = (boarded + alighted) / 2
    change = pl.when((boarded > 0) & (alighted > 0)).then(
        col.boardings * passengers / boarded - col.alightings * passengers / alighted
    )
    most = pl.min_horizontal("boardings", _next("alightings")).cast(pl.Float64)
    least = pl.min_horizontal(pl.max_horizontal("left_over", _next("needed")), most)
    return (
        linked.with_columns(_block=block)
        .with_columns(_running=change.fill_null(0.0).cum_sum().over("_block"))
        .with_columns(final_load=pl.when("linked").then(col._running.clip(least, most).round(_DECIMALS)))
        .select("_trip", "final_load", initial_load=col.final_load.shift(1))
    )
