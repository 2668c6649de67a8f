"""Rows of a CSV file that are not written as its header says: other numbers of cells, quotes without a partner, bytes that are no UTF-8.

What becomes of them belongs in tides_tables.py.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

ROW, CELLS, COLUMNS, TEXT = "row", "cells", "columns", "text"
_SCHEMA = {ROW: pl.UInt32, CELLS: pl.UInt32, COLUMNS: pl.UInt32, TEXT: pl.String}
_NO_CELL_HAS_IT = "\x01"
_QUOTED = '"[^"]*"'
_LINE, _UNPAIRED, _DOUBTFUL = "line", "unpaired", "doubtful"
_FIRST, _LAST, _PADDED = "first", "last", "padded"
LONGEST_ROW = 100
"""Lines of a row whose cells hold line ends; two quotes that are farther apart are no pair."""
REPLACEMENT_CHARACTER = "\ufffd"
"""Stands for bytes that are no UTF-8."""
_NO_TEXTS = pl.DataFrame(schema={ROW: pl.UInt32, _LINE: pl.UInt32, TEXT: pl.String})


@dataclass(frozen=True)
class RowFaults:
    """What is unusual about the rows of a file; the header is row 1, and a row whose cells hold line ends is one row.

    - `short_or_long`: rows that cannot be used: `row`, `cells`, their number, `columns`, that of the header, and `text`, the
      row as it is written.
    - `padded`: the numbers of rows whose cells beyond the header's are all empty.
    - `unpaired`: lines with a quote that has no partner: `row`, `line` and `text`. Each is taken as a row.
    - `lossy`: whether there are bytes that are no UTF-8. They are read as `REPLACEMENT_CHARACTER`.
    """

    short_or_long: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_SCHEMA))
    padded: pl.Series = field(default_factory=lambda: pl.Series(ROW, dtype=pl.UInt32))
    unpaired: pl.DataFrame = field(default_factory=lambda: _NO_TEXTS)
    lossy: bool = False


def row_faults(url: str, columns: int, separator: str) -> RowFaults:
    """What is unusual about the rows of a CSV file with `columns` columns.

    Blank lines are no rows. A quoted cell may hold separators and line ends. Of the file, only such lines are kept in memory
    that seem to lack cells or to have too many, or belong to a cell of several lines; of padded ones only the number.
    """
    try:
        return _row_faults(_lines(url), columns, separator)
    except pl.exceptions.ComputeError as error:
        if "utf-8" not in str(error).lower():
            raise
    return replace(_row_faults(_lines(url, lossy=True), columns, separator), lossy=True)


def write_without_unpaired(url: str, faults: RowFaults, target: Path) -> None:
    """Copies the file, of its `unpaired` lines without any quote, so that no row is taken for a part of another."""
    line, text = pl.col(_LINE), pl.col(TEXT)
    bad = line.is_in(faults.unpaired[_LINE].implode())
    bare = pl.when(bad).then(text.str.replace_all('"', "", literal=True)).otherwise(text)
    _lines(url, lossy=faults.lossy).select(bare.alias(TEXT)).sink_csv(
        target, include_header=False, quote_style="never"
    )


def _row_faults(lines: pl.LazyFrame, columns: int, separator: str) -> RowFaults:
    unusual = _unusual(lines, columns, separator)
    if unusual.is_empty():
        return RowFaults()
    unpaired = unusual.filter(_UNPAIRED)
    spans = _spans(unpaired[_LINE])
    parts = _lines_of(lines, spans)
    if 2 * spans.height < unpaired.height or not _are_pairs(parts, columns, separator):
        spans = _true_spans(lines, unpaired, columns, separator)
        parts = _lines_of(lines, spans)
    rest = unusual.join(parts, on=_LINE, how="anti")
    lone = rest.filter(pl.col(_UNPAIRED) | pl.Series(_is_malformed(rest, separator), dtype=pl.Boolean))
    single = rest.join(lone, on=_LINE, how="anti")
    long = _joined(parts).select(pl.col(_FIRST).alias(_LINE), TEXT, pl.lit(False).alias(_PADDED))
    rows = pl.concat([single.select(long.columns), long]).sort(_LINE)
    rows = rows.select(_row_of_line(spans), TEXT, _PADDED)
    wrong, padded = _with_other_cells(rows.filter(~pl.col(_PADDED)), columns, separator)
    padded = pl.concat([rows.filter(_PADDED)[ROW], padded])
    return RowFaults(wrong, padded, lone.select(_row_of_line(spans), _LINE, TEXT))


def _with_other_cells(rows: pl.DataFrame, columns: int, separator: str) -> tuple[pl.DataFrame, pl.Series]:
    """Of `rows` (`row`, `text`): `RowFaults.short_or_long` and `RowFaults.padded`."""
    cells = [_cells(text, separator) for text in rows[TEXT]]
    padded = [len(row) > columns and _is_blank(row[columns:]) for row in cells]
    counted = rows.with_columns(
        pl.Series(CELLS, [len(row) for row in cells], pl.UInt32),
        pl.lit(columns, pl.UInt32).alias(COLUMNS),
        pl.Series(_PADDED, padded, pl.Boolean),
    )
    wrong = counted.filter(pl.col(CELLS) != columns, ~pl.col(_PADDED))
    return wrong.select(*_SCHEMA), counted.filter(_PADDED)[ROW]


def _lines(url: str, *, lossy: bool = False) -> pl.LazyFrame:
    """The lines of the file: `line`, its number, and `text`, null where it is empty."""
    return pl.scan_csv(
        url,
        glob=False,
        has_header=False,
        infer_schema=False,
        separator=_NO_CELL_HAS_IT,
        quote_char=None,
        encoding="utf8-lossy" if lossy else "utf8",
        truncate_ragged_lines=True,
        row_index_name=_LINE,
        row_index_offset=1,
        new_columns=[TEXT],
    )


def _unusual(lines: pl.LazyFrame, columns: int, separator: str) -> pl.DataFrame:
    """Lines below the header that have other than `columns` cells, each that is quoted taken as a letter, or quotes that may lack a partner.

    `unpaired` says that their number is odd, `doubtful` that a quote stands elsewhere than around a cell, `padded` that what is
    beyond `columns` is blank; `text` is null then.
    """
    text = pl.col(TEXT)
    quotes = text.str.count_matches('"', literal=True)
    bare = pl.when(quotes > 0).then(text.str.replace_all(_QUOTED, "x")).otherwise(text)
    cells = bare.str.count_matches(separator, literal=True) + 1
    filled = bare.str.strip_chars_end(f" \t\r{separator}").str.count_matches(separator, literal=True) + 1
    well_formed = pl.when(quotes > 0).then(text).str.contains(_well_formed(separator))
    doubtful = ~well_formed.fill_null(True)
    padded = ~pl.col(_UNPAIRED) & ~pl.col(_DOUBTFUL) & (cells > columns) & (filled <= columns)
    return (
        lines.with_columns((quotes % 2 == 1).alias(_UNPAIRED), doubtful.alias(_DOUBTFUL))
        .filter(
            pl.any_horizontal(_UNPAIRED, _DOUBTFUL, cells != columns),
            pl.col(_LINE) > 1,
            text.str.strip_chars() != "",
        )
        .with_columns(padded.alias(_PADDED))
        .with_columns(pl.when(~pl.col(_PADDED)).then(text).alias(TEXT))
        .collect(engine="streaming")
    )


def _well_formed(separator: str) -> str:
    """A pattern of lines whose quotes stand around cells, or twice within such a cell."""
    cell = f'(?:"(?:[^"]|"")*"|[^"{re.escape(separator)}]*)'
    return f"^{cell}(?:{re.escape(separator)}{cell})*\\r?$"


def _spans(unpaired: pl.Series) -> pl.DataFrame:
    """First and last line of the rows of several lines, if a row goes on until its quotes come in pairs."""
    first, last = unpaired.gather_every(2), unpaired.gather_every(2, 1)
    spans = pl.DataFrame({_FIRST: first.head(last.len()), _LAST: last})
    return spans.filter(pl.col(_LAST) - pl.col(_FIRST) < LONGEST_ROW)


def _true_spans(lines: pl.LazyFrame, unpaired: pl.DataFrame, columns: int, separator: str) -> pl.DataFrame:
    """The same where some quotes have no partner: two lines belong together only if they are one row."""
    numbers = unpaired[_LINE].to_list()
    near = pl.DataFrame({_FIRST: unpaired[_LINE].head(-1), _LAST: unpaired[_LINE].slice(1)})
    near = near.filter(pl.col(_LAST) - pl.col(_FIRST) < LONGEST_ROW)
    rows = dict(_texts(_lines_of(lines, near)))
    found, at = [], 0
    while at < len(numbers):
        if _is_pair(rows.get(numbers[at], []), columns, separator):
            found.append((numbers[at], numbers[at + 1]))
            at += 1
        at += 1
    return pl.DataFrame(found, schema={_FIRST: pl.UInt32, _LAST: pl.UInt32}, orient="row")


def _are_pairs(parts: pl.DataFrame, columns: int, separator: str) -> bool:
    return all(_is_pair(texts, columns, separator) for _, texts in _texts(parts))


def _is_pair(texts: list[str], columns: int, separator: str) -> bool:
    """Whether lines are one row. One that has not as many cells as the header is doubtful: none of its lines may look like a row."""
    row = "\n".join(texts)
    rows = _strict_rows(row, separator) if re.match(_well_formed(separator), row) else None
    if rows is None or len(rows) != 1:
        return False
    fits = len(rows[0]) >= columns and _is_blank(rows[0][columns:])
    return fits or all(text.count(separator) + 1 < columns for text in texts)


def _is_malformed(lines: pl.DataFrame, separator: str) -> list[bool]:
    """Which of the lines with an even number of quotes are no CSV: those that are `doubtful`, and Python's reader refuses."""
    doubtful = zip(lines[_DOUBTFUL], lines[TEXT], strict=True)
    return [is_doubtful and _strict_rows(text, separator) is None for is_doubtful, text in doubtful]


def _strict_rows(text: str, separator: str) -> list[list[str]] | None:
    """The rows of a text; None where its quotes are no pairs."""
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error:
        return None


def _texts(parts: pl.DataFrame) -> Iterator[tuple[int, list[str]]]:
    """The first line of each row of several lines, and the texts of all its lines."""
    return parts.sort(_FIRST, _LINE).group_by(_FIRST, maintain_order=True).agg(TEXT).iter_rows()


def _joined(parts: pl.DataFrame) -> pl.DataFrame:
    return parts.group_by(_FIRST).agg(pl.col(TEXT).sort_by(_LINE).str.join("\n"))


def _lines_of(lines: pl.LazyFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """The lines of these rows: `line`, `first`, the first one of its row, and `text`."""
    numbers = spans.select(
        pl.int_ranges(_FIRST, pl.col(_LAST) + 1, dtype=pl.UInt32).alias(_LINE), _FIRST
    ).explode(_LINE)
    if numbers.is_empty():
        return pl.DataFrame(schema={_LINE: pl.UInt32, _FIRST: pl.UInt32, TEXT: pl.String})
    texts = lines.filter(pl.col(_LINE).is_in(numbers[_LINE].implode())).collect(engine="streaming")
    return numbers.join(texts, on=_LINE, how="left").with_columns(pl.col(TEXT).fill_null(""))


def _row_of_line(spans: pl.DataFrame) -> pl.Expr:
    """The number of the row that begins with a line: what a row before it has of further lines does not count."""
    further = (spans[_LAST] - spans[_FIRST]).cum_sum()
    before = pl.lit(spans[_LAST]).search_sorted(pl.col(_LINE)) if spans.height else pl.lit(0)
    skipped = pl.lit(pl.concat([pl.Series([0], dtype=pl.UInt32), further])).gather(before)
    return (pl.col(_LINE) - skipped).cast(pl.UInt32).alias(ROW)


def _cells(text: str, separator: str) -> list[str]:
    """A quote within a cell that is not quoted is a letter like others: Python's reader knows."""
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])


def _is_blank(cells: list[str]) -> bool:
    return not any(cell.strip() for cell in cells)
