"""Rules for single rows of a timetable from a warehouse. A row that breaks a rule is rejected, and the other rows are used.

Rules for GTFS files belong in gtfs_tables.py, and rules that also hold for visits in visit_rules.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import polars as pl

from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, REJECTED_VISITS
from ruter_dagster.contracts.validation import conform, vehicle_type
from ruter_dagster.sources.visit_rules import (
    CAPACITY_UNKNOWN,
    FILE,
    LINE,
    required_rules,
    without_impossible_capacities,
)

SAME_ROW = "repaired, one of several equal rows of a planned departure kept"
COORDINATES_UNKNOWN = "repaired, impossible coordinates of a stop taken as unknown"
CONFLICT = "several different rows of one planned departure"
_REQUIRED = ("trip_id", "stop_sequence", "line_id", "mode", "direction_id", "stop_id")
_KEY = list(PLANNED_DEPARTURES.key)


@dataclass(frozen=True)
class PlanResult:
    """Valid and rejected rows of a timetable.

    - `kept`: contract `raw.planned_departures`.
    - `rejected`: contract `raw.rejected_visits`, with the planned trip.
    - `counts`: number of repaired rows, by kind of repair.
    """

    kept: pl.DataFrame
    rejected: pl.DataFrame
    counts: Counter[str]


def apply_plan_rules(planned: pl.DataFrame, time_zone: str) -> PlanResult:
    """Applies the rules to planned departures: the contract's columns, numbers of any integer type, `FILE` and `LINE`.

    Impossible capacities and coordinates become unknown. One of several equal rows is kept. Different rows of the same
    departure are all rejected, because none is known to be right.
    """
    rules = required_rules(time_zone, _REQUIRED)
    reasons = [pl.when(is_broken).then(pl.lit(reason)) for reason, is_broken in rules]
    marked = planned.with_columns(pl.coalesce(reasons).alias("reason"))
    valid, broken = marked.filter(pl.col("reason").is_null()), marked.filter(pl.col("reason").is_not_null())
    valid, wrong_capacities = without_impossible_capacities(valid)
    valid, wrong_coordinates = _without_impossible_coordinates(valid)
    different = valid.unique(PLANNED_DEPARTURES.column_names, keep="first", maintain_order=True)
    counts = Counter(
        {
            CAPACITY_UNKNOWN: wrong_capacities,
            COORDINATES_UNKNOWN: wrong_coordinates,
            SAME_ROW: valid.height - different.height,
        }
    )
    duplicated = different.select(pl.struct(_KEY).is_duplicated().alias("duplicated"))["duplicated"]
    conflicting = different.filter(duplicated).with_columns(pl.lit(CONFLICT).alias("reason"))
    kept = different.filter(~duplicated).select(PLANNED_DEPARTURES.column_names)
    return PlanResult(
        conform(kept, PLANNED_DEPARTURES), _to_rejected(pl.concat([broken, conflicting])), counts
    )


def _without_impossible_coordinates(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The rows with impossible coordinates set to null, and the number of these rows."""
    on_earth = (pl.col("latitude").abs() <= 90) & (pl.col("longitude").abs() <= 180)
    finite = pl.col("latitude").is_finite() & pl.col("longitude").is_finite()
    known = pl.col("latitude").is_not_null() | pl.col("longitude").is_not_null()
    wrong = rows.select((known & ~(on_earth & finite).fill_null(True)).alias("wrong"))["wrong"]
    if not wrong.any():
        return rows, 0
    cleared = [pl.when(~wrong).then(name).alias(name) for name in ("latitude", "longitude")]
    return rows.with_columns(cleared), int(wrong.sum())


def _to_rejected(rows: pl.DataFrame) -> pl.DataFrame:
    original_row = pl.struct(PLANNED_DEPARTURES.column_names).struct.json_encode()
    return conform(
        rows.select(
            "service_date",
            pl.col(FILE).alias("file"),
            pl.col(LINE).alias("line_number"),
            "reason",
            pl.col("trip_id").alias("trip_id_performed"),
            pl.lit(None, pl.String).alias("vehicle_id"),
            "line_id",
            vehicle_type(),
            pl.lit(False).alias("kept_without_counts"),
            pl.lit(False).alias("date_blocked"),
            original_row.alias("row"),
        ).select(REJECTED_VISITS.column_names),
        REJECTED_VISITS,
    )
