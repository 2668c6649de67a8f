"""Rules for single stop visits of every source. They decide which rows are used, repaired or rejected.

The decision whether a date has too many rejected rows belongs in quality/rejects.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ruter_dagster.contracts.tables import (
    MAX_ON_BOARD,
    MODES,
    REJECTED_VISITS,
    SEATS,
    STOP_VISITS,
    TOTAL_CAPACITY,
)
from ruter_dagster.contracts.validation import conform, vehicle_type
from ruter_dagster.forecasting.slots import slot_hour

FILE, LINE = "_file", "_line"
"""Columns of a row's location: the file or query, and the line in it."""
FAULT, COUNTS_FAULT, LOAD_FAULT = "_fault", "_counts_fault", "_load_fault"
"""Columns of the reason why a source cannot use a row, its boardings and alightings, or its load; null if it can."""
UPDATED = "_updated"
"""Column of the time of the visit, null if unknown. The latest of several rows of a visit is used."""
SERVED = "_seen"
"""Column that is false if the stop was skipped or the trip was canceled, so that nothing can have been counted."""

KEPT = "kept_without_counts"
MAX_REJECTED_SHARE = 0.5
"""Largest share of rejected visits of a trip. With more, the whole trip is rejected, because its loads cannot be added up."""
NOT_COUNTED = "left out, not counted"
WITHOUT_COUNTS = "kept without counts, trip counted at other stops"
LOAD_NOT_USED = "repaired, impossible departure_load replaced by boardings and alightings"
SAME_ROW = "repaired, one of several equal rows of a visit kept"
NEWEST_ROW = "repaired, newest of several rows of a visit kept"
CAPACITY_UNKNOWN = "repaired, impossible capacity taken as unknown"
CONFLICT = "several different rows of one visit, and no time shows which is newest"
INCOMPLETE_TRIP = "most visits of its trip were rejected"
_REQUIRED = ("trip_id_performed", "trip_id", "stop_sequence", "line_id", "mode", "direction_id", "stop_id")
_KEY = list(STOP_VISITS.key)
_TRIP = ["service_date", "trip_id_performed"]
_INT32 = 2**31 - 1
_SAME_VISIT = ("trip_id_performed", "line_id", "mode", "direction_id", "stop_id", "scheduled_departure_time")
_ON_SERVICE_DAY = (
    "scheduled_departure_time is outside the service date, which ends at the second midnight after its start"
)


@dataclass(frozen=True)
class VisitResult:
    """Valid and rejected stop visits.

    - `kept`: contract `raw.stop_visits`.
    - `rejected`: rejected rows with `FILE`, `LINE`, `reason`, `KEPT`, trip, vehicle and line: contract `raw.rejected_visits`
      without `row` and `date_blocked`.
    - `counts`: number of rows that were repaired or left out, by kind.
    """

    kept: pl.DataFrame
    rejected: pl.DataFrame
    counts: Counter[str]


def apply_visit_rules(placeable: pl.DataFrame, unplaceable: pl.DataFrame) -> VisitResult:
    """Applies the rules for counts and loads to the two frames of `split_unplaceable`.

    A visit with impossible counts is rejected. If other visits of its trip are counted, it also stays in the trip without counts.
    """
    repaired, counts = _repair(placeable.filter(SERVED))
    single, conflicting = _one_row_per_visit(repaired, counts)
    complete, incomplete = _without_incomplete_trips(single, unplaceable)
    kept, uncounted = _without_wrong_counts(complete, counts)
    rejected = [unplaceable, *conflicting, incomplete, *uncounted]
    return VisitResult(
        conform(kept.select(STOP_VISITS.column_names), STOP_VISITS),
        pl.concat([_rejected_columns(rows) for rows in rejected]),
        counts,
    )


def split_unplaceable(visits: pl.DataFrame, time_zone: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Splits visits into rows with trip, line, stop and time, and rows without, which get a `reason`.

    `visits` has the columns of contract `raw.stop_visits`, with counts of any integer type, and the columns defined above.
    """
    rules = required_rules(time_zone)
    broken = visits.select(
        (
            pl.col(FAULT).is_not_null()
            | pl.any_horizontal(is_broken.fill_null(True) for _, is_broken in rules)
        ).alias("broken")
    )["broken"]
    if not broken.any():
        return visits, _with_reason(visits.clear(), [])
    return visits.filter(~broken), _with_reason(visits.filter(broken), rules)


def first_row_per_visit(visits: pl.DataFrame) -> pl.DataFrame:
    """The first row of each visit."""
    return visits.unique(_KEY, keep="first", maintain_order=True) if _repeated(visits).any() else visits


def without_impossible_capacities(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The rows with impossible `seats` and `total_capacity` set to null, and the number of these rows."""
    wrong = {
        column.name: pl.col(column.name)
        .is_between(column.minimum or 0, column.maximum or 0)
        .not_()
        .fill_null(False)
        for column in (SEATS, TOTAL_CAPACITY)
    }
    impossible = rows.select(pl.any_horizontal(wrong.values()).sum()).item()
    if not impossible:
        return rows, 0
    return rows.with_columns(
        pl.when(~is_wrong).then(name).alias(name) for name, is_wrong in wrong.items()
    ), impossible


def to_rejected(rejected: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Contract `raw.rejected_visits` from `VisitResult.rejected` and the original rows (`FILE`, `LINE`, `row`).

    If a row was rejected for several reasons, the first one is kept.
    """
    return conform(
        rejected.join(rows, on=[FILE, LINE], how="left", maintain_order="left")
        .rename({FILE: "file", LINE: "line_number"})
        .with_columns(pl.col("row").fill_null("{}"), date_blocked=pl.lit(False))
        .unique(REJECTED_VISITS.key, keep="first", maintain_order=True)
        .select(REJECTED_VISITS.column_names),
        REJECTED_VISITS,
    )


def required_rules(time_zone: str, required: Sequence[str] = _REQUIRED) -> list[tuple[str, pl.Expr]]:
    """Rules for trip, line, stop and time: a reason, and an expression that is true if the rule is broken.

    `required` columns must have a value.
    """
    sequence, hour = pl.col("stop_sequence"), slot_hour("scheduled_departure_time", "service_date", time_zone)
    return [
        *((f"{name} has no value", pl.col(name).is_null()) for name in required),
        ("stop_sequence is below 1", sequence < 1),
        ("stop_sequence is impossible", sequence > _INT32),
        (f"mode is none of {', '.join(MODES)}", pl.col("mode").is_in(MODES).not_()),
        ("direction_id is neither 0 nor 1", pl.col("direction_id").is_between(0, 1).not_()),
        ("no scheduled or actual time", pl.col("scheduled_departure_time").is_null()),
        (_ON_SERVICE_DAY, hour.is_between(0, 47).not_()),
    ]


def _with_reason(rows: pl.DataFrame, rules: Sequence[tuple[str, pl.Expr]]) -> pl.DataFrame:
    reasons = [pl.when(is_broken).then(pl.lit(reason)) for reason, is_broken in rules]
    return rows.with_columns(pl.coalesce(FAULT, *reasons).alias("reason"), pl.lit(False).alias(KEPT))


def _repair(visits: pl.DataFrame) -> tuple[pl.DataFrame, Counter[str]]:
    """Sets impossible capacities and loads to null, if the visit keeps its counts. Adds `_bad`, why the counts are wrong."""
    visits, wrong_capacities = without_impossible_capacities(visits)
    counts = Counter({CAPACITY_UNKNOWN: wrong_capacities})
    capacity = pl.col("total_capacity")
    usual_max = pl.col("mode").replace_strict(MAX_ON_BOARD, default=None, return_dtype=pl.Int64)
    max_on_board = pl.when(capacity > 0).then(2 * capacity.cast(pl.Int64)).otherwise(usual_max)
    visits = visits.with_columns(
        _max_on_board=max_on_board, _capacity_known=(capacity > 0).fill_null(False), _counted=_both_counted()
    ).with_columns(_bad=_count_fault(), _bad_load=_load_fault())
    not_used = pl.col("_bad_load").is_not_null() & pl.col("_counted") & pl.col("_bad").is_null()
    counts[LOAD_NOT_USED] = visits.select(not_used.sum()).item()
    visits = visits.with_columns(
        departure_load=pl.when(pl.col("_bad_load").is_null()).then("departure_load"),
        _bad=pl.when(not_used).then(None).otherwise(pl.coalesce("_bad", "_bad_load")),
    )
    return visits.drop("_max_on_board", "_capacity_known", "_bad_load"), counts


def _both_counted() -> pl.Expr:
    return pl.col("boardings").is_not_null() & pl.col("alightings").is_not_null()


def _count_fault() -> pl.Expr:
    """Why boardings or alightings are impossible; null if they are possible."""
    reasons = [pl.col(COUNTS_FAULT)]
    for name in ("boardings", "alightings"):
        count = pl.col(name)
        reasons += [pl.when(count < 0).then(pl.lit(f"{name} is below 0")), _too_many(name)]
    return pl.coalesce(reasons)


def _load_fault() -> pl.Expr:
    """Why the load is impossible; null if it is possible."""
    below = pl.when(pl.col("departure_load") < 0).then(pl.lit("departure_load is below 0"))
    return pl.coalesce(LOAD_FAULT, below, _too_many("departure_load"))


def _too_many(name: str) -> pl.Expr:
    over = pl.when(pl.col(name) > pl.col("_max_on_board"))
    return over.then(
        pl.when("_capacity_known")
        .then(pl.lit(f"{name} is over twice the vehicle's capacity"))
        .otherwise(pl.lit(f"{name} is over what a vehicle of the mode can carry"))
    )


def _repeated(visits: pl.DataFrame) -> pl.Series:
    """Whether other rows have the same key."""
    return visits.select(pl.struct(_KEY).is_duplicated().alias("repeated"))["repeated"]


def _one_row_per_visit(visits: pl.DataFrame, counts: Counter[str]) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """One row for each visit, and the rejected rows. The newest row is kept, else one without counts if only the counts differ."""
    repeated = _repeated(visits)
    if not repeated.any():
        return visits, []
    rows = visits.filter(repeated)
    different = rows.unique([*STOP_VISITS.column_names, UPDATED, "_bad"], keep="first", maintain_order=True)
    counts[SAME_ROW] += rows.height - different.height
    newest = pl.col(UPDATED) == pl.col(UPDATED).max().over(_KEY)
    has_newest = (newest.fill_null(False).sum().over(_KEY) == 1) & pl.col(UPDATED).is_not_null().all().over(
        _KEY
    )
    is_single = pl.len().over(_KEY) == 1
    same_visit = pl.struct(*_SAME_VISIT).n_unique().over(_KEY) == 1
    marked = different.with_columns(
        _kept=is_single | (has_newest & newest),
        _conflict=~is_single & ~has_newest,
        # If the rows differ only in their counts, one of them is kept without counts, so that the trip keeps its stop.
        _kept_without_counts=same_visit & (pl.int_range(pl.len()).over(_KEY) == 0),
    )
    counts[NEWEST_ROW] += marked.filter(~pl.col("_kept") & ~pl.col("_conflict")).height
    conflicting = marked.filter("_conflict").with_columns(pl.lit(CONFLICT).alias("_bad"))
    parts = [visits.filter(~repeated), marked.filter("_kept"), conflicting.filter("_kept_without_counts")]
    rejected = conflicting.filter(~pl.col("_kept_without_counts")).with_columns(
        pl.lit(CONFLICT).alias("reason"), pl.lit(False).alias(KEPT)
    )
    return pl.concat([part.select(visits.columns) for part in parts]), [rejected]


def _without_incomplete_trips(
    visits: pl.DataFrame, unplaceable: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The visits without trips of which most visits were rejected, and the visits of such trips, with their reason."""
    none = _with_reason(visits.clear(), [])
    rejected = unplaceable.drop_nulls(_TRIP).group_by(_TRIP).agg(rejected=pl.len())
    if rejected.is_empty():
        return visits, none
    kept = visits.join(rejected, on=_TRIP, how="semi").group_by(_TRIP).agg(kept=pl.len())
    share = pl.col("rejected") / (pl.col("rejected") + pl.col("kept"))
    incomplete = rejected.join(kept, on=_TRIP).filter(share > MAX_REJECTED_SHARE)
    if incomplete.is_empty():
        return visits, none
    rows = visits.join(incomplete, on=_TRIP, how="semi")
    return visits.join(incomplete, on=_TRIP, how="anti", maintain_order="left"), rows.with_columns(
        pl.lit(INCOMPLETE_TRIP).alias("reason"), pl.lit(False).alias(KEPT)
    )


def _without_wrong_counts(
    visits: pl.DataFrame, counts: Counter[str]
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """The visits with usable counts, those that a counted trip keeps without counts, and the rows with wrong counts.

    A visit without counts is only useful in a trip that is counted at other stops.
    """
    usable = pl.col("_bad").is_null()
    visits = visits.with_columns(_in_counted_trip=(pl.col("_counted") & usable).any().over(_TRIP))
    wrong = visits.filter(~usable).with_columns(
        pl.col("_bad").alias("reason"), pl.col("_in_counted_trip").alias(KEPT)
    )
    if wrong.height:
        visits = visits.with_columns(
            pl.when(usable).then(pl.col(name)).alias(name)
            for name in ("boardings", "alightings", "departure_load")
        )
    has_load = pl.col("departure_load").is_not_null() | (pl.col("_counted") & usable)
    is_kept = has_load | pl.col("_in_counted_trip")
    counts[NOT_COUNTED] = visits.select((~is_kept & usable).sum()).item()
    counts[WITHOUT_COUNTS] = visits.select((~has_load & is_kept & usable).sum()).item()
    return visits.filter(is_kept), [wrong]


def _rejected_columns(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        "service_date",
        FILE,
        LINE,
        "reason",
        "trip_id_performed",
        "vehicle_id",
        "line_id",
        vehicle_type(),
        KEPT,
    )
