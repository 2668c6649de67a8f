"""Rules that judge single rows of a timetable: what breaks one is set aside with its reason, and the rest of the date is used.

For sources whose plan is rows of somebody else's query. What GTFS says of its own files belongs in gtfs_tables.py, and what
is true of visits too in visit_rules.py.
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
    place_rules,
    without_impossible_capacities,
)

SAME_ROW = "repaired, one of several equal rows of a planned departure kept"
PLACE_UNKNOWN = "repaired, impossible coordinates of a stop taken as unknown"
CONFLICT = "several different rows of one planned departure"
_REQUIRED = ("trip_id", "stop_sequence", "line_id", "mode", "direction_id", "stop_id")
_KEY = list(PLANNED_DEPARTURES.key)


@dataclass(frozen=True)
class JudgedPlan:
    """A timetable told apart. `kept`: contract `raw.planned_departures`; `counts`: rows that were repaired, by what was done.

    `rejected` has the columns of contract `raw.rejected_visits`; the trip is the planned one.
    """

    kept: pl.DataFrame
    rejected: pl.DataFrame
    counts: Counter[str]


def judge_plan(planned: pl.DataFrame, time_zone: str) -> JudgedPlan:
    """Judges planned departures: the contract's columns, numbers of any integer type, with `FILE` and `LINE`.

    Capacities and coordinates that cannot be become unknown. Of equal rows one stays; of different rows of one departure nobody
    knows which is right. Pure: neither files nor the clock.
    """
    rules = place_rules(time_zone, _REQUIRED)
    reasons = [pl.when(broken).then(pl.lit(reason)) for reason, broken in rules]
    marked = planned.with_columns(pl.coalesce(reasons).alias("reason"))
    good, broken = marked.filter(pl.col("reason").is_null()), marked.filter(pl.col("reason").is_not_null())
    good, impossible = without_impossible_capacities(good)
    good, nowhere = _without_impossible_places(good)
    different = good.unique(PLANNED_DEPARTURES.column_names, keep="first", maintain_order=True)
    counts = Counter(
        {
            CAPACITY_UNKNOWN: impossible,
            PLACE_UNKNOWN: nowhere,
            SAME_ROW: good.height - different.height,
        }
    )
    twice = different.select(pl.struct(_KEY).is_duplicated().alias("twice"))["twice"]
    conflicting = different.filter(twice).with_columns(pl.lit(CONFLICT).alias("reason"))
    kept = different.filter(~twice).select(PLANNED_DEPARTURES.column_names)
    return JudgedPlan(
        conform(kept, PLANNED_DEPARTURES), _to_rejected(pl.concat([broken, conflicting])), counts
    )


def _without_impossible_places(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Rows without coordinates that are on no globe, and how many had such."""
    on_earth = (pl.col("latitude").abs() <= 90) & (pl.col("longitude").abs() <= 180)
    finite = pl.col("latitude").is_finite() & pl.col("longitude").is_finite()
    known = pl.col("latitude").is_not_null() | pl.col("longitude").is_not_null()
    wrong = rows.select((known & ~(on_earth & finite).fill_null(True)).alias("wrong"))["wrong"]
    if not wrong.any():
        return rows, 0
    cleared = [pl.when(~wrong).then(name).alias(name) for name in ("latitude", "longitude")]
    return rows.with_columns(cleared), int(wrong.sum())


def _to_rejected(rows: pl.DataFrame) -> pl.DataFrame:
    as_read = pl.struct(PLANNED_DEPARTURES.column_names).struct.json_encode()
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
            as_read.alias("row"),
        ).select(REJECTED_VISITS.column_names),
        REJECTED_VISITS,
    )
