"""Rows of a CSV file that have more or fewer cells than its header. What becomes of them belongs in tides_tables.py."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import polars as pl

ROW, CELLS, COLUMNS, TEXT = "row", "cells", "columns", "text"
_SCHEMA = {ROW: pl.UInt32, CELLS: pl.UInt32, COLUMNS: pl.UInt32, TEXT: pl.String}
_NO_CELL_HAS_IT = "\x01"
_QUOTED = '"[^"]*"'
_LINE, _UNPAIRED, _FIRST, _PADDED = "line", "unpaired", "first", "padded"


@dataclass(frozen=True)
class RaggedRows:
    """`short_or_long`: rows that cannot be used: `row` (the header is 1), `cells`, their number, `columns`, that of the header, and `text`, the row as it is written.

    `padded`: the numbers of rows whose cells beyond the header's are all empty.
    """

    short_or_long: pl.DataFrame
    padded: pl.Series


NONE = RaggedRows(pl.DataFrame(schema=_SCHEMA), pl.Series(ROW, dtype=pl.UInt32))


def ragged_rows(url: str, columns: int, separator: str) -> RaggedRows:
    """Rows that have more or fewer cells than `columns`.

    Blank lines are none. A quoted cell may hold separators and line ends. Of the file, only such lines are kept in memory
    that seem to lack cells or to have too many, or belong to a cell of several lines; of padded ones only the number.
    """
    lines = _lines(url)
    unusual = _unusual(lines, columns, separator)
    if unusual.is_empty():
        return NONE
    spans = _spans(unusual.filter(_UNPAIRED)[_LINE])
    parts = _lines_of(lines, spans)
    single = unusual.filter(~pl.col(_UNPAIRED)).join(parts, on=_LINE, how="anti")
    long = parts.group_by(_FIRST).agg(pl.col(TEXT).sort_by(_LINE).str.join("\n"))
    long = long.select(pl.col(_FIRST).alias(_LINE), TEXT, pl.lit(False).alias(_PADDED))
    rows = pl.concat([single.select(long.columns), long]).sort(_LINE)
    rows = rows.select(_row_of_line(spans), TEXT, _PADDED)
    padded, doubtful = rows.filter(_PADDED)[ROW], rows.filter(~pl.col(_PADDED))
    cells = [_cells(text, separator) for text in doubtful[TEXT]]
    extra = [_is_blank(row[columns:]) if len(row) > columns else None for row in cells]
    counted = doubtful.with_columns(
        pl.Series(CELLS, [len(row) for row in cells], pl.UInt32), pl.Series(_PADDED, extra, pl.Boolean)
    )
    wrong = counted.filter(pl.col(CELLS) != columns, ~pl.col(_PADDED).fill_null(False))
    return RaggedRows(
        wrong.select(ROW, CELLS, pl.lit(columns, pl.UInt32).alias(COLUMNS), TEXT),
        pl.concat([padded, counted.filter(_PADDED)[ROW]]),
    )


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
    """Lines below the header that have other than `columns` cells, each that is quoted taken as a letter, or an odd number of quotes.

    `unpaired` says the latter, `padded` that what is beyond `columns` is blank; `text` is null then.
    """
    text = pl.col(TEXT)
    quotes = text.str.count_matches('"', literal=True)
    bare = pl.when(quotes > 0).then(text.str.replace_all(_QUOTED, "x")).otherwise(text)
    cells = bare.str.count_matches(separator, literal=True) + 1
    filled = bare.str.strip_chars_end(f" \t\r{separator}").str.count_matches(separator, literal=True) + 1
    padded = (quotes % 2 == 0) & (cells > columns) & (filled <= columns)
    return (
        lines.with_columns((quotes % 2 == 1).alias(_UNPAIRED))
        .filter(pl.col(_UNPAIRED) | (cells != columns), pl.col(_LINE) > 1, text.str.strip_chars() != "")
        .with_columns(padded.alias(_PADDED))
        .with_columns(pl.when(~pl.col(_PADDED)).then(text).alias(TEXT))
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


def _cells(text: str, separator: str) -> list[str]:
    """A quote within a cell that is not quoted is a letter like others: Python's reader knows."""
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])


def _is_blank(cells: list[str]) -> bool:
    return not any(cell.strip() for cell in cells)
