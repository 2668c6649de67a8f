"""Opens the files of TIDES tables as lazy frames of unparsed cells, each row with its number in the file.

It also handles malformed CSV. Turning cells into values belongs in tides_rows.py.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import polars as pl
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError

from ruter_dagster.aws.errors import remedy_of
from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources import ragged_rows
from ruter_dagster.sources.ragged_rows import RowFaults, row_faults, write_without_unpaired_quotes
from ruter_dagster.sources.tides_files import Folder, TableFile, not_utf8, unreadable
from ruter_dagster.sources.tides_schema import MISSING_VALUES, TidesTable
from ruter_dagster.sources.visit_rules import FILE, LINE

ROW_NUMBER = "_row"
"""Column of a row's number in its file: the header of a CSV file is row 1, the first row of a Parquet file is row 1."""
MAX_CACHED_FILE_SIZE = 64 * 2**20
"""Files of many dates stay in memory after the first read if they are no larger than this (bytes)."""
BYTES_PER_CSV_ROW = 150
"""Typical size of a stop visit as CSV."""
_PERMANENT_ERRORS = (NotFoundError, PermissionDeniedError, UnauthenticatedError)


class TableScanner:
    """Scans the files of one folder. Caches small files of many dates, so that a range of dates reads them once."""

    def __init__(self, location: str | Path) -> None:
        self.folder = Folder(location)
        self._cached_rows: dict[str, tuple[str, pl.DataFrame]] = {}
        self._cached_faults: dict[str, tuple[str, RowFaults]] = {}
        self._copy_folder: Path | None = None

    def rows(self, file: TableFile, table: TidesTable) -> pl.LazyFrame:
        """The file's rows as written, with `ROW_NUMBER`.

        If the file lacks the column `service_date`, the date comes from its path.
        """
        version, cached = self._cached_rows.get(file.path, ("", None))
        if cached is not None and version == file.version:
            return cached.lazy()
        rows = self._scan(file)
        if table.dated and file.service_date is not None and "service_date" not in rows.collect_schema():
            rows = rows.with_columns(service_date=pl.lit(file.service_date))
        if file.service_date is None and file.size <= MAX_CACHED_FILE_SIZE:
            frame = rows.collect()
            self._cached_rows[file.path] = (file.version, frame)
            return frame.lazy()
        return rows

    def row_faults(self, file: TableFile) -> RowFaults:
        """The malformed rows of a file, searched for once. Parquet has none.

        If quotes lack a partner, a temporary copy without these quotes is written, which `rows` reads instead.
        """
        if file.format == "parquet":
            return RowFaults()
        version, faults = self._cached_faults.get(file.path, ("", None))
        if faults is None or version != file.version:
            csv_format = self.folder.csv_format(file)
            columns, separator = len(csv_format.columns), csv_format.separator
            faults = row_faults(file.url, columns, separator)
            if faults.unpaired_quotes.height:
                copy = self._copy_of(file)
                write_without_unpaired_quotes(file.url, faults, copy)
                faults_of_copy = row_faults(str(copy), columns, separator)
                faults = replace(
                    faults_of_copy, unpaired_quotes=faults.unpaired_quotes, is_lossy=faults.is_lossy
                )
            self._cached_faults[file.path] = (file.version, faults)
        return faults

    def csv_size(self, file: TableFile) -> int:
        """Size of a file as CSV, in bytes. For Parquet it is estimated from the number of rows in the footer."""
        if file.format == "csv":
            return file.size
        try:
            rows = pl.scan_parquet(file.url, glob=False).select(pl.len()).collect().item()
        except (pl.exceptions.PolarsError, OSError, BaseError):
            return file.size  # the later read reports what is wrong
        return BYTES_PER_CSV_ROW * rows

    def original_rows(self, table: TidesTable, locations: pl.DataFrame) -> pl.DataFrame:
        """The rows at `locations` (`FILE`, `LINE`) as written: `FILE`, `LINE` and `row`, JSON text of all columns.

        `row` is JSON text of the whole line if the line has the wrong number of cells or a quote without a partner.
        """
        files = {file.path: file for file in self.folder.files(table)}
        parts = [pl.DataFrame(schema={FILE: pl.String, LINE: pl.Int64, "row": pl.String})]
        for (path,), lines in locations.group_by(FILE):
            file = files[str(path)]
            with readable_errors(file):
                parts.append(self._original_rows_of(file, table, lines[LINE]))
        return pl.concat(parts)

    def _original_rows_of(self, file: TableFile, table: TidesTable, lines: pl.Series) -> pl.DataFrame:
        rows = self.rows(file, table)
        names = [name for name in rows.collect_schema() if name != ROW_NUMBER]
        selected = rows.filter(pl.col(ROW_NUMBER).is_in(lines.cast(pl.UInt32).implode())).collect()
        return selected.select(
            pl.lit(file.path, pl.String).alias(FILE),
            pl.col(ROW_NUMBER).cast(pl.Int64).alias(LINE),
            pl.struct(names).struct.json_encode().alias("row"),
        ).update(self._malformed_lines(file), on=[FILE, LINE])

    def _malformed_lines(self, file: TableFile) -> pl.DataFrame:
        """`FILE`, `LINE` and `row`, JSON text of the line, for rows whose cells cannot be told apart."""
        faults = self.row_faults(file)
        lines = pl.concat(
            [
                frame.select(ragged_rows.ROW, ragged_rows.TEXT)
                for frame in (faults.unpaired_quotes, faults.short_or_long)
            ]
        ).unique(ragged_rows.ROW, keep="first")
        return lines.select(
            pl.lit(file.path, pl.String).alias(FILE),
            pl.col(ragged_rows.ROW).cast(pl.Int64).alias(LINE),
            pl.struct(line=ragged_rows.TEXT).struct.json_encode().alias("row"),
        )

    def _copy_of(self, file: TableFile) -> Path:
        """Path of the file's copy, in a temporary folder that is deleted together with this scanner."""
        if self._copy_folder is None:
            self._copy_folder = Path(tempfile.mkdtemp(prefix="tides-"))
            weakref.finalize(self, shutil.rmtree, self._copy_folder, ignore_errors=True)
        return self._copy_folder / f"{sha256(file.path.encode()).hexdigest()}.csv"

    def _scan(self, file: TableFile) -> pl.LazyFrame:
        if file.format == "parquet":
            return pl.scan_parquet(
                file.url, glob=False, hive_partitioning=False, row_index_name=ROW_NUMBER, row_index_offset=1
            )
        csv_format = self.folder.csv_format(file)
        faults = self.row_faults(file)
        return pl.scan_csv(
            self._copy_of(file) if faults.unpaired_quotes.height else file.url,
            glob=False,
            separator=csv_format.separator,
            encoding="utf8-lossy" if faults.is_lossy else "utf8",
            infer_schema=False,
            null_values=list(MISSING_VALUES),
            truncate_ragged_lines=True,
            row_index_name=ROW_NUMBER,
            row_index_offset=2,
        ).rename(str.strip)


@contextmanager
def readable_errors(file: TableFile) -> Iterator[None]:
    """Turns errors of polars and the object store into `BadInput` that says what to do. Transient errors pass unchanged."""
    try:
        yield
    except BaseError as error:
        if "://" in file.url and remedy_of(error) is None and not isinstance(error, _PERMANENT_ERRORS):
            raise
        raise unreadable(file, error) from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _bad_input(file, error) from None


def _bad_input(file: TableFile, error: Exception) -> BadInput:
    reason = str(error).strip().splitlines()[0]
    if "utf-8" in reason.lower():
        return not_utf8(file)
    if isinstance(error, OSError):
        return unreadable(file, error)
    if file.format == "parquet":
        return BadInput(
            f"{file.path} is not a complete Parquet file, perhaps half-written ({reason}); write or copy it again"
        )
    return BadInput(f"{file.path} cannot be read as CSV ({reason}); write or copy it again")
