"""Capacities of planned departures whose vehicle is unknown, from the operator file.

Rules of counts do not use them, because a default does not describe the vehicle that ran.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ruter_dagster.config.operator import Capacities, Capacity


def with_default_capacities(plan: pl.DataFrame, capacities: Capacities) -> pl.DataFrame:
    """Fills `seats` and `total_capacity` of planned departures without seats: by line, else by mode.

    Departures with known seats, and the order of rows and columns, stay as they are.
    """
    if not (capacities.lines or capacities.modes):
        return plan
    unknown = pl.col("seats").is_null()
    columns = (("seats", "seats"), ("total_capacity", "total"))
    return plan.with_columns(
        pl.when(unknown).then(_default(plan, name, places, capacities)).otherwise(name).alias(name)
        for name, places in columns
    )


def _default(plan: pl.DataFrame, name: str, places: str, capacities: Capacities) -> pl.Expr:
    def look_up(key: str, known: Mapping[str, Capacity]) -> pl.Expr:
        values = {value: getattr(capacity, places) for value, capacity in known.items()}
        return pl.col(key).replace_strict(values, default=None, return_dtype=plan.schema[name])

    return pl.coalesce(look_up("line_id", capacities.lines), look_up("mode", capacities.modes), name)
