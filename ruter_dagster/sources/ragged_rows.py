"""Rows of a CSV file that have more or fewer cells than its header. What becomes of them belongs in tides_tables.py."""

from __future__ import annotations

import csv
import io

import polars as pl

ROW, CELLS, TEXT = "row", "cells", "text"
_SCHEMA = {ROW: pl.UInt32, CELLS: pl.UInt32, TEXT: pl.String}
NONE = pl.DataFrame(schema=_SCHEMA)
_NO_CELL_HAS_IT = "\x01"
_QUOTED = '"[^"]*"'


def ragged_rows(url: str, columns: int, separator: str) -> pl.DataFrame:
    """Rows without `columns` cells: `row` (the header is 1), `cells`, their number, and `text`, the row as it is written.

    Blank lines are none. A quoted cell may hold separators and line ends. Keeps a few bytes of each row in memory.
    """
    lines = pl.scan_csv(
        url,
        glob=False,
        has_header=False,
        infer_schema=False,
        separator=_NO_CELL_HAS_IT,
        quote_char=None,
        truncate_ragged_lines=True,
        row_index_name=ROW,
        row_index_offset=1,
        new_columns=[TEXT],
    )
    text = pl.col(TEXT)
    measured = lines.select(
        ROW,
        separators=text.str.count_matches(separator, literal=True),
        quotes=text.str.count_matches('"', literal=True).fill_null(0),
    ).collect(engine="streaming")
    if measured["quotes"].max():
        return _with_quotes(lines.collect(), measured["quotes"], columns, separator)
    odd = measured.filter(pl.col("separators") != columns - 1, pl.col(ROW) > 1)
    if odd.is_empty():
        return NONE
    rows = lines.filter(pl.col(ROW).is_in(odd[ROW].implode())).collect()
    found = odd.join(rows, on=ROW, how="left", maintain_order="left").filter(_is_not_blank())
    return found.select(ROW, (pl.col("separators") + 1).alias(CELLS), TEXT)


def _with_quotes(lines: pl.DataFrame, quotes: pl.Series, columns: int, separator: str) -> pl.DataFrame:
    """The same where cells are quoted: a row goes on until its quotes come in pairs."""
    before = (quotes.cum_sum() - quotes) % 2
    rows = lines.with_columns((before == 0).cum_sum().cast(pl.UInt32).alias(ROW))
    parts = rows[ROW].is_duplicated() if before.max() else pl.repeat(False, rows.height, eager=True)
    long = rows.filter(parts).group_by(ROW, maintain_order=True).agg(pl.col(TEXT).str.join("\n"))
    odd = pl.concat([_odd(rows.filter(~parts), columns, separator), _odd(long, columns, separator)])
    odd = odd.sort(ROW)
    # A quote within a cell that is not quoted is a letter like others: Python's reader knows.
    cells = [
        len(next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])) for text in odd[TEXT]
    ]
    return odd.select(ROW, pl.Series(CELLS, cells, pl.UInt32), TEXT).filter(pl.col(CELLS) != columns)


def _odd(rows: pl.DataFrame, columns: int, separator: str) -> pl.DataFrame:
    """Rows that seem to have more or fewer cells than `columns`; what stands in quotes is no separator."""
    text = pl.col(TEXT)
    bare = pl.when(text.str.contains('"', literal=True)).then(text.str.replace_all(_QUOTED, ""))
    cells = bare.otherwise(text).str.count_matches(separator, literal=True) + 1
    return rows.filter(cells != columns, pl.col(ROW) > 1, _is_not_blank()).select(ROW, TEXT)


def _is_not_blank() -> pl.Expr:
    return pl.col(TEXT).str.strip_chars() != ""
