"""Lookup of columns by key for millions of wide rows."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def look_up(rows: pl.DataFrame, known: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """The other columns of `known`, one row per row of `rows` in their order; null if the key is unknown.

    `known` has at most one row per key. The result is put beside the rows: joining the rows would copy all their columns.
    Only the keys are joined and the values gathered by index, which takes less than half the time.
    """
    indexes = known.lazy().select(key).with_row_index("index_in_known")
    joined = rows.lazy().select(key).join(indexes, on=key, how="left", maintain_order="left").collect()
    return known.select(pl.exclude(key).gather(joined["index_in_known"]))
