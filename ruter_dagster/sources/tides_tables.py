"""Reads the TIDES tables of a folder as typed rows of the requested dates.

How files are scanned belongs in tides_scanner.py, how cells become typed rows in tides_rows.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl

from ruter_dagster.sources.tides_cells import date_of, filled_dates
from ruter_dagster.sources.tides_columns import require_columns
from ruter_dagster.sources.tides_digests import Digests, row_digests
from ruter_dagster.sources.tides_files import Folder, TableFile
from ruter_dagster.sources.tides_rows import TableRows, empty_rows, typed_rows
from ruter_dagster.sources.tides_scanner import ROW_NUMBER, TableScanner, readable_errors
from ruter_dagster.sources.tides_schema import TidesTable


class TableReader:
    """Reads the tables of one folder."""

    def __init__(self, location: str | Path, time_zone: str) -> None:
        """`time_zone` applies to times without an offset."""
        self._scanner = TableScanner(location)
        self._time_zone = time_zone

    @property
    def folder(self) -> Folder:
        return self._scanner.folder

    def read(self, table: TidesTable, dates: Collection[date] | None = None) -> TableRows:
        """The rows of `dates` (all dates if None), with every column of `table`, null if the file lacks the column.

        A row whose service date cannot be read gets the date of the row before it, and a fault. Raises
        `BadInput` if the table is missing, a file or a whole column cannot be read, or a column is missing or duplicated.
        """
        files = [
            file
            for file in self.folder.files(table)
            if dates is None or file.service_date is None or file.service_date in dates
        ]
        parts = [self._read_file(file, table, dates) for file in files]
        if not parts:
            return empty_rows(table)
        repairs: Counter[str] = Counter()
        for part in parts:
            repairs.update(part.repairs)
        return TableRows(pl.concat([part.frame for part in parts]), repairs)

    def dates(self, table: TidesTable) -> frozenset[date]:
        """Service dates of a table: from the paths of its files if they name a date, else from the rows."""
        dates: set[date] = set()
        date_column = tuple(column for column in table.columns if column.name == "service_date")
        only_dates = replace(table, columns=date_column, one_of=())
        for file in self.folder.files(table):
            if file.service_date is not None:
                dates.add(file.service_date)
            else:
                rows = self._read_file(file, only_dates, None).frame
                dates.update(rows["service_date"].drop_nulls().unique())
        return frozenset(dates)

    def csv_size(self, file: TableFile) -> int:
        """Size of a file as CSV, in bytes (an estimate for Parquet)."""
        return self._scanner.csv_size(file)

    def row_digests(self, table: TidesTable) -> Digests:
        """Digest of each date's rows in files of many dates, see tides_digests.py."""
        return row_digests(self._scanner, table)

    def original_rows(self, table: TidesTable, locations: pl.DataFrame) -> pl.DataFrame:
        """The rows at `locations` (`FILE`, `LINE`) as written: `FILE`, `LINE` and `row`, JSON text."""
        return self._scanner.original_rows(table, locations)

    def _read_file(self, file: TableFile, table: TidesTable, dates: Collection[date] | None) -> TableRows:
        with readable_errors(file):
            rows = self._scanner.rows(file, table)
            schema = rows.collect_schema()
            require_columns(file.path, table, [name for name in schema if name != ROW_NUMBER])
            if dates is not None and table.dated and file.service_date is None:
                rows = _rows_of_dates(rows, schema["service_date"], dates)
            present = [column.name for column in table.columns if column.name in schema]
            cells = rows.select(ROW_NUMBER, *present).collect()
            malformed = self._scanner.row_faults(file)
        return typed_rows(file, table, cells, malformed, self._time_zone)


def _rows_of_dates(rows: pl.LazyFrame, dtype: pl.DataType, dates: Collection[date]) -> pl.LazyFrame:
    """Rows of these dates. A row without a date belongs to the date of the row before it, the first rows to the next date."""
    if dtype == pl.Date and not rows.select(pl.col("service_date").has_nulls()).collect().item():
        # Parquet's statistics skip the other row groups.
        return rows.filter(date_of("service_date", dtype).is_in(list(dates)))
    return rows.filter(filled_dates(dtype).is_in(list(dates)))
