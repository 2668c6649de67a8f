"""Matches performed trips to the planned journeys of their date: frames in, frames out.

Which dates have a plan, and where it comes from, belongs in gtfs_timetable.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

TOLERANCE_MINUTES = 10
"""How far a trip's time at its first counted stop may lie from the planned time, where no id says which journey it was."""
ID_TOLERANCE_MINUTES = 60
"""How far a trip's times may lie from those of the journey that has its id: feeds may number their trips anew."""
LEAST_IN_ORDER = 0.5
"""Share of a trip's visits at stops that its journey plans, in its order, without which they are not the same."""
BY_ID, BY_PATTERN, UNMATCHED = (
    "trips matched by id",
    "trips matched by line, direction, stops and time",
    "trips without a planned journey",
)
PLAN_COLUMNS = (
    "service_date", "trip_id", "stop_sequence", "stop_id", "line_id", "direction_id", "block_id", "scheduled_departure_time",
)  # fmt: skip
"""The columns of `raw.planned_departures` that trips are matched by."""
_TRIP = "trip_id_performed"


@dataclass(frozen=True)
class Aliases:
    """What counts may call a line or stop, by the plan's id: route_short_name and stop_code, where they are unique."""

    lines: dict[str, str]
    stops: dict[str, str]

    @classmethod
    def of(cls, routes: pl.DataFrame, stops: pl.DataFrame) -> Aliases:
        """`routes` has route_id and route_short_name, `stops` stop_id and stop_code."""
        return cls(_aliases(routes, "route_short_name", "route_id"), _aliases(stops, "stop_code", "stop_id"))

    def applied(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with the plan's line_id and stop_id, as far as they have these; ids that are the plan's, or nobody's, stay."""
        return rows.with_columns(
            pl.col(name).replace(names)
            for name, names in (("line_id", self.lines), ("stop_id", self.stops))
            if names and name in rows.columns
        )


def match(visits: pl.DataFrame, plan: pl.DataFrame, added: pl.Series) -> tuple[pl.DataFrame, dict[str, int]]:
    """Visits of one date with the trip ids, stop sequences and blocks of `plan`; and how many trips were matched, by how.

    - By id: `trip_id` is a planned one of the same line, at least half of the visits are at stops of the journey in its
      order, and their times lie within `ID_TOLERANCE_MINUTES` of the planned ones (the median of the shared stops).
    - Else by line, direction, counted stops in the journey's order, and the time at the first of them: the nearest
      within `TOLERANCE_MINUTES`, one trip a journey. Trips of `added` (trip_id_performed) are not matched so.
    - A matched trip takes the journey's direction, and its block where the counts name none. A visit takes the journey's id with
      the sequence that its stop has there, as far as the trip calls in the journey's order.
    - Visits at other stops or out of order, and unmatched trips, keep their counts under the performed trip's id: no planned
      departure gets the load of another stop.

    `visits` is contract `raw.stop_visits`, `plan` has `PLAN_COLUMNS` of contract `raw.planned_departures`.
    """
    exact = _matched_exactly(visits, plan)
    others, free = visits.join(exact, on=_TRIP, how="anti"), _without(plan, exact)
    by_id = _matched_by_id(others, free)
    unnamed = others.join(by_id, on=_TRIP, how="anti").filter(~pl.col(_TRIP).is_in(added.implode()))
    by_pattern = _matched_by_pattern(unnamed, _without(free, by_id))
    matched = pl.concat([exact, by_id, by_pattern])
    counts = {
        BY_ID: exact.height + by_id.height,
        BY_PATTERN: by_pattern.height,
        UNMATCHED: visits[_TRIP].n_unique() - matched.height,
    }
    numbered = _numbered(_placed(others, free, pl.concat([by_id, by_pattern])), free)
    return _renamed(visits, plan, matched, numbered), counts


def _without(plan: pl.DataFrame, matched: pl.DataFrame) -> pl.DataFrame:
    return plan.join(matched, left_on="trip_id", right_on="planned", how="anti")


def _matched_exactly(visits: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    """Trips with every visit's line and stop planned under the trip's id and the visit's own sequence: most of them."""
    key, compared = ["trip_id", "stop_sequence"], ["stop_id", "line_id", "scheduled_departure_time"]
    found = visits.select(_TRIP, *key, *compared).join(
        plan.select(*key, *compared), on=key, how="left", suffix="_planned"
    )
    same = (pl.col("stop_id") == pl.col("stop_id_planned")) & (pl.col("line_id") == pl.col("line_id_planned"))
    trips = found.group_by(_TRIP).agg(
        pl.col("trip_id").first(), (same.fill_null(False).all() & _is_near()).alias("exact")
    )
    return trips.filter("exact").select(_TRIP, planned="trip_id")


def _is_near() -> pl.Expr:
    """Of one trip's visits beside their planned times, both in UTC; without a scheduled time nothing speaks against it."""
    late = pl.col("scheduled_departure_time") - pl.col("scheduled_departure_time_planned")
    return late.dt.total_seconds().median().abs().le(60 * ID_TOLERANCE_MINUTES).fill_null(True)


def _aliases(rows: pl.DataFrame, alias: str, name: str) -> dict[str, str]:
    known = rows.filter(
        pl.col(alias).is_not_null()
        & pl.col(alias).is_duplicated().not_()
        & ~pl.col(alias).is_in(rows[name].implode())
    )
    return dict(known.select(alias, name).iter_rows())


def _matched_by_id(visits: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    """Performed trips and their planned journey: columns trip_id_performed and planned."""
    journeys = plan.select("line_id", planned="trip_id").unique()
    pairs = (
        visits.select(_TRIP, "line_id", planned="trip_id")
        .unique(_TRIP)
        .join(journeys, on=["planned", "line_id"])
        .select(_TRIP, "planned")
    )
    placed = _placed(visits, plan, pairs)
    place = pl.col("place").fill_null(0)
    rises = place > place.cum_max().shift(1, fill_value=0).over(_TRIP)
    return (
        placed.with_columns(rises=rises)
        .group_by(_TRIP, "planned")
        .agg(same=(pl.col("rises").mean() >= LEAST_IN_ORDER) & _is_near())
        .filter("same")
        .select(_TRIP, "planned")
    )


def _matched_by_pattern(visits: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    first = visits.sort(_TRIP, "stop_sequence").unique(_TRIP, keep="first", maintain_order=True)
    same = ["line_id", "direction_id", "stop_id"]
    away = (
        pl.col("scheduled_departure_time") - pl.col("scheduled_departure_time_planned")
    ).dt.total_seconds()
    candidates = (
        first.select(_TRIP, *same, "scheduled_departure_time")
        .join(plan.select("trip_id", *same, "scheduled_departure_time"), on=same, suffix="_planned")
        .with_columns(away=away.abs())
        .filter(pl.col("away") <= 60 * TOLERANCE_MINUTES)
        .sort("away", _TRIP, "trip_id")
        .unique([_TRIP, "trip_id"], keep="first", maintain_order=True)
        .select(_TRIP, planned="trip_id")
    )
    trips = visits.join(candidates.select(_TRIP).unique(), on=_TRIP)
    fitting = _in_order(trips, plan, candidates)
    taken: dict[str, str] = {}
    matched: set[str] = set()
    for performed, planned in candidates.join(
        fitting, on=[_TRIP, "planned"], how="semi", maintain_order="left"
    ).iter_rows():
        if performed not in matched and planned not in taken:
            taken[planned] = performed
            matched.add(performed)
    return pl.DataFrame(
        {_TRIP: list(taken.values()), "planned": list(taken)}, schema={_TRIP: pl.String, "planned": pl.String}
    )


def _in_order(visits: pl.DataFrame, plan: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs (trip_id_performed, planned) whose visits' stops are all planned, in the same order."""
    return (
        _placed(visits, plan, pairs)
        .group_by(_TRIP, "planned")
        .agg(_all_in_order().alias("fits"))
        .filter("fits")
        .select(_TRIP, "planned")
    )


def _placed(visits: pl.DataFrame, plan: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Each visit of each pair with `place`, the sequence of its stop in the journey: of its first, second … call there."""
    called = visits.sort(_TRIP, "stop_sequence").with_columns(
        call=pl.int_range(pl.len()).over(_TRIP, "stop_id")
    )
    places = plan.sort("trip_id", "stop_sequence").select(
        planned="trip_id",
        stop_id="stop_id",
        place="stop_sequence",
        call=pl.int_range(pl.len()).over("trip_id", "stop_id"),
        scheduled_departure_time_planned="scheduled_departure_time",
    )
    return (
        called.select(_TRIP, "stop_id", "stop_sequence", "call", "scheduled_departure_time")
        .join(pairs, on=_TRIP)
        .join(places, on=["planned", "stop_id", "call"], how="left")
        .sort(_TRIP, "planned", "stop_sequence")
    )


def _all_in_order() -> pl.Expr:
    return pl.col("place").is_not_null().all() & (pl.col("place").diff().fill_null(1) > 0).all()


def _numbered(placed: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    """Visits of trips with one journey each, with `number`, the sequence that they take, and `is_planned`, whether their stop has it.

    Numbers rise along the trip as the visits do, because loads are added up in their order: a visit has its stop's place, or
    the number after the visit before, whichever is greater. So a stop added between two neighbours moves what follows it.
    """
    before = pl.int_range(pl.len(), dtype=pl.Int32).over(_TRIP)
    numbered = placed.with_columns(
        number=before + (pl.col("place").fill_null(1) - before).cum_max().over(_TRIP)
    )
    places = plan.select("stop_id", planned="trip_id", number="stop_sequence", is_planned=pl.lit(True))
    return numbered.join(places, on=["planned", "number", "stop_id"], how="left").with_columns(
        pl.col("is_planned").fill_null(False)
    )


def _renamed(
    visits: pl.DataFrame, plan: pl.DataFrame, matched: pl.DataFrame, numbered: pl.DataFrame
) -> pl.DataFrame:
    """Visits with what their match says; an id that is not planned is none of the plan's. `numbered`: those not matched exactly."""
    journeys = plan.select(planned="trip_id", direction="direction_id", block="block_id").unique("planned")
    pairs = matched.join(journeys, on="planned", how="left")
    found = visits.join(pairs, on=_TRIP, how="left", maintain_order="left").join(
        numbered.select(_TRIP, "stop_sequence", "number", "is_planned"),
        on=[_TRIP, "stop_sequence"],
        how="left",
        maintain_order="left",
    )
    own = pl.col(_TRIP)
    other = (
        pl.when(own.is_in(journeys["planned"].implode())).then(pl.format("performed:{}", own)).otherwise(own)
    )
    if "block_id" in visits.columns:
        found = found.with_columns(block_id=pl.coalesce("block_id", "block"))
    return found.with_columns(
        trip_id=pl.when(pl.col("is_planned").fill_null(True))
        .then(pl.coalesce("planned", other))
        .otherwise(other),
        direction_id=pl.coalesce("direction", "direction_id"),
        stop_sequence=pl.coalesce("number", "stop_sequence"),
    ).select(visits.columns)
