"""Turns the cells of a TIDES file into typed rows, and notes for each row why it cannot be used.

Converting a single cell belongs in tides_cells.py, combining the tables in tides.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources import ragged_rows
from ruter_dagster.sources.ragged_rows import REPLACEMENT_CHARACTER, RowFaults
from ruter_dagster.sources.tides_cells import MEANING, TYPES, Cells, read_cells, unpadded_cells
from ruter_dagster.sources.tides_files import TableFile
from ruter_dagster.sources.tides_scanner import ROW_NUMBER
from ruter_dagster.sources.tides_schema import Cost, TidesColumn, TidesTable
from ruter_dagster.sources.visit_rules import COUNTS_FAULT, FAULT, FILE, LINE, LOAD_FAULT

MIN_CELLS_TO_JUDGE = 3
"""A column is unreadable if it has at least this many cells and all of them are wrong."""
PADDED = "repaired, row with more cells than the header, all empty"
_EXAMPLES = 3
_UNPAIRED_QUOTE = "row has a quote without a closing quote"
_NOT_UTF8 = "is not UTF-8 (Latin-1, perhaps); save the file as UTF-8"
_FAULT_COLUMNS: dict[Cost, str] = {"row": FAULT, "counts": COUNTS_FAULT, "load": LOAD_FAULT}


@dataclass(frozen=True)
class TableRows:
    """Typed rows of a table.

    - `frame`: the table's columns, null if a cell is missing or wrong, and the row's location (`FILE`, `LINE`). `FAULT`,
      `COUNTS_FAULT` and `LOAD_FAULT` say why the row, its counts or its load cannot be used, else null.
    - `repairs`: number of cells that were read although they are not written as TIDES says, by kind of repair.
    """

    frame: pl.DataFrame
    repairs: Counter[str]


def empty_rows(table: TidesTable) -> TableRows:
    """A table without rows."""
    faults = dict.fromkeys(_FAULT_COLUMNS.values(), pl.String())
    schema = {**_types(table), FILE: pl.String(), LINE: pl.Int64(), **faults}
    return TableRows(pl.DataFrame(schema=schema), Counter())


def typed_rows(
    file: TableFile, table: TidesTable, cells: pl.DataFrame, malformed: RowFaults, time_zone: str
) -> TableRows:
    """Typed rows of a file. `cells` has `ROW_NUMBER` and those columns of the table that the file has.

    A row keeps its first fault. Raises `BadInput` if all cells of a column are wrong.
    """
    present = [column for column in table.columns if column.name in cells.columns]
    cells = cells.with_columns(unpadded_cells(cells[column.name]) for column in present)
    cells = _without_blank_lines(cells, file)
    faults = _malformed_row_faults(cells, present, malformed)
    values: dict[str, pl.Series] = {}
    repairs: Counter[str] = Counter()
    for column in present:
        result = read_cells(cells[column.name], column, time_zone)
        if column.name == "service_date":
            _set_dates(result, file)
        _require_values(file, column, cells, result)
        values[column.name] = _apply_faults(column, result, faults, repairs)
        repairs.update(result.repairs)
    if padded := _count_rows(cells, malformed.padded):
        repairs[PADDED] += padded
    return TableRows(_frame(file, table, cells[ROW_NUMBER], values, faults), repairs)


def _apply_faults(
    column: TidesColumn, result: Cells, faults: dict[str, pl.Series], repairs: Counter[str]
) -> pl.Series:
    """The column's values. Adds its faults to `faults`, or to `repairs` if a wrong cell counts as unknown."""
    values = result.values
    for problem, wrong in result.faults:
        reason = f"{column.name} {problem}"
        if column.cost == "cell":
            values = values.set(wrong, None)
            repairs[f"repaired, {reason}: taken as unknown"] += int(wrong.sum())
        else:
            kind = _FAULT_COLUMNS[column.cost]
            faults[kind] = _with_reason(faults.get(kind), wrong, reason)
    return values


def _frame(
    file: TableFile,
    table: TidesTable,
    row_numbers: pl.Series,
    values: Mapping[str, pl.Series],
    faults: Mapping[str, pl.Series],
) -> pl.DataFrame:
    columns = {name: values.get(name, pl.lit(None, type_)) for name, type_ in _types(table).items()}
    kinds = _FAULT_COLUMNS.values()
    return row_numbers.to_frame().select(
        **columns,
        **{FILE: pl.lit(file.path), LINE: pl.col(ROW_NUMBER).cast(pl.Int64)},
        **{kind: faults.get(kind, pl.lit(None, pl.String)) for kind in kinds},
    )


def _types(table: TidesTable) -> dict[str, pl.DataType]:
    return {column.name: TYPES[column.kind] for column in table.columns}


def _without_blank_lines(cells: pl.DataFrame, file: TableFile) -> pl.DataFrame:
    """A blank line of a CSV file has no value in any column."""
    if file.format == "parquet":
        return cells
    texts = [name for name, type_ in cells.schema.items() if name != ROW_NUMBER and type_ == pl.String]
    return cells.filter(~pl.all_horizontal(pl.col(texts).is_null())) if texts else cells


def _malformed_row_faults(
    cells: pl.DataFrame, present: Sequence[TidesColumn], malformed: RowFaults
) -> dict[str, pl.Series]:
    """Faults of rows that are not valid CSV or not valid UTF-8, under `FAULT`. Empty if there are none."""
    ragged = pl.format("row has {} cells, the header has {}", ragged_rows.CELLS, ragged_rows.COLUMNS)
    row = pl.col(ragged_rows.ROW).alias(ROW_NUMBER)
    reasons_by_row = pl.concat(
        [
            malformed.unpaired_quotes.select(row, pl.lit(_UNPAIRED_QUOTE).alias(FAULT)),
            malformed.short_or_long.select(row, ragged.alias(FAULT)),
        ]
    ).unique(ROW_NUMBER, keep="first")
    reasons = None
    if reasons_by_row.height:
        rows = cells.select(ROW_NUMBER)
        reasons = rows.join(reasons_by_row, on=ROW_NUMBER, how="left", maintain_order="left")[FAULT]
    for column in present if malformed.is_lossy else ():
        texts = cells[column.name]
        if texts.dtype == pl.String:
            damaged = texts.str.contains(REPLACEMENT_CHARACTER, literal=True).fill_null(False)
            reasons = _with_reason(reasons, damaged, f"{column.name} {_NOT_UTF8}")
    return {} if reasons is None else {FAULT: reasons}


def _count_rows(cells: pl.DataFrame, rows: pl.Series) -> int:
    """How many of the row numbers `rows` are among these cells."""
    return cells.join(rows.to_frame(ROW_NUMBER), on=ROW_NUMBER, how="semi").height if rows.len() else 0


def _set_dates(result: Cells, file: TableFile) -> None:
    """Gives every row a date: the date of the file's path; else, if its own is unreadable, the date of the row before it."""
    file_date = file.service_date
    if file_date is None:
        result.values = result.values.fill_null(strategy="forward").fill_null(strategy="backward")
        return
    other = (result.values != file_date).fill_null(False)
    if other.any():
        result.faults.append((f"is outside the file's own date, {file_date}", other))
    result.values = pl.Series(result.values.name, [file_date], pl.Date).new_from_index(0, result.values.len())


def _require_values(file: TableFile, column: TidesColumn, cells: pl.DataFrame, result: Cells) -> None:
    """Raises `BadInput` if a column has cells and all of them are wrong."""
    texts = cells[column.name]
    filled = texts.len() - texts.null_count()
    meaning = MEANING[column.kind]
    wrong = next((rows for problem, rows in result.faults if problem == f"is not {meaning}"), None)
    if wrong is None or filled < MIN_CELLS_TO_JUDGE or wrong.sum() < filled:
        return
    rows = cells.filter(wrong).select(ROW_NUMBER, column.name).head(_EXAMPLES).iter_rows()
    examples = "; ".join(f"row {row}: {value!r}" for row, value in rows)
    raise BadInput(
        f"{file.path} cannot be used: none of the {filled:,} cells of column {column.name} is {meaning} "
        f"({examples}); correct it at its source"
    )


def _with_reason(reasons: pl.Series | None, wrong: pl.Series, reason: str) -> pl.Series:
    """The reasons of rows, with `reason` for `wrong` rows that have none yet."""
    new = pl.Series([reason, None], dtype=pl.String).gather((~wrong).cast(pl.UInt32))
    return new if reasons is None else reasons.zip_with(reasons.is_not_null(), new)
