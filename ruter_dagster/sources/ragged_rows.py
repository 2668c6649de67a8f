"""Finds malformed rows of a CSV file: wrong numbers of cells, quotes without a closing quote, bytes that are not UTF-8.

Rejecting these rows belongs in tides_rows.py. A date may have a file of hundreds of megabytes. So polars streams all lines, and
only unusual lines are kept in memory and checked in Python.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

ROW, CELLS, COLUMNS, TEXT = "row", "cells", "columns", "text"
_SCHEMA = {ROW: pl.UInt32, CELLS: pl.UInt32, COLUMNS: pl.UInt32, TEXT: pl.String}
_UNUSED_SEPARATOR = "\x01"
_QUOTED_CELL = '"[^"]*"'
_LINE, _ODD_QUOTES, _DOUBTFUL = "line", "odd_quotes", "doubtful"
_FIRST, _LAST, _PADDED = "first", "last", "padded"
MAX_LINES_PER_ROW = 100
"""Most lines of a row with line ends in its cells. Quotes that are further apart do not belong together."""
REPLACEMENT_CHARACTER = "\ufffd"
"""Replaces bytes that are not UTF-8."""
_NO_TEXTS = pl.DataFrame(schema={ROW: pl.UInt32, _LINE: pl.UInt32, TEXT: pl.String})


@dataclass(frozen=True)
class RowFaults:
    """Malformed rows of a file. Row 1 is the header, and a row with line ends in its cells is one row.

    - `short_or_long`: rows with a wrong number of cells: `row`, `cells` and `columns` (number of cells of the row and of the
      header), and `text`, the original row.
    - `padded`: numbers of rows with more cells than the header, if all further cells are empty.
    - `unpaired_quotes`: lines with a quote without a closing quote: `row`, `line` and `text`. Each line is one row.
    - `is_lossy`: whether some bytes are not UTF-8. They are read as `REPLACEMENT_CHARACTER`.
    """

    short_or_long: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_SCHEMA))
    padded: pl.Series = field(default_factory=lambda: pl.Series(ROW, dtype=pl.UInt32))
    unpaired_quotes: pl.DataFrame = field(default_factory=lambda: _NO_TEXTS)
    is_lossy: bool = False


def row_faults(url: str, columns: int, separator: str) -> RowFaults:
    """Finds the malformed rows of a CSV file with `columns` columns.

    Blank lines are not rows. A quoted cell may contain separators and line ends.
    """
    try:
        return _row_faults(_lines(url), columns, separator)
    except pl.exceptions.ComputeError as error:
        if "utf-8" not in str(error).lower():
            raise
    return replace(_row_faults(_lines(url, is_lossy=True), columns, separator), is_lossy=True)


def write_without_unpaired_quotes(url: str, faults: RowFaults, target: Path) -> None:
    """Copies the file without the quotes of `unpaired_quotes` lines, so that no row is read as a part of another row."""
    line, text = pl.col(_LINE), pl.col(TEXT)
    is_unpaired = line.is_in(faults.unpaired_quotes[_LINE].implode())
    cleaned = pl.when(is_unpaired).then(text.str.replace_all('"', "", literal=True)).otherwise(text)
    _lines(url, is_lossy=faults.is_lossy).select(cleaned.alias(TEXT)).sink_csv(
        target, include_header=False, quote_style="never"
    )


def _row_faults(lines: pl.LazyFrame, columns: int, separator: str) -> RowFaults:
    unusual = _unusual_lines(lines, columns, separator)
    if unusual.is_empty():
        return RowFaults()
    spans = _multiline_rows(lines, unusual.filter(_ODD_QUOTES)[_LINE], columns, separator)
    parts = _lines_of(lines, spans)
    single = unusual.join(parts, on=_LINE, how="anti")
    is_malformed = pl.col(_ODD_QUOTES) | pl.Series(_is_malformed(single, separator), dtype=pl.Boolean)
    unpaired_quotes = single.filter(is_malformed).select(_row_of_line(spans), _LINE, TEXT)
    multiline = parts.group_by(_FIRST).agg(pl.col(TEXT).sort_by(_LINE).str.join("\n"))
    rows = pl.concat(
        [
            single.filter(~is_malformed).select(_LINE, TEXT, _PADDED),
            multiline.select(pl.col(_FIRST).alias(_LINE), TEXT, pl.lit(False).alias(_PADDED)),
        ]
    )
    rows = rows.sort(_LINE).select(_row_of_line(spans), TEXT, _PADDED)
    short_or_long, padded = _count_cells(rows.filter(~pl.col(_PADDED)), columns, separator)
    padded = pl.concat([rows.filter(_PADDED)[ROW], padded])
    return RowFaults(short_or_long, padded, unpaired_quotes)


def _count_cells(rows: pl.DataFrame, columns: int, separator: str) -> tuple[pl.DataFrame, pl.Series]:
    """`RowFaults.short_or_long` and `RowFaults.padded` of `rows` (`row`, `text`)."""
    cells = [_cells(text, separator) for text in rows[TEXT]]
    padded = [len(row) > columns and _is_blank(row[columns:]) for row in cells]
    counted = rows.with_columns(
        pl.Series(CELLS, [len(row) for row in cells], pl.UInt32),
        pl.lit(columns, pl.UInt32).alias(COLUMNS),
        pl.Series(_PADDED, padded, pl.Boolean),
    )
    short_or_long = counted.filter(pl.col(CELLS) != columns, ~pl.col(_PADDED))
    return short_or_long.select(*_SCHEMA), counted.filter(_PADDED)[ROW]


def _lines(url: str, *, is_lossy: bool = False) -> pl.LazyFrame:
    """The lines of the file: number `line` and `text`, null if it is empty."""
    return pl.scan_csv(
        url,
        glob=False,
        has_header=False,
        infer_schema=False,
        separator=_UNUSED_SEPARATOR,
        quote_char=None,
        encoding="utf8-lossy" if is_lossy else "utf8",
        truncate_ragged_lines=True,
        row_index_name=_LINE,
        row_index_offset=1,
        new_columns=[TEXT],
    )


def _unusual_lines(lines: pl.LazyFrame, columns: int, separator: str) -> pl.DataFrame:
    """Lines below the header with a wrong number of cells or with unusual quotes.

    `odd_quotes`: the number of quotes is odd. `doubtful`: a quote is not at the edge of a cell. `padded`: all cells after
    `columns` are empty. `text` of padded lines is null to save memory, because all lines of a file may be padded.
    """
    text = pl.col(TEXT)
    quotes = text.str.count_matches('"', literal=True)
    without_quoted = pl.when(quotes > 0).then(text.str.replace_all(_QUOTED_CELL, "x")).otherwise(text)
    cells = without_quoted.str.count_matches(separator, literal=True) + 1
    filled = (
        without_quoted.str.strip_chars_end(f" \t\r{separator}").str.count_matches(separator, literal=True) + 1
    )
    well_formed = pl.when(quotes > 0).then(text).str.contains(_well_formed(separator))
    doubtful = ~well_formed.fill_null(True)
    padded = ~pl.col(_ODD_QUOTES) & ~pl.col(_DOUBTFUL) & (cells > columns) & (filled <= columns)
    return (
        lines.with_columns((quotes % 2 == 1).alias(_ODD_QUOTES), doubtful.alias(_DOUBTFUL))
        .filter(
            pl.any_horizontal(_ODD_QUOTES, _DOUBTFUL, cells != columns),
            pl.col(_LINE) > 1,
            text.str.strip_chars() != "",
        )
        .with_columns(padded.alias(_PADDED))
        .with_columns(pl.when(~pl.col(_PADDED)).then(text).alias(TEXT))
        .collect(engine="streaming")
    )


def _well_formed(separator: str) -> str:
    """A pattern of lines with quotes only around cells, or doubled within quoted cells."""
    cell = f'(?:"(?:[^"]|"")*"|[^"{re.escape(separator)}]*)'
    return f"^{cell}(?:{re.escape(separator)}{cell})*\\r?$"


def _multiline_rows(lines: pl.LazyFrame, odd_lines: pl.Series, columns: int, separator: str) -> pl.DataFrame:
    """First and last line of each row of several lines. Both have an odd number of quotes, and together they form one row."""
    neighbours = pl.DataFrame({_FIRST: odd_lines.head(-1), _LAST: odd_lines.slice(1)})
    neighbours = neighbours.filter(pl.col(_LAST) - pl.col(_FIRST) < MAX_LINES_PER_ROW)
    parts = _lines_of(lines, neighbours).sort(_FIRST, _LINE)
    texts = dict(parts.group_by(_FIRST, maintain_order=True).agg(TEXT).iter_rows())
    spans: list[tuple[int, int]] = []
    for first, last in neighbours.iter_rows():
        is_free = not spans or first > spans[-1][1]
        if is_free and _is_row(texts[first], columns, separator):
            spans.append((first, last))
    return pl.DataFrame(spans, schema={_FIRST: pl.UInt32, _LAST: pl.UInt32}, orient="row")


def _is_row(texts: list[str], columns: int, separator: str) -> bool:
    """Whether lines form one row. If it has fewer cells than the header, none of the lines may look like a row of its own."""
    row = "\n".join(texts)
    rows = _strict_rows(row, separator) if re.match(_well_formed(separator), row) else None
    if rows is None or len(rows) != 1:
        return False
    fits = len(rows[0]) >= columns and _is_blank(rows[0][columns:])
    return fits or all(text.count(separator) + 1 < columns for text in texts)


def _is_malformed(lines: pl.DataFrame, separator: str) -> list[bool]:
    """Which lines with an even number of quotes are not valid CSV: `doubtful` lines that Python's strict reader refuses."""
    doubtful = zip(lines[_DOUBTFUL], lines[TEXT], strict=True)
    return [is_doubtful and _strict_rows(text, separator) is None for is_doubtful, text in doubtful]


def _strict_rows(text: str, separator: str) -> list[list[str]] | None:
    """The rows of a text; None if its quotes are not valid."""
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error:
        return None


def _lines_of(lines: pl.LazyFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """The lines of these rows: `line`, `first` (the first line of its row) and `text`."""
    numbers = spans.select(
        pl.int_ranges(_FIRST, pl.col(_LAST) + 1, dtype=pl.UInt32).alias(_LINE), _FIRST
    ).explode(_LINE)
    if numbers.is_empty():
        return pl.DataFrame(schema={_LINE: pl.UInt32, _FIRST: pl.UInt32, TEXT: pl.String})
    texts = lines.filter(pl.col(_LINE).is_in(numbers[_LINE].implode())).collect(engine="streaming")
    return numbers.join(texts, on=_LINE, how="left").with_columns(pl.col(TEXT).fill_null(""))


def _row_of_line(spans: pl.DataFrame) -> pl.Expr:
    """The number of the row that begins with a line. The further lines of rows before it are not counted."""
    further_lines = (spans[_LAST] - spans[_FIRST]).cum_sum()
    rows_before = pl.lit(spans[_LAST]).search_sorted(pl.col(_LINE)) if spans.height else pl.lit(0)
    skipped = pl.lit(pl.concat([pl.Series([0], dtype=pl.UInt32), further_lines])).gather(rows_before)
    return (pl.col(_LINE) - skipped).cast(pl.UInt32).alias(ROW)


def _cells(text: str, separator: str) -> list[str]:
    """The cells of a row. A quote within an unquoted cell is an ordinary character."""
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])


def _is_blank(cells: list[str]) -> bool:
    return not any(cell.strip() for cell in cells)
