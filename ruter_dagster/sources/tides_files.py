"""Finds the files of TIDES tables below a folder or object-store prefix, with their format, version and date.

Reading their rows belongs in tides_tables.py.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import obstore
from obstore.store import LocalStore

from ruter_dagster.aws.object_store import open_store
from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources.tides_schema import TidesTable

_SAMPLE = 65_536
_DATE = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class TableFile:
    """One file of a table. `service_date` is the date in its path, if any; `version` changes with the content."""

    path: str
    url: str
    format: Literal["csv", "parquet"]
    size: int
    version: str
    service_date: date | None


@dataclass(frozen=True)
class CsvFormat:
    """The columns of a CSV file in order, and their separator."""

    columns: tuple[str, ...]
    separator: str


class Folder:
    """The folder or object-store prefix (`s3://bucket/prefix`) that holds the tables.

    Credentials, region and endpoint of an object store come from the `AWS_*` variables.
    """

    def __init__(self, location: str | Path) -> None:
        self.location = str(location).rstrip("/")
        self._remote = "://" in self.location

    def files(self, table: TidesTable) -> list[TableFile]:
        """`<table>.csv`, `<table>.parquet`, or every such file below `<table>/`, in order of their paths.

        An optional table may have no file. Raises `BadInput` if the folder is unreadable, or the table is missing or exists twice.
        """
        files = [file for meta in self._listing() if (file := self._table_file(meta, table))]
        if not files and not table.optional:
            raise BadInput(
                f"TIDES table {table.name} is missing in {self.location}: expected {table.name}.csv, {table.name}.parquet "
                f"or a folder {table.name}/ of such files"
            )
        single_files = [file.path for file in files if "/" not in file.path]
        if single_files and len(files) > 1:
            paths = ", ".join(file.path for file in files[:3])
            raise BadInput(
                f"TIDES table {table.name} exists more than once in {self.location} ({paths} …): keep one of them"
            )
        return sorted(files, key=lambda file: file.path)

    def csv_format(self, file: TableFile) -> CsvFormat:
        """Columns and separator of a CSV file. Raises `BadInput` if its header is not UTF-8, or the file ends within a row."""
        head = self._bytes(file, 0, min(_SAMPLE, file.size))
        header = head.splitlines()[0] if head else b""
        if header.startswith(_UTF_16_MARKS) or b"\0" in header:
            raise not_utf8(file, "UTF-16")
        try:
            first = header.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise not_utf8(file) from None
        if not first.strip():
            raise BadInput(f"{file.path} is empty and has no header; write it again")
        separator = max(_SEPARATORS, key=first.count)
        columns = tuple(name.strip() for name in next(csv.reader([first], delimiter=separator)))
        if twice := [name for name, number in Counter(columns).items() if name and number > 1]:
            raise BadInput(
                f"{file.path} has the column {', '.join(twice)} more than once; keep one of each, or rename the other"
            )
        self._check_end(file, len(columns), separator)
        return CsvFormat(columns, separator)

    def _check_end(self, file: TableFile, columns: int, separator: str) -> None:
        """Raises `BadInput` if the last row is incomplete, because the file is being written or its copy was interrupted."""
        start = max(0, file.size - _SAMPLE)
        tail = self._bytes(file, start, file.size - start).decode("utf-8", errors="replace")
        fields = _fields_of_last_row(tail, separator)
        if fields is not None and fields < columns:
            raise BadInput(
                f"{file.path} is half-written: its last row has {fields} of {columns} columns; copy it again"
            )

    def _table_file(self, meta: Any, table: TidesTable) -> TableFile | None:
        path = meta["path"]
        # Spark, Delta and macOS write such files: _temporary/, _delta_log/, ._name.
        if any(part.startswith((".", "_")) for part in path.split("/")):
            return None
        stem, _, ending = path.rpartition(".")
        if ending not in ("csv", "parquet") or not (stem == table.name or path.startswith(f"{table.name}/")):
            return None
        dates = _DATE.findall(path) if table.dated else []
        return TableFile(
            path=path,
            url=f"{self.location}/{path}",
            format=ending,
            size=meta["size"],
            version=self._version(meta),
            service_date=_date_in_path(path, dates),
        )

    def _version(self, meta: Any) -> str:
        """A text that changes with the file's content. In an object store, writing the same content again does not change it."""
        written = "" if self._remote else f" {meta['last_modified']}"
        return f"{meta['e_tag']}{written} {meta['size']}"

    def _listing(self) -> list[Any]:
        if not self._remote and not Path(self.location).is_dir():
            raise BadInput(f"TIDES folder {self.location} does not exist or is not a folder; check its path")
        try:
            return [meta for batch in self._store().list() for meta in batch]
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(
                f"TIDES folder {self.location} cannot be read ({reason}); check its path and permissions"
            ) from None

    def _store(self) -> Any:
        return open_store(self.location) if self._remote else LocalStore(self.location)

    def _bytes(self, file: TableFile, start: int, length: int) -> bytes:
        return (
            bytes(obstore.get_range(self._store(), file.path, start=start, length=length)) if length else b""
        )


def _fields_of_last_row(tail: str, separator: str) -> int | None:
    """Number of columns in the last row of a file without a final line end; None if it ends with a line end.

    A quoted cell may contain line ends: lines belong to the same row until the number of quotes is even.
    """
    lines = tail.splitlines(keepends=True)
    if not lines or lines[-1].endswith(("\n", "\r")) or not lines[-1].strip():
        return None
    row = lines.pop()
    while row.count('"') % 2 and lines:
        row = lines.pop() + row
    return len(list(csv.reader(row.splitlines(keepends=True), delimiter=separator))[-1])


def unreadable(file: TableFile, error: Exception) -> BadInput:
    """The error of a file that the disk or the object store cannot read."""
    reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
    return BadInput(
        f"{file.path} cannot be read ({reason}); check that it exists and that this user may read it"
    )


def not_utf8(file: TableFile, encoding: str = "Latin-1") -> BadInput:
    """The error of a file that is not UTF-8. `encoding` is the probable encoding."""
    return BadInput(f"{file.path} is not UTF-8 ({encoding}, perhaps); save it as UTF-8")


def _date_in_path(path: str, dates: list[str]) -> date | None:
    """The single service date in a path such as `stop_visits/2026-11-20.csv` or `stop_visits/service_date=2026-11-20/0.parquet`."""
    if len(set(dates)) != 1:
        return None
    try:
        return date.fromisoformat(dates[0])
    except ValueError:
        raise BadInput(f"{path} has a date that does not exist ({dates[0]}); rename it") from None
