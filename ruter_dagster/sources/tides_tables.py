"""Reads TIDES tables as typed frames, and says which cell of which file is wrong.

Nothing of what the tables mean together (trips of visits, plans, modes) belongs here: that is tides.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources.tides_files import Folder, TableFile, not_utf8
from ruter_dagster.sources.tides_vocabulary import MISSING_VALUES, Kind, TidesColumn, TidesTable

KEPT_FILE_SIZE = 64 * 2**20
"""Files that span many dates are kept in memory once read, if they are no larger than this (bytes)."""
_EXAMPLES = 3
_ROW = "_row"
_TYPES: dict[Kind, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us", "UTC"),
}
_MEANING: dict[Kind, str] = {
    "string": "text",
    "integer": "a whole number",
    "date": "a date (YYYY-MM-DD)",
    "datetime": "a time with its offset from UTC (2026-11-20T08:15:00+01:00)",
}


@dataclass(frozen=True)
class _Fault:
    """What is wrong with a row: the column, a sentence about its value, and an expression true where it is so."""

    column: str
    problem: str
    broken: pl.Expr


class TableReader:
    """Reads the tables of one folder. Keeps small files that span many dates, so that a range parses them once."""

    def __init__(self, location: str | Path) -> None:
        self.folder = Folder(location)
        self._kept: dict[str, tuple[str, pl.DataFrame]] = {}

    def read(self, table: TidesTable, dates: Collection[date] | None = None) -> pl.DataFrame:
        """The rows of `dates` (all where None), with every column of `table` in its type, null where it is absent.

        Raises `BadInput`: no such table, a file that cannot be read, a missing column, a cell that is no value of its
        column, a row whose service date is not the one that its file's path names.
        """
        files = self.folder.files(table)
        wanted = [
            file for file in files if dates is None or file.service_date is None or file.service_date in dates
        ]
        frames = [self._read_file(file, table, dates) for file in wanted]
        schema = {column.name: _TYPES[column.kind] for column in table.columns}
        return pl.concat(frames) if frames else pl.DataFrame(schema=schema)

    def dates(self, table: TidesTable) -> frozenset[date]:
        """Service dates of a table: by the paths of its files where they name one, else by their rows."""
        found: set[date] = set()
        only_date = TidesTable(
            table.name, tuple(column for column in table.columns if column.name == "service_date")
        )
        for file in self.folder.files(table):
            if file.service_date is not None:
                found.add(file.service_date)
            else:
                found.update(self._read_file(file, only_date, None)["service_date"].unique())
        return frozenset(found)

    def _read_file(self, file: TableFile, table: TidesTable, dates: Collection[date] | None) -> pl.DataFrame:
        try:
            rows = self._open(file, table)
            found = rows.collect_schema()
            _require_columns(file, table, found)
            faults = list(_faults(file, table, found))
            values = [_value(column, found).alias(column.name) for column in table.columns]
            if dates is not None and table.dated and file.service_date is None:
                day = _value(table.columns[0], found)
                rows = rows.filter(day.is_in(list(dates)) | day.is_null())
            flags = [fault.broken.alias(f"_fault_{index}") for index, fault in enumerate(faults)]
            frame = rows.select(*values, *flags).collect()
            broken = [fault for index, fault in enumerate(faults) if frame[f"_fault_{index}"].any()]
            if broken:
                raise BadInput(_describe(file, rows, broken))
            return frame.select(table.column_names)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _unreadable(file, error) from None

    def _open(self, file: TableFile, table: TidesTable) -> pl.LazyFrame:
        """The file's rows as they are written, with their number; the service date from the path where no column has it."""
        version, frame = self._kept.get(file.path, ("", None))
        if frame is not None and version == file.version:
            return frame.lazy()
        rows = self._scan(file)
        if table.dated and file.service_date is not None and "service_date" not in rows.collect_schema():
            rows = rows.with_columns(service_date=pl.lit(file.service_date))
        if file.service_date is None and file.size <= KEPT_FILE_SIZE:
            kept = rows.collect()
            self._kept[file.path] = (file.version, kept)
            return kept.lazy()
        return rows

    def _scan(self, file: TableFile) -> pl.LazyFrame:
        if file.format == "parquet":
            return pl.scan_parquet(file.url, hive_partitioning=False, row_index_name=_ROW, row_index_offset=1)
        form = self.folder.csv_form(file)
        return pl.scan_csv(
            file.url,
            separator=form.separator,
            infer_schema=False,
            null_values=list(MISSING_VALUES),
            row_index_name=_ROW,
            row_index_offset=2,
        ).rename(str.strip)


def _require_columns(file: TableFile, table: TidesTable, found: pl.Schema) -> None:
    missing = [column.name for column in table.columns if column.present and column.name not in found]
    if missing:
        there = ", ".join(name for name in found if name != _ROW)
        raise BadInput(
            f"{file.path} lacks the column {', '.join(missing)} of TIDES' {table.name}; it has {there}"
        )


def _faults(file: TableFile, table: TidesTable, found: pl.Schema) -> Iterator[_Fault]:
    for column in table.columns:
        if column.name not in found:
            continue
        written, value = _written(column, found), _value(column, found)
        if column.filled:
            yield _Fault(column.name, "has no value", written.is_null())
        if column.kind != "string":
            yield _Fault(
                column.name, f"is not {_MEANING[column.kind]}", written.is_not_null() & value.is_null()
            )
        if column.minimum is not None:
            yield _Fault(column.name, f"is below {column.minimum}", (value < column.minimum).fill_null(False))
        if column.allowed is not None:
            allowed = ", ".join(column.allowed)
            yield _Fault(
                column.name,
                f"is unknown to TIDES, which allows: {allowed}",
                value.is_in(column.allowed).not_().fill_null(False),
            )
        if column.name == "service_date" and file.service_date is not None:
            yield _Fault(
                column.name,
                f"is outside the file's own date, {file.service_date}: move the row to its date's file",
                (value != file.service_date).fill_null(False),
            )


def _written(column: TidesColumn, found: pl.Schema) -> pl.Expr:
    """The cell as it is written, null where TIDES calls it missing."""
    cell, dtype = pl.col(column.name), found[column.name]
    if isinstance(dtype, pl.Categorical | pl.Enum):
        cell, dtype = cell.cast(pl.String), pl.String()
    if dtype == pl.String:
        cell = cell.str.strip_chars()
        return pl.when(cell.is_in(MISSING_VALUES).not_()).then(cell)
    return cell.fill_nan(None) if dtype.is_float() else cell


def _value(column: TidesColumn, found: pl.Schema) -> pl.Expr:
    """The cell in its column's type, null where it is missing or is no value of that type."""
    wanted = _TYPES[column.kind]
    if column.name not in found:
        return pl.lit(None, dtype=wanted)
    cell, dtype = _written(column, found), found[column.name]
    if isinstance(dtype, pl.Categorical | pl.Enum):
        dtype = pl.String()
    if dtype == pl.Null or column.kind == "string":
        return cell.cast(wanted)
    if column.kind == "integer":
        number = (
            cell.cast(pl.Float64, strict=False)
            if dtype == pl.String or dtype.is_numeric()
            else pl.lit(None, pl.Float64)
        )
        return pl.when(number == number.round()).then(number).cast(wanted, strict=False)
    if dtype == pl.String:
        return cell.str.to_date("%Y-%m-%d", strict=False) if column.kind == "date" else _time(cell)
    if column.kind == "date":
        return cell if dtype == pl.Date else pl.lit(None, wanted)
    zoned = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    return cell.dt.convert_time_zone("UTC").cast(wanted) if zoned else pl.lit(None, wanted)


def _time(cell: pl.Expr) -> pl.Expr:
    """ISO 8601 with an offset or Z; without one nobody could say which of two hours a clock change means."""
    text = cell.str.replace(" ", "T", literal=True).str.replace("Z$", "+00:00")
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", strict=False)


def _describe(file: TableFile, rows: pl.LazyFrame, faults: list[_Fault]) -> str:
    """Every fault of a file with its first rows, read once more for their numbers and what they hold."""
    lines = []
    for fault in faults:
        broken = rows.filter(fault.broken).select(_ROW, fault.column).collect()
        shown = "; ".join(f"row {row}: {_quoted(value)}" for row, value in broken.head(_EXAMPLES).iter_rows())
        lines.append(f"- column {fault.column} {fault.problem} ({broken.height:,} rows, e.g. {shown})")
    return "\n".join([f"{file.path} cannot be used; correct it at its source:", *lines])


def _quoted(value: object) -> str:
    return "nothing" if value is None else repr(value) if isinstance(value, str) else str(value)


def _unreadable(file: TableFile, error: Exception) -> BadInput:
    reason = str(error).strip().splitlines()[0]
    if "utf-8" in reason.lower():
        return not_utf8(file)
    if file.format == "parquet":
        return BadInput(
            f"{file.path} is no whole Parquet file, half-written perhaps ({reason}); write or copy it again"
        )
    return BadInput(f"{file.path} cannot be read as CSV ({reason}); write or copy it again")
