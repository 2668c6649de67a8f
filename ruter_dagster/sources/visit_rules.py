"""The rules that every single stop visit must keep, whatever source it is from: which rows are used, mended or set aside.

Whether a date with so many rows set aside may still be used belongs in quality/rejects.py.
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
"""Columns of where a row stands: the file or query, and the line in it."""
FAULT, COUNTS_FAULT, LOAD_FAULT = "_fault", "_counts_fault", "_load_fault"
"""Columns of why a source cannot use a row, its boardings and alightings, or its load; null where it can."""
UPDATED = "_updated"
"""Column of when the visit took place, as far as it is known: of two rows of one visit the later one stands."""
SEEN = "_seen"
"""Column that says whether the trip may have been counted at the stop: false where it was skipped or canceled."""

KEPT = "kept_without_counts"
LARGEST_PART_OF_TRIP = 0.5
"""A trip that lost more than this part of its visits is set aside whole: too little of it is left to add up its loads."""
NOT_COUNTED = "left out, not counted"
WITHOUT_COUNTS = "kept, not counted in a trip that is"
LOAD_NOT_USED = "repaired, impossible departure_load not used: boardings and alightings are there"
SAME_ROW = "repaired, one of several equal rows of a visit kept"
NEWEST_ROW = "repaired, newest of several rows of a visit kept"
CAPACITY_UNKNOWN = "repaired, impossible capacity taken as unknown"
CONFLICT = "several different rows of one visit, and no time tells which is newest"
REST_OF_TRIP = "most visits of its trip were set aside"
_REQUIRED = ("trip_id_performed", "trip_id", "stop_sequence", "line_id", "mode", "direction_id", "stop_id")
_KEY = list(STOP_VISITS.key)
_TRIP = ["service_date", "trip_id_performed"]
_INT32 = 2**31 - 1
_SAME_VISIT = ("trip_id_performed", "line_id", "mode", "direction_id", "stop_id", "scheduled_departure_time")
_ON_SERVICE_DAY = "scheduled_departure_time is outside the service date, which lasts from its midnight to the second one after"


@dataclass(frozen=True)
class JudgedVisits:
    """Stop visits told apart.

    - `kept`: contract `raw.stop_visits`.
    - `rejected`: the rows set aside, with `FILE`, `LINE`, `reason`, `KEPT` and what is known of trip, vehicle and line; all but
      `row` and `date_blocked` of contract `raw.rejected_visits`.
    - `counts`: rows that were repaired or left out, by what was done.
    """

    kept: pl.DataFrame
    rejected: pl.DataFrame
    counts: Counter[str]


def judge_visits(placed: pl.DataFrame, lost: pl.DataFrame) -> JudgedVisits:
    """Judges the counts and loads of visits, the two frames of `split_by_place`.

    One with impossible counts is set aside, but stays in its trip as a visit without counts where others of the trip are
    counted. Pure: neither files nor the clock.
    """
    placed = placed.filter(SEEN)
    mended, counts = _mend(placed)
    single, twice = _one_of_each_visit(mended, counts)
    whole, parts = _without_remnants(single, lost)
    kept, uncounted = _without_wrong_counts(whole, counts)
    rejected = [lost, *twice, parts, *uncounted]
    return JudgedVisits(
        conform(kept.select(STOP_VISITS.column_names), STOP_VISITS),
        pl.concat([_noted(rows) for rows in rejected]),
        counts,
    )


def split_by_place(visits: pl.DataFrame, time_zone: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that have their place in a trip, on a line, at a stop and a time; and those that lack it, with their `reason`.

    `visits` has the columns of contract `raw.stop_visits`, counts of any integer type, and those named above.
    """
    rules = place_rules(time_zone)
    bad = visits.select(
        (
            pl.col(FAULT).is_not_null() | pl.any_horizontal(broken.fill_null(True) for _, broken in rules)
        ).alias("bad")
    )["bad"]
    if not bad.any():
        return visits, _with_reason(visits.clear(), [])
    return visits.filter(~bad), _with_reason(visits.filter(bad), rules)


def first_of_each(visits: pl.DataFrame) -> pl.DataFrame:
    """One row for each visit, the first."""
    return visits.unique(_KEY, keep="first", maintain_order=True) if _repeated(visits).any() else visits


def without_impossible_capacities(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Rows whose `seats` and `total_capacity` are null where no vehicle can have them; and how many rows have such a one."""
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
        pl.when(~broken).then(name).alias(name) for name, broken in wrong.items()
    ), impossible


def to_rejected(rejected: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Contract `raw.rejected_visits` of `JudgedVisits.rejected`, with each row as it was read (`FILE`, `LINE`, `row`).

    Where a source has given one row several reasons, the first stands.
    """
    return conform(
        rejected.join(rows, on=[FILE, LINE], how="left", maintain_order="left")
        .rename({FILE: "file", LINE: "line_number"})
        .with_columns(pl.col("row").fill_null("{}"), date_blocked=pl.lit(False))
        .unique(REJECTED_VISITS.key, keep="first", maintain_order=True)
        .select(REJECTED_VISITS.column_names),
        REJECTED_VISITS,
    )


def place_rules(time_zone: str, required: Sequence[str] = _REQUIRED) -> list[tuple[str, pl.Expr]]:
    """What a row needs to be a visit: the reason, and an expression true where it is broken. `required` columns have a value."""
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
    reasons = [pl.when(broken).then(pl.lit(reason)) for reason, broken in rules]
    return rows.with_columns(pl.coalesce(FAULT, *reasons).alias("reason"), pl.lit(False).alias(KEPT))


def _mend(visits: pl.DataFrame) -> tuple[pl.DataFrame, Counter[str]]:
    """Capacities and loads that nobody can believe become unknown, as far as nothing is lost; `_bad` is why counts are wrong."""
    visits, impossible = without_impossible_capacities(visits)
    counts = Counter({CAPACITY_UNKNOWN: impossible})
    capacity = pl.col("total_capacity")
    usual = pl.col("mode").replace_strict(MAX_ON_BOARD, default=None, return_dtype=pl.Int64)
    most = pl.when(capacity > 0).then(2 * capacity.cast(pl.Int64)).otherwise(usual)
    visits = visits.with_columns(
        _most=most, _known=(capacity > 0).fill_null(False), _counted=_both_counted()
    ).with_columns(_bad=_count_fault(), _bad_load=_load_fault())
    not_used = pl.col("_bad_load").is_not_null() & pl.col("_counted") & pl.col("_bad").is_null()
    counts[LOAD_NOT_USED] = visits.select(not_used.sum()).item()
    visits = visits.with_columns(
        departure_load=pl.when(pl.col("_bad_load").is_null()).then("departure_load"),
        _bad=pl.when(not_used).then(None).otherwise(pl.coalesce("_bad", "_bad_load")),
    )
    return visits.drop("_most", "_known", "_bad_load"), counts


def _both_counted() -> pl.Expr:
    return pl.col("boardings").is_not_null() & pl.col("alightings").is_not_null()


def _count_fault() -> pl.Expr:
    """Why boardings or alightings cannot be: null where they can."""
    told = [pl.col(COUNTS_FAULT)]
    for name in ("boardings", "alightings"):
        count = pl.col(name)
        told += [pl.when(count < 0).then(pl.lit(f"{name} is below 0")), _too_many(name)]
    return pl.coalesce(told)


def _load_fault() -> pl.Expr:
    below = pl.when(pl.col("departure_load") < 0).then(pl.lit("departure_load is below 0"))
    return pl.coalesce(LOAD_FAULT, below, _too_many("departure_load"))


def _too_many(name: str) -> pl.Expr:
    over = pl.when(pl.col(name) > pl.col("_most"))
    return over.then(
        pl.when("_known")
        .then(pl.lit(f"{name} is over twice the vehicle's capacity"))
        .otherwise(pl.lit(f"{name} is over what a vehicle of the mode can carry"))
    )


def _repeated(visits: pl.DataFrame) -> pl.Series:
    return visits.select(pl.struct(_KEY).is_duplicated().alias("repeated"))["repeated"]


def _one_of_each_visit(visits: pl.DataFrame, counts: Counter[str]) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """One row for each visit: of equal ones any, of others the newest, else one without its counts; and the rows set aside."""
    repeated = _repeated(visits)
    if not repeated.any():
        return visits, []
    rows = visits.filter(repeated)
    different = rows.unique([*STOP_VISITS.column_names, UPDATED, "_bad"], keep="first", maintain_order=True)
    counts[SAME_ROW] += rows.height - different.height
    newest = pl.col(UPDATED) == pl.col(UPDATED).max().over(_KEY)
    told = (newest.fill_null(False).sum().over(_KEY) == 1) & pl.col(UPDATED).is_not_null().all().over(_KEY)
    alone = pl.len().over(_KEY) == 1
    same_visit = pl.struct(*_SAME_VISIT).n_unique().over(_KEY) == 1
    marked = different.with_columns(
        _stands=alone | (told & newest),
        _conflict=~alone & ~told,
        # Where the rows differ in their counts alone, the trip keeps its stop: one of them goes on, without counts.
        _goes_on=same_visit & (pl.int_range(pl.len()).over(_KEY) == 0),
    )
    counts[NEWEST_ROW] += marked.filter(~pl.col("_stands") & ~pl.col("_conflict")).height
    conflicting = marked.filter("_conflict").with_columns(pl.lit(CONFLICT).alias("_bad"))
    parts = [visits.filter(~repeated), marked.filter("_stands"), conflicting.filter("_goes_on")]
    aside = conflicting.filter(~pl.col("_goes_on")).with_columns(
        pl.lit(CONFLICT).alias("reason"), pl.lit(False).alias(KEPT)
    )
    return pl.concat([part.select(visits.columns) for part in parts]), [aside]


def _without_remnants(visits: pl.DataFrame, lost: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Visits without those of trips that lost the larger part of theirs; and these, with their reason."""
    none = _with_reason(visits.clear(), [])
    gone = lost.drop_nulls(_TRIP).group_by(_TRIP).agg(gone=pl.len())
    if gone.is_empty():
        return visits, none
    left = visits.join(gone, on=_TRIP, how="semi").group_by(_TRIP).agg(left=pl.len())
    part = pl.col("gone") / (pl.col("gone") + pl.col("left"))
    remnants = gone.join(left, on=_TRIP).filter(part > LARGEST_PART_OF_TRIP)
    if remnants.is_empty():
        return visits, none
    rest = visits.join(remnants, on=_TRIP, how="semi")
    return visits.join(remnants, on=_TRIP, how="anti", maintain_order="left"), rest.with_columns(
        pl.lit(REST_OF_TRIP).alias("reason"), pl.lit(False).alias(KEPT)
    )


def _without_wrong_counts(
    visits: pl.DataFrame, counts: Counter[str]
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Visits whose counts can be used, or that a counted trip keeps without; and the rows set aside for their counts.

    A visit without any count says something only within a trip that is counted elsewhere.
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
    stays = has_load | pl.col("_in_counted_trip")
    counts[NOT_COUNTED] = visits.select((~stays & usable).sum()).item()
    counts[WITHOUT_COUNTS] = visits.select((~has_load & stays & usable).sum()).item()
    return visits.filter(stays), [wrong]


def _noted(rows: pl.DataFrame) -> pl.DataFrame:
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
