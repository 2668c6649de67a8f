"""Every table: all `Table` constants of `tables`, `scores` and `features`, in the order of their definition. Plain Python only."""

from __future__ import annotations

from ruter_dagster.contracts import features, scores, tables
from ruter_dagster.contracts.tables import Table

TABLES = tuple(
    value
    for module in (tables, scores, features)
    for value in vars(module).values()
    if isinstance(value, Table)
)
