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
_LINE, _UNPAIRED, _FIRST = "line", "unpaired", "first"


def ragged_rows(url: str, columns: int, separator: str) -> pl.DataFrame:
    """Rows without `columns` cells: `row` (the header is 1), `cells`, their number, and `text`, the row as it is written.

    Blank lines are none. A quoted cell may hold separators and line ends. Of the file, only such lines are kept in memory
    that seem to have another number of cells, or belong to a cell of several lines.
    """
    lines = _lines(url)
    unusual = _unusual(lines, columns, separator)
    if unusual.is_empty():
        return NONE
    unpaired = unusual.filter(_UNPAIRED)[_LINE]
    spans = _spans(unpaired)
    parts = _lines_of(lines, spans)
    single = unusual.filter(~pl.col(_UNPAIRED)).join(parts, on=_LINE, how="anti").select(_LINE, TEXT)
    long = parts.group_by(_FIRST).agg(pl.col(TEXT).sort_by(_LINE).str.join("\n")).rename({_FIRST: _LINE})
    rows = pl.concat([single, long]).sort(_LINE)
    cells = [_number_of_cells(text, separator) for text in rows[TEXT]]
    found = rows.select(_row_of_line(spans), pl.Series(CELLS, cells, pl.UInt32), TEXT)
    return found.filter(pl.col(CELLS) != columns)


def _lines(url: str) -> pl.LazyFrame:
    """The lines of the file: `line`, its number, and `text`, null where it is empty."""
    return pl.scan_csv(
        url,
        glob=False,
        has_header=False,
        infer_schema=False,
        separator=_NO_CELL_HAS_IT,
        quote_char=None,
        truncate_ragged_lines=True,
        row_index_name=_LINE,
        row_index_offset=1,
        new_columns=[TEXT],
    )


def _unusual(lines: pl.LazyFrame, columns: int, separator: str) -> pl.DataFrame:
    """Lines below the header that have, what stands in quotes apart, other than `columns` cells, or an odd number of quotes."""
    text = pl.col(TEXT)
    quotes = text.str.count_matches('"', literal=True)
    bare = pl.when(quotes > 0).then(text.str.replace_all(_QUOTED, "")).otherwise(text)
    cells = bare.str.count_matches(separator, literal=True) + 1
    return (
        lines.with_columns((quotes % 2 == 1).alias(_UNPAIRED))
        .filter(pl.col(_UNPAIRED) | (cells != columns), pl.col(_LINE) > 1, text.str.strip_chars() != "")
        .collect(engine="streaming")
    )


def _spans(unpaired: pl.Series) -> pl.DataFrame:
    """First and last line of the rows of several lines: a row goes on until its quotes come in pairs."""
    first, last = unpaired.gather_every(2), unpaired.gather_every(2, 1)
    return pl.DataFrame({_FIRST: first.head(last.len()), "last": last})


def _lines_of(lines: pl.LazyFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """The lines of these rows: `line`, `first`, the first one of its row, and `text`."""
    numbers = spans.select(
        pl.int_ranges(_FIRST, pl.col("last") + 1, dtype=pl.UInt32).alias(_LINE), _FIRST
    ).explode(_LINE)
    if numbers.is_empty():
        return pl.DataFrame(schema={_LINE: pl.UInt32, _FIRST: pl.UInt32, TEXT: pl.String})
    texts = lines.filter(pl.col(_LINE).is_in(numbers[_LINE].implode())).collect(engine="streaming")
    return numbers.join(texts, on=_LINE, how="left").with_columns(pl.col(TEXT).fill_null(""))


def _row_of_line(spans: pl.DataFrame) -> pl.Expr:
    """The number of the row that begins with a line: what a row before it has of further lines does not count."""
    further = (spans["last"] - spans[_FIRST]).cum_sum()
    before = pl.lit(spans["last"]).search_sorted(pl.col(_LINE)) if spans.height else pl.lit(0)
    skipped = pl.lit(pl.concat([pl.Series([0], dtype=pl.UInt32), further])).gather(before)
    return (pl.col(_LINE) - skipped).cast(pl.UInt32).alias(ROW)


def _number_of_cells(text: str, separator: str) -> int:
    """A quote within a cell that is not quoted is a letter like others: Python's reader knows."""
    return len(next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), []))
