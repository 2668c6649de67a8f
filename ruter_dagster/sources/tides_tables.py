"""Reads TIDES tables as typed frames, and says of each row what in it cannot be used.

How a cell becomes a value belongs in tides_cells.py, what the tables mean together (trips of visits, plans, modes) in tides.py.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from difflib import get_close_matches
from hashlib import sha256
from itertools import chain
from pathlib import Path

import polars as pl
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError

from ruter_dagster.aws.errors import remedy_of
from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources import ragged_rows
from ruter_dagster.sources.ragged_rows import LOST_LETTER, RowFaults, row_faults, write_without_unpaired
from ruter_dagster.sources.tides_cells import MEANING, TYPES, Cells, date_of, read_cells, written
from ruter_dagster.sources.tides_files import Folder, TableFile, not_utf8, unreadable
from ruter_dagster.sources.tides_vocabulary import MISSING_VALUES, Cost, TidesColumn, TidesTable
from ruter_dagster.sources.visit_rules import COUNTS_FAULT, FAULT, FILE, LINE, LOAD_FAULT

KEPT_FILE_SIZE = 64 * 2**20
"""Files that span many dates are kept in memory once read, if they are no larger than this (bytes)."""
ROW_BYTES = 150
"""Of a stop visit as CSV."""
LEAST_CELLS = 3
"""A column of which so many cells, and all, are no values of it cannot be read at all."""
PADDED = "repaired, row with empty cells beyond those of the header"
KEPT_DIGESTS = 100
"""Files of which a process remembers what their rows amount to."""
_DIGESTS: dict[tuple[str, str, str], dict[date | None, str]] = {}
_EXAMPLES = 3
_ROW = "_row"
_UNPAIRED = "row has a quote without its partner"
_NOT_UTF8 = "is not UTF-8 (Latin-1, perhaps); save the file as UTF-8"
_REFUSED = (NotFoundError, PermissionDeniedError, UnauthenticatedError)
_COLUMN_OF: dict[Cost, str] = {"row": FAULT, "counts": COUNTS_FAULT, "load": LOAD_FAULT}


@dataclass(frozen=True)
class TableRows:
    """A table's rows: its columns, null where a cell is missing or wrong, and where each row stands (`FILE`, `LINE`).

    `FAULT`, `COUNTS_FAULT` and `LOAD_FAULT` say why the row, its counts or its load cannot be used, else null.
    `repairs` counts cells that were read although they are not written as TIDES says, by what was done.
    """

    frame: pl.DataFrame
    repairs: Counter[str]


class TableReader:
    """Reads the tables of one folder. Keeps small files that span many dates, so that a range parses them once."""

    def __init__(self, location: str | Path, time_zone: str) -> None:
        """`time_zone` is the one of times without an offset."""
        self.folder = Folder(location)
        self._time_zone = time_zone
        self._kept: dict[str, tuple[str, pl.DataFrame]] = {}
        self._faults: dict[str, tuple[str, RowFaults]] = {}
        self._copies: Path | None = None

    def read(self, table: TidesTable, dates: Collection[date] | None = None) -> TableRows:
        """The rows of `dates` (all where None), with every column of `table` in its type, null where it is absent.

        A row whose service date cannot be read has the one of the row before it, and a fault that says so.
        Raises `BadInput`: no such table, a file or a whole column that cannot be read, a column that is missing or there twice.
        """
        files = self.folder.files(table)
        wanted = [
            file for file in files if dates is None or file.service_date is None or file.service_date in dates
        ]
        parts = [self._read_file(file, table, dates) for file in wanted]
        if not parts:
            return TableRows(pl.DataFrame(schema=_schema(table)), Counter())
        repairs: Counter[str] = Counter()
        for part in parts:
            repairs.update(part.repairs)
        return TableRows(pl.concat([part.frame for part in parts]), repairs)

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
                found.update(
                    self._read_file(file, only_date, None).frame["service_date"].drop_nulls().unique()
                )
        return frozenset(found)

    def csv_size(self, file: TableFile) -> int:
        """Bytes of a file as CSV: of Parquet, whose size says little of its rows, by the number of rows in its footer."""
        if file.format == "csv":
            return file.size
        try:
            return ROW_BYTES * pl.scan_parquet(file.url, glob=False).select(pl.len()).collect().item()
        except (pl.exceptions.PolarsError, OSError, BaseError):
            return file.size  # reading it will say what is wrong

    def row_digests(self, table: TidesTable) -> dict[date | None, str]:
        """What files without a date of their own say of each date, as a number that changes with any row of it, in any order.

        Of a table without dates all rows are those of None. A file that cannot be read counts for every date.
        """
        parts = [self._digests(file, table) for file in self.folder.files(table) if file.service_date is None]
        return {day: " ".join(part.get(day, "") for part in parts) for day in dict.fromkeys(chain(*parts))}

    def _digests(self, file: TableFile, table: TidesTable) -> dict[date | None, str]:
        key = (file.url, file.version, table.name)
        if key not in _DIGESTS:
            while len(_DIGESTS) >= KEPT_DIGESTS:
                _DIGESTS.pop(next(iter(_DIGESTS)))
            _DIGESTS[key] = self._read_digests(file, table)
        return _DIGESTS[key]

    def _read_digests(self, file: TableFile, table: TidesTable) -> dict[date | None, str]:
        try:
            with _readable(file):
                rows = self._open(file, table)
                found = rows.collect_schema()
                names = [column.name for column in table.columns if column.name in found]
                day = _date_of_rows(found["service_date"]) if table.dated else pl.lit(None, pl.Date)
                sums = _digest_by_date(rows, day, names).collect(engine="streaming")
        except (BadInput, KeyError):
            return {None: file.version}  # reading it will say what is wrong
        return {row[0]: "-".join(map(str, row[1:])) for row in sums.iter_rows()}

    def rows_as_read(self, table: TidesTable, places: pl.DataFrame) -> pl.DataFrame:
        """The rows at `places` (`FILE`, `LINE`) as their files have them: `FILE`, `LINE` and `row`, JSON text of all columns.

        Of a row with more or fewer cells than the header, or with a quote that has no partner, `row` is the JSON text of its
        line: nobody knows which cell is which.
        """
        files = {file.path: file for file in self.folder.files(table)}
        found = [pl.DataFrame(schema={FILE: pl.String, LINE: pl.Int64, "row": pl.String})]
        for (path,), at in places.group_by(FILE):
            file = files[str(path)]
            with _readable(file):
                rows = self._open(file, table)
                names = [name for name in rows.collect_schema() if name != _ROW]
                read = rows.filter(pl.col(_ROW).is_in(at[LINE].cast(pl.UInt32).implode())).collect()
                found.append(
                    read.select(
                        pl.lit(path, pl.String).alias(FILE),
                        pl.col(_ROW).cast(pl.Int64).alias(LINE),
                        pl.struct(names).struct.json_encode().alias("row"),
                    ).update(self._lines_as_written(file), on=[FILE, LINE])
                )
        return pl.concat(found)

    def _lines_as_written(self, file: TableFile) -> pl.DataFrame:
        """Of rows whose cells cannot be told apart: `FILE`, `LINE` and `row`, JSON text of the line."""
        faults = self._row_faults(file)
        lines = pl.concat(
            [
                frame.select(ragged_rows.ROW, ragged_rows.TEXT)
                for frame in (faults.unpaired, faults.short_or_long)
            ]
        ).unique(ragged_rows.ROW, keep="first")
        return lines.select(
            pl.lit(file.path, pl.String).alias(FILE),
            pl.col(ragged_rows.ROW).cast(pl.Int64).alias(LINE),
            pl.struct(line=ragged_rows.TEXT).struct.json_encode().alias("row"),
        )

    def _row_faults(self, file: TableFile) -> RowFaults:
        """`row_faults` of a file, looked for once: none in Parquet. A copy is made where quotes without a partner are in the way."""
        if file.format == "parquet":
            return RowFaults()
        version, faults = self._faults.get(file.path, ("", None))
        if faults is None or version != file.version:
            form = self.folder.csv_form(file)
            columns, separator = len(form.columns), form.separator
            faults = row_faults(file.url, columns, separator)
            if faults.unpaired.height:
                copy = self._copy_of(file)
                write_without_unpaired(file.url, faults, copy)
                of_copy = row_faults(str(copy), columns, separator)
                faults = replace(of_copy, unpaired=faults.unpaired, lossy=faults.lossy)
            self._faults[file.path] = (file.version, faults)
        return faults

    def _copy_of(self, file: TableFile) -> Path:
        """Where the copy of a file is or will be: in a temporary folder that goes with the reader."""
        if self._copies is None:
            self._copies = Path(tempfile.mkdtemp(prefix="tides-"))
            weakref.finalize(self, shutil.rmtree, self._copies, ignore_errors=True)
        return self._copies / f"{sha256(file.path.encode()).hexdigest()}.csv"

    def _read_file(self, file: TableFile, table: TidesTable, dates: Collection[date] | None) -> TableRows:
        with _readable(file):
            rows = self._open(file, table)
            found = rows.collect_schema()
            _require_columns(file, table, found)
            present = [column for column in table.columns if column.name in found]
            if dates is not None and table.dated and file.service_date is None:
                rows = _of_dates(rows, found["service_date"], dates)
            cells = rows.select(_ROW, *(column.name for column in present)).collect()
            faults = self._row_faults(file)
        cells = _without_blank_lines(
            cells.with_columns(written(cells[column.name]) for column in present), file
        )
        typed = self._typed(file, table, present, cells, _reasons_of_rows(cells, present, faults))
        if padded := _number_of(cells, faults.padded):
            typed.repairs[PADDED] += padded
        return typed

    def _typed(
        self,
        file: TableFile,
        table: TidesTable,
        present: Sequence[TidesColumn],
        cells: pl.DataFrame,
        reasons: dict[str, pl.Series],
    ) -> TableRows:
        """Cells as values; what is wrong with a row goes into its column of faults, the first fault standing.

        `reasons` are the faults that are known already, by their column.
        """
        values: dict[str, pl.Series] = {}
        repairs: Counter[str] = Counter()
        for column in present:
            read = read_cells(cells[column.name], column, self._time_zone)
            if column.name == "service_date":
                _settle_date(read, file)
            _require_some(file, column, cells, read)
            values[column.name] = read.values
            repairs.update(read.repairs)
            for problem, where in read.faults:
                reason = f"{column.name} {problem}"
                if column.cost == "cell":
                    values[column.name] = values[column.name].set(where, None)
                    repairs[f"repaired, {reason}: taken as unknown"] += int(where.sum())
                else:
                    kind = _COLUMN_OF[column.cost]
                    reasons[kind] = _noted(reasons.get(kind), where, reason)
        frame = cells.select(
            *(
                values.get(name, pl.lit(None, type_)).alias(name)
                for name, type_ in _typed_columns(table).items()
            ),
            pl.lit(file.path).alias(FILE),
            pl.col(_ROW).cast(pl.Int64).alias(LINE),
            *(reasons.get(kind, pl.lit(None, pl.String)).alias(kind) for kind in _COLUMN_OF.values()),
        )
        return TableRows(frame, repairs)

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
            return pl.scan_parquet(
                file.url, glob=False, hive_partitioning=False, row_index_name=_ROW, row_index_offset=1
            )
        form = self.folder.csv_form(file)
        faults = self._row_faults(file)
        return pl.scan_csv(
            self._copy_of(file) if faults.unpaired.height else file.url,
            glob=False,
            separator=form.separator,
            encoding="utf8-lossy" if faults.lossy else "utf8",
            infer_schema=False,
            null_values=list(MISSING_VALUES),
            truncate_ragged_lines=True,
            row_index_name=_ROW,
            row_index_offset=2,
        ).rename(str.strip)


@contextmanager
def _readable(file: TableFile) -> Iterator[None]:
    """Turns what polars and the object store say of a file into what a person can act on; what may pass stays as it is."""
    try:
        yield
    except BaseError as error:
        if "://" in file.url and remedy_of(error) is None and not isinstance(error, _REFUSED):
            raise
        raise unreadable(file, error) from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(file, error) from None


def _typed_columns(table: TidesTable) -> dict[str, pl.DataType]:
    return {column.name: TYPES[column.kind] for column in table.columns}


def _schema(table: TidesTable) -> dict[str, pl.DataType]:
    reasons = dict.fromkeys(_COLUMN_OF.values(), pl.String())
    return {**_typed_columns(table), FILE: pl.String(), LINE: pl.Int64(), **reasons}


def _require_columns(file: TableFile, table: TidesTable, found: pl.Schema) -> None:
    """Raises `BadInput` if the file lacks a required column, or every accepted group of `one_of`."""
    present = [name for name in found if name != _ROW]
    missing = [column.name for column in table.columns if column.present and column.name not in found]
    if missing:
        raise BadInput(
            f"{file.path} lacks the column {', '.join(missing)} of TIDES' {table.name}; it has {', '.join(present)}"
            + _suggestions(missing, present, table)
        )
    if table.one_of and not any(_has_group(group, present) for group in table.one_of):
        accepted = ", or ".join(" and ".join(group) for group in table.one_of).replace("|", " or ")
        wanted = [name for group in table.one_of for names in group for name in names.split("|")]
        raise BadInput(
            f"{file.path} has no passenger counts: TIDES' {table.name} needs {accepted}; "
            f"it has {', '.join(present)}{_suggestions(wanted, present, table)}"
        )


def _has_group(group: Sequence[str], present: Sequence[str]) -> bool:
    return all(any(name in present for name in names.split("|")) for names in group)


def _suggestions(missing: Sequence[str], present: Sequence[str], table: TidesTable) -> str:
    """Columns of the file that TIDES lacks and that look like a missing one, as the end of a message."""
    unknown = [name for name in present if name not in table.column_names]
    pairs = [(name, wanted) for wanted in missing for name in unknown if _is_similar(name, wanted)]
    return "".join(f". Rename {name} to {wanted} if it holds the same values" for name, wanted in pairs)


def _is_similar(name: str, wanted: str) -> bool:
    """Whether a name is part of the wanted one, as `load` of `departure_load`, or nearly spelt like it."""
    name = name.lower()
    return wanted.endswith(f"_{name}") or bool(get_close_matches(name, [wanted.lower()], cutoff=0.8))


def _of_dates(rows: pl.LazyFrame, dtype: pl.DataType, dates: Collection[date]) -> pl.LazyFrame:
    """Rows of these dates. One without a date goes with the row before it, or, at the beginning, after it."""
    day = date_of("service_date", dtype)
    if dtype == pl.Date and not rows.select(pl.col("service_date").has_nulls()).collect().item():
        return rows.filter(day.is_in(list(dates)))  # Parquet's statistics spare reading the others
    return rows.filter(_date_of_rows(dtype).is_in(list(dates)))


def _date_of_rows(dtype: pl.DataType) -> pl.Expr:
    return date_of("service_date", dtype).forward_fill().backward_fill()


def _digest_by_date(rows: pl.LazyFrame, day: pl.Expr, names: Sequence[str]) -> pl.LazyFrame:
    """Number of rows and sums of both halves of their hashes: 32 bits each, so that no sum overflows."""
    kinds = rows.collect_schema()
    cells = [
        pl.col(name).cast(pl.String) if isinstance(kinds[name], pl.Categorical | pl.Enum) else pl.col(name)
        for name in names
    ]
    hashed = pl.col("hash")
    return (
        rows.filter(pl.any_horizontal(pl.col(names).is_not_null()))  # no blank lines
        .select(day=day, hash=pl.struct(cells).hash())
        .group_by("day")
        .agg(pl.len(), low=(hashed % 2**32).sum(), high=(hashed // 2**32).sum())
    )


def _without_blank_lines(cells: pl.DataFrame, file: TableFile) -> pl.DataFrame:
    """A blank line of a CSV file has no value in any column."""
    if file.format == "parquet":
        return cells
    own = [name for name, type_ in cells.schema.items() if name != _ROW and type_ == pl.String]
    return cells.filter(~pl.all_horizontal(pl.col(own).is_null())) if own else cells


def _reasons_of_rows(
    cells: pl.DataFrame, present: Sequence[TidesColumn], faults: RowFaults
) -> dict[str, pl.Series]:
    """Why rows cannot be used that are not written as CSV in UTF-8 should be, as faults of rows; nothing where there are none."""
    ragged = pl.format("row has {} cells, the header has {}", ragged_rows.CELLS, ragged_rows.COLUMNS)
    known = pl.concat(
        [
            faults.unpaired.select(ragged_rows.ROW, pl.lit(_UNPAIRED).alias(FAULT)),
            faults.short_or_long.select(ragged_rows.ROW, ragged.alias(FAULT)),
        ]
    ).unique(ragged_rows.ROW, keep="first")
    reasons = None
    if known.height:
        of_rows = known.rename({ragged_rows.ROW: _ROW})
        reasons = cells.select(_ROW).join(of_rows, on=_ROW, how="left", maintain_order="left")[FAULT]
    for column in present if faults.lossy else ():
        cell = cells[column.name]
        if cell.dtype == pl.String:
            lost = cell.str.contains(LOST_LETTER, literal=True).fill_null(False)
            reasons = _noted(reasons, lost, f"{column.name} {_NOT_UTF8}")
    return {} if reasons is None else {FAULT: reasons}


def _number_of(cells: pl.DataFrame, rows: pl.Series) -> int:
    """How many of `rows` are among these cells."""
    return cells.join(rows.to_frame(_ROW), on=_ROW, how="semi").height if rows.len() else 0


def _settle_date(read: Cells, file: TableFile) -> None:
    """Gives every row a date: the one that its file's path names, else, where its own cannot be read, its neighbour's."""
    own = file.service_date
    if own is None:
        read.values = read.values.fill_null(strategy="forward").fill_null(strategy="backward")
        return
    other = (read.values != own).fill_null(False)
    if other.any():
        problem = f"is outside the file's own date, {own}"
        read.faults.append((problem, other))
    read.values = pl.Series(read.values.name, [own], pl.Date).new_from_index(0, read.values.len())


def _require_some(file: TableFile, column: TidesColumn, cells: pl.DataFrame, read: Cells) -> None:
    """Raises `BadInput` where a column has cells and none of them is a value."""
    cell = cells[column.name]
    there = cell.len() - cell.null_count()
    wrong = next(
        (where for problem, where in read.faults if problem == f"is not {MEANING[column.kind]}"), None
    )
    if wrong is None or there < LEAST_CELLS or wrong.sum() < there:
        return
    rows = cells.filter(wrong).select(_ROW, column.name).head(_EXAMPLES).iter_rows()
    shown = "; ".join(f"row {row}: {value!r}" for row, value in rows)
    raise BadInput(
        f"{file.path} cannot be used: none of the {there:,} cells of column {column.name} is {MEANING[column.kind]} "
        f"({shown}); correct it at its source"
    )


def _noted(reasons: pl.Series | None, where: pl.Series, reason: str) -> pl.Series:
    """The reasons of rows, with this one where there is none yet."""
    new = pl.Series([reason, None], dtype=pl.String).gather((~where).cast(pl.UInt32))
    return new if reasons is None else reasons.zip_with(reasons.is_not_null(), new)


def _unreadable(file: TableFile, error: Exception) -> BadInput:
    reason = str(error).strip().splitlines()[0]
    if "utf-8" in reason.lower():
        return not_utf8(file)
    if isinstance(error, OSError):
        return unreadable(file, error)
    if file.format == "parquet":
        return BadInput(
            f"{file.path} is no whole Parquet file, half-written perhaps ({reason}); write or copy it again"
        )
    return BadInput(f"{file.path} cannot be read as CSV ({reason}); write or copy it again")
