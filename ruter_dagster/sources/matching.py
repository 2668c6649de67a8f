"""Matches performed trips to the planned journeys of their date. It takes and returns frames, and reads no files.

Selecting the plan of a date belongs in gtfs_source.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

TOLERANCE_MINUTES = 10
"""Largest difference to the planned time at the first counted stop, for a match by line, direction and stops."""
ID_TOLERANCE_MINUTES = 60
"""Largest difference to the planned times, for a match by id. A new feed may give the same id to another journey."""
MIN_SHARE_IN_ORDER = 0.5
"""Smallest share of a trip's visits at stops of the journey, in its order, for a match by id."""
BY_ID, BY_PATTERN, UNMATCHED = (
    "trips matched by id",
    "trips matched by line, direction, stops and time",
    "trips without a planned journey",
)
PLAN_COLUMNS = (
    "service_date", "trip_id", "stop_sequence", "stop_id", "line_id", "direction_id", "block_id", "scheduled_departure_time",
)  # fmt: skip
"""The columns of `raw.planned_departures` that matching needs."""
_TRIP = "trip_id_performed"


@dataclass(frozen=True)
class Aliases:
    """Ids of the plan by the other names of lines and stops: unique values of route_short_name and stop_code."""

    lines: dict[str, str]
    stops: dict[str, str]

    @classmethod
    def of(cls, routes: pl.DataFrame, stops: pl.DataFrame) -> Aliases:
        """`routes` has route_id and route_short_name, `stops` stop_id and stop_code."""
        return cls(_aliases(routes, "route_short_name", "route_id"), _aliases(stops, "stop_code", "stop_id"))

    def apply(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Replaces other names by the plan's line_id and stop_id, if the rows have these columns. Unknown names stay."""
        return rows.with_columns(
            pl.col(name).replace(names)
            for name, names in (("line_id", self.lines), ("stop_id", self.stops))
            if names and name in rows.columns
        )


def match(visits: pl.DataFrame, plan: pl.DataFrame, added: pl.Series) -> tuple[pl.DataFrame, dict[str, int]]:
    """Matches the visits of one date to `plan`. Returns the visits with planned ids, and the number of trips by kind of match.

    - By id: `trip_id` is planned on the same line. At least half of the visits are at stops of the journey in its order. The
      median time difference at shared stops is at most `ID_TOLERANCE_MINUTES`.
    - Else by line, direction, stops in the journey's order, and time at the first of them. The nearest journey within
      `TOLERANCE_MINUTES` is performed_by_planned, and each journey once. Trips in `added` (trip_id_performed) are not matched like this.
    - A matched trip gets the journey's direction, and its block if the counts have none. A visit gets the journey's id and
      the sequence of its stop, as long as the stops are in the journey's order.
    - Visits at other stops or out of order, and unmatched trips, keep their counts under the performed trip's id. So no
      planned departure gets the load of another stop.

    `visits` is contract `raw.stop_visits`; `plan` has `PLAN_COLUMNS`.
    """
    exact = _match_exactly(visits, plan)
    remaining, free = visits.join(exact, on=_TRIP, how="anti"), _without(plan, exact)
    by_id = _match_by_id(remaining, free)
    without_id = remaining.join(by_id, on=_TRIP, how="anti").filter(~pl.col(_TRIP).is_in(added.implode()))
    by_pattern = _match_by_pattern(without_id, _without(free, by_id))
    matched = pl.concat([exact, by_id, by_pattern])
    counts = {
        BY_ID: exact.height + by_id.height,
        BY_PATTERN: by_pattern.height,
        UNMATCHED: visits[_TRIP].n_unique() - matched.height,
    }
    inexact = _with_planned_sequence(remaining, free, pl.concat([by_id, by_pattern]))
    return _with_planned_ids(visits, plan, matched, _with_sequence(inexact, free)), counts


def _without(plan: pl.DataFrame, matched: pl.DataFrame) -> pl.DataFrame:
    return plan.join(matched, left_on="trip_id", right_on="planned", how="anti")


def _match_exactly(visits: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    """Trips whose visits all have the line and stop that the plan has under the same trip id and sequence. Most trips are such."""
    key, compared = ["trip_id", "stop_sequence"], ["stop_id", "line_id", "scheduled_departure_time"]
    compared_visits = visits.select(_TRIP, *key, *compared).join(
        plan.select(*key, *compared), on=key, how="left", suffix="_planned"
    )
    same = (pl.col("stop_id") == pl.col("stop_id_planned")) & (pl.col("line_id") == pl.col("line_id_planned"))
    trips = compared_visits.group_by(_TRIP).agg(
        pl.col("trip_id").first(), (same.fill_null(False).all() & _is_near()).alias("exact")
    )
    return trips.filter("exact").select(_TRIP, planned="trip_id")


def _is_near() -> pl.Expr:
    """Whether a trip's visits are near their planned times (aggregation; both in UTC). True if there is no scheduled time."""
    difference = pl.col("scheduled_departure_time") - pl.col("scheduled_departure_time_planned")
    return difference.dt.total_seconds().median().abs().le(60 * ID_TOLERANCE_MINUTES).fill_null(True)


def _aliases(rows: pl.DataFrame, alias: str, name: str) -> dict[str, str]:
    unique = rows.filter(
        pl.col(alias).is_not_null()
        & pl.col(alias).is_duplicated().not_()
        & ~pl.col(alias).is_in(rows[name].implode())
    )
    return dict(unique.select(alias, name).iter_rows())


def _match_by_id(visits: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    """Matched trips and journeys: columns trip_id_performed and planned."""
    journeys = plan.select("line_id", planned="trip_id").unique()
    pairs = (
        visits.select(_TRIP, "line_id", planned="trip_id")
        .unique(_TRIP)
        .join(journeys, on=["planned", "line_id"])
        .select(_TRIP, "planned")
    )
    sequence = pl.col("planned_sequence").fill_null(0)
    rises = sequence > sequence.cum_max().shift(1, fill_value=0).over(_TRIP)
    return (
        _with_planned_sequence(visits, plan, pairs)
        .with_columns(rises=rises)
        .group_by(_TRIP, "planned")
        .agg(same=(pl.col("rises").mean() >= MIN_SHARE_IN_ORDER) & _is_near())
        .filter("same")
        .select(_TRIP, "planned")
    )


def _match_by_pattern(visits: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    first = visits.sort(_TRIP, "stop_sequence").unique(_TRIP, keep="first", maintain_order=True)
    same = ["line_id", "direction_id", "stop_id"]
    difference = (
        pl.col("scheduled_departure_time") - pl.col("scheduled_departure_time_planned")
    ).dt.total_seconds()
    candidates = (
        first.select(_TRIP, *same, "scheduled_departure_time")
        .join(plan.select("trip_id", *same, "scheduled_departure_time"), on=same, suffix="_planned")
        .with_columns(difference=difference.abs())
        .filter(pl.col("difference") <= 60 * TOLERANCE_MINUTES)
        .sort("difference", _TRIP, "trip_id")
        .unique([_TRIP, "trip_id"], keep="first", maintain_order=True)
        .select(_TRIP, planned="trip_id")
    )
    trips = visits.join(candidates.select(_TRIP).unique(), on=_TRIP)
    in_order = _in_order(trips, plan, candidates)
    performed_by_planned: dict[str, str] = {}
    matched: set[str] = set()
    for performed, planned in candidates.join(
        in_order, on=[_TRIP, "planned"], how="semi", maintain_order="left"
    ).iter_rows():
        if performed not in matched and planned not in performed_by_planned:
            performed_by_planned[planned] = performed
            matched.add(performed)
    return pl.DataFrame(
        {_TRIP: list(performed_by_planned.values()), "planned": list(performed_by_planned)},
        schema={_TRIP: pl.String, "planned": pl.String},
    )


def _in_order(visits: pl.DataFrame, plan: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs (trip_id_performed, planned) whose stops are all planned, in the same order."""
    return (
        _with_planned_sequence(visits, plan, pairs)
        .group_by(_TRIP, "planned")
        .agg(_all_in_order().alias("in_order"))
        .filter("in_order")
        .select(_TRIP, "planned")
    )


def _with_planned_sequence(visits: pl.DataFrame, plan: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Each visit of each pair, with the `planned_sequence` of its stop; null if the journey does not call there.

    The first, second, … call of a trip at a stop belongs to the journey's first, second, … call there.
    """
    numbered_calls = visits.sort(_TRIP, "stop_sequence").with_columns(
        call=pl.int_range(pl.len()).over(_TRIP, "stop_id")
    )
    planned_calls = plan.sort("trip_id", "stop_sequence").select(
        planned="trip_id",
        stop_id="stop_id",
        planned_sequence="stop_sequence",
        call=pl.int_range(pl.len()).over("trip_id", "stop_id"),
        scheduled_departure_time_planned="scheduled_departure_time",
    )
    return (
        numbered_calls.select(_TRIP, "stop_id", "stop_sequence", "call", "scheduled_departure_time")
        .join(pairs, on=_TRIP)
        .join(planned_calls, on=["planned", "stop_id", "call"], how="left")
        .sort(_TRIP, "planned", "stop_sequence")
    )


def _all_in_order() -> pl.Expr:
    return (
        pl.col("planned_sequence").is_not_null().all()
        & (pl.col("planned_sequence").diff().fill_null(1) > 0).all()
    )


def _with_sequence(visits: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    """Adds `sequence`, the new stop_sequence of a visit, and `is_planned`, whether the journey has the visit's stop there.

    The sequence must increase along the trip, because loads are added up in its order. It is the stop's planned sequence or
    the previous visit's sequence plus 1, whichever is greater. A stop added between two neighbours shifts the following stops.
    """
    before = pl.int_range(pl.len(), dtype=pl.Int32).over(_TRIP)
    numbered = visits.with_columns(
        sequence=before + (pl.col("planned_sequence").fill_null(1) - before).cum_max().over(_TRIP)
    )
    planned = plan.select("stop_id", planned="trip_id", sequence="stop_sequence", is_planned=pl.lit(True))
    return numbered.join(planned, on=["planned", "sequence", "stop_id"], how="left").with_columns(
        pl.col("is_planned").fill_null(False)
    )


def _with_planned_ids(
    visits: pl.DataFrame, plan: pl.DataFrame, matched: pl.DataFrame, sequences: pl.DataFrame
) -> pl.DataFrame:
    """The visits with ids, sequences, directions and blocks of their journeys. `sequences` has the visits not matched exactly.

    An unplanned visit gets the performed trip's id. If that is also the id of a journey, it gets a prefix.
    """
    journeys = plan.select(planned="trip_id", direction="direction_id", block="block_id").unique("planned")
    pairs = matched.join(journeys, on="planned", how="left")
    joined = visits.join(pairs, on=_TRIP, how="left", maintain_order="left").join(
        sequences.select(_TRIP, "stop_sequence", "sequence", "is_planned"),
        on=[_TRIP, "stop_sequence"],
        how="left",
        maintain_order="left",
    )
    performed = pl.col(_TRIP)
    unplanned_id = (
        pl.when(performed.is_in(journeys["planned"].implode()))
        .then(pl.format("performed:{}", performed))
        .otherwise(performed)
    )
    if "block_id" in visits.columns:
        joined = joined.with_columns(block_id=pl.coalesce("block_id", "block"))
    return joined.with_columns(
        trip_id=pl.when(pl.col("is_planned").fill_null(True))
        .then(pl.coalesce("planned", unplanned_id))
        .otherwise(unplanned_id),
        direction_id=pl.coalesce("direction", "direction_id"),
        stop_sequence=pl.coalesce("sequence", "stop_sequence"),
    ).select(visits.columns)
