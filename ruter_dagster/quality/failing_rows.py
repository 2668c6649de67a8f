"""Counts the rows of each date that fail an ERROR check, and returns the first of them. Polars only."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import date
from typing import Any

import polars as pl
from polars import selectors

from ruter_dagster.contracts.tables import STOP_LOADS, STOP_VISITS, Table
from ruter_dagster.contracts.validation import Condition, row_conditions, within_dates

DATE = "date"
"""Name of the date column in every frame of measures."""
STOP_POINTS_KNOWN = "stop_points_known"
EXAMPLES = 5
"""Number of example rows for each broken condition."""
TOLERANCE = 0.01
"""Passengers by which balanced loads may differ from their counts, because balancing rounds."""
_EARLIEST, _LATEST = pl.duration(hours=-14), pl.duration(hours=60)
"""Bounds of a departure's UTC time after midnight of its service day: local hours 0 to 47 in zones from UTC-12 to UTC+14."""


def conditions_of(
    table: Table,
    dates: Collection[date],
    plan: pl.DataFrame | None = None,
    earlier_stops: pl.Series | None = None,
) -> list[Condition]:
    """The conditions on single rows of all ERROR checks of a table."""
    key = Condition(
        f"key ({', '.join(table.key)}) is unique", pl.struct(table.key).is_duplicated(), check="key_is_unique"
    )
    undated = pl.col(table.partition).is_null()
    dated = Condition(f"{table.partition} has a value", undated, check="dates_within_partition")
    return [
        *row_conditions(table),
        within_dates(table, dates),
        dated,
        key,
        *_on_service_day(table),
        *(_stop_points_known(plan, earlier_stops) if table.name == STOP_VISITS.name else ()),
        *(_balanced() if table.name == STOP_LOADS.name else ()),
    ]


def count_failing_rows(table: Table, frame: pl.DataFrame, conditions: Sequence[Condition]) -> pl.DataFrame:
    """The number of rows of a conformed frame that fail each check, by date.

    Columns: `date`, `rows_present` (number of rows), and the number of failing rows for each check of `conditions`. It is
    null if the conditions cannot be evaluated on any row, for instance on loads without counts.
    """
    columns: dict[str, list[str]] = {}
    for index, condition in enumerate(conditions):
        columns.setdefault(condition.check, []).append(str(index))
    broken = (condition.broken.alias(str(index)) for index, condition in enumerate(conditions))
    rows = frame.select(pl.col(table.partition).alias(DATE), *broken)
    return (
        rows.group_by(DATE)
        .agg(
            pl.len().alias("rows_present"),
            *(_failing_rows(names).alias(check) for check, names in columns.items()),
        )
        .sort(DATE)
    )


def _failing_rows(conditions: Sequence[str]) -> pl.Expr:
    """The number of rows in which one of these boolean columns is true; null if all values are null."""
    evaluated = pl.any_horizontal(pl.col(name).is_not_null().any() for name in conditions)
    return pl.when(evaluated).then(
        pl.any_horizontal(pl.col(name).fill_null(False) for name in conditions).sum()
    )


def first_failing_rows(
    table: Table, frame: pl.DataFrame, conditions: Sequence[Condition], check: str
) -> list[dict[str, Any]]:
    """The first rows, by key, that fail a check: the condition, the key and the values that the condition uses.

    All rows have the same columns. A value that the row's condition does not use is null.
    """
    examples = [
        frame.filter(condition.broken.fill_null(False))
        .select(list(dict.fromkeys((*table.key, *condition.shown))))
        .sort(table.key)
        .head(EXAMPLES)
        .select(pl.lit(condition.name).alias("condition"), pl.all())
        for condition in conditions
        if condition.check == check
    ]
    examples = [rows for rows in examples if not rows.is_empty()]
    return json_rows(pl.concat(examples, how="diagonal")) if examples else []


def json_rows(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows as JSON values, with dates and times in ISO 8601."""
    times = selectors.datetime().dt.to_string("iso:strict")
    return rows.with_columns(selectors.date().cast(pl.String), times).to_dicts()


def _on_service_day(table: Table) -> Iterator[Condition]:
    if {"service_date", "scheduled_departure_time"} <= set(table.column_names):
        midnight = pl.col("service_date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        departure = pl.col("scheduled_departure_time")
        yield Condition(
            "scheduled_departure_time lies on service_date",
            departure.is_between(midnight + _EARLIEST, midnight + _LATEST).not_(),
            ("scheduled_departure_time",),
            "dates_within_partition",
        )


def _stop_points_known(plan: pl.DataFrame | None, earlier_stops: pl.Series | None) -> Iterator[Condition]:
    """Dates with a plan are compared with the plan, other dates also with earlier stops; null if both are missing."""
    planned = pl.Series("stop_id", [], pl.String) if plan is None else plan["stop_id"].unique()
    dates = pl.Series("service_date", [], pl.Date) if plan is None else plan["service_date"].unique()
    stop, has_plan = pl.col("stop_id"), pl.col("service_date").is_in(dates.implode())
    unknown = pl.when(has_plan).then(stop.is_in(planned.implode()).not_())
    if earlier_stops is not None and not earlier_stops.is_empty():
        unknown = unknown.otherwise(stop.is_in(pl.concat([planned, earlier_stops]).unique().implode()).not_())
    yield Condition("stop_id is known", unknown, ("stop_id",), STOP_POINTS_KNOWN)


def _balanced() -> Iterator[Condition]:
    """Conditions that balanced loads fulfil; null for loads without counts and for trips without a load."""
    trip = ("service_date", "trip_id_performed")
    sequence, load = pl.col("stop_sequence"), pl.col("load")
    first, last = sequence == sequence.min().over(trip), sequence == sequence.max().over(trip)
    load_before = pl.when(first).then(pl.col("initial_load").fill_null(0.0)).otherwise(
        load.shift(1).over(trip, order_by="stop_sequence")
    )  # fmt: skip
    change = pl.col("boardings") - pl.col("alightings")
    carried_on = pl.col("final_load").fill_null(0.0)
    shown = ("trip_id_performed", "boardings", "alightings", "load")
    yield Condition(
        "load after the trip's last stop is the load that the vehicle carries over, else 0",
        pl.when(change.is_not_null()).then(last & ((load - carried_on).abs() > TOLERANCE)),
        (*shown, "final_load"),
        "trips_end_empty",
    )
    yield Condition(
        "load is the load before plus boardings minus alightings",
        (load - load_before - change).abs() > TOLERANCE,
        (*shown, "initial_load"),
        "loads_follow_counts",
    )
