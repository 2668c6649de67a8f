"""Faults that break the contract of stop visits: for tests, and to show a run that is blocked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Literal, get_args

import polars as pl

from ruter_dagster.contracts.errors import PermanentFailure

Fault = Literal[
    "duplicates",
    "negative_counts",
    "overload",
    "unknown_stop",
    "missing_column",
    "wrong_type",
    "wrong_dates",
    "missing_load",
    "empty",
]
FAULTS: tuple[Fault, ...] = get_args(Fault)


def inject(visits: pl.DataFrame, fault: Fault, rows: int = 5) -> pl.DataFrame:
    """Stop visits with a fault in the first `rows` of them (`missing_column`, `wrong_type`, `empty`: in all).

    `unknown_stop` keeps the table's contract: only the timetable can tell that no such stop point is planned.
    """
    if fault not in _INJECTIONS:
        raise PermanentFailure(f"fault {fault!r} is unknown; allowed: {', '.join(FAULTS)}")
    return _INJECTIONS[fault](visits, pl.int_range(pl.len()) < rows)


def _set(column: str, value: pl.Expr) -> Callable[[pl.DataFrame, pl.Expr], pl.DataFrame]:
    def change(visits: pl.DataFrame, chosen: pl.Expr) -> pl.DataFrame:
        changed = pl.when(chosen).then(value.cast(visits.schema[column])).otherwise(pl.col(column))
        return visits.with_columns(changed.alias(column))

    return change


_INJECTIONS: dict[Fault, Callable[[pl.DataFrame, pl.Expr], pl.DataFrame]] = {
    "duplicates": lambda visits, chosen: pl.concat([visits, visits.filter(chosen)]),
    "negative_counts": _set("boardings", pl.lit(-3)),
    "overload": _set("departure_load", 2 * pl.col("total_capacity") + 1),
    "unknown_stop": _set("stop_id", pl.lit("NSR:Quay:unknown")),
    "missing_column": lambda visits, _: visits.drop("stop_id"),
    "wrong_type": lambda visits, _: visits.with_columns(pl.col("departure_load").cast(pl.String)),
    "wrong_dates": _set("service_date", pl.col("service_date") + timedelta(days=1)),
    "missing_load": lambda visits, chosen: visits.with_columns(
        pl.when(~chosen).then(pl.col(name)).alias(name)
        for name in ("departure_load", "boardings", "alightings")
    ),
    "empty": lambda visits, _: visits.clear(),
}
