"""Looking up what is known of a key for millions of wide rows."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def look_up(rows: pl.DataFrame, known: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """The other columns of `known` (at most one row a key), one row for each of `rows` and in their order; null where a key is unknown.

    To be put beside the rows: a join of the rows themselves copies every one of their columns. And the keys alone are
    joined: what is known is then gathered by its place, in less than half the time.
    """
    places = known.lazy().select(key).with_row_index("place")
    found = rows.lazy().select(key).join(places, on=key, how="left", maintain_order="left").collect()
    return known.select(pl.exclude(key).gather(found["place"]))
