"""Runs the dashboard's queries with DuckDB on the Parquet files of Iceberg tables.

pyiceberg plans the files of a snapshot, and DuckDB reads them. DuckDB's own `iceberg_scan` is not used, because it lost rows
without an error (duckdb-iceberg issue 681).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from threading import Lock
from typing import Protocol
from urllib.parse import urlsplit

import duckdb
import polars as pl
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table as IcebergTable

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import asset_of
from ruter_dagster.contracts.tables import DataType, Table
from ruter_dagster.storage.tables import TableStore
from ruter_dagster.storage.version_properties import versions_of

Value = date | str | int | float | Sequence[str] | None

DUCKDB_TYPES: Mapping[DataType, str] = {
    "string": "VARCHAR",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float64": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMPTZ",
}
_TABLE = re.compile(r'"\$\{database\}"\."(\w+)"')
_PARAMETER = re.compile(r"\$([a-z]\w*)")
_UNKNOWN_FIELD = 1_000_000
"""First field id of columns that a stored table does not have yet. No file has it, so the column is null."""


_KEPT_SOURCES = 1000
"""Planned tables that are kept in memory: each is a text with the paths of its files."""


@dataclass(frozen=True)
class Dates:
    """The parameters with the first and last date of a table's partition that a query reads."""

    first: str
    last: str


@dataclass(frozen=True)
class Query:
    """A query in SQL that DuckDB and, after translation by sqlglot, Athena run.

    `"${database}"."monitoring_drift"` is the table monitoring.drift, `$line` a parameter. `tables` has each table that the query
    reads, with the parameters that bound its partition. The SQL has the same bounds.
    """

    description: str
    sql: str
    tables: Mapping[Table, Dates] = field(hash=False)

    @property
    def parameters(self) -> frozenset[str]:
        return frozenset(_PARAMETER.findall(_TABLE.sub("", self.sql)))


class Reader(Protocol):
    """What the data of a page are made from: one state, in which each table has one snapshot."""

    def dates(self, table: Table) -> list[date]: ...

    def version(self, table: Table, day: date) -> str | None: ...

    def has_snapshot(self, table: Table, snapshot_id: int) -> bool: ...

    def run(
        self, query: Query, *, snapshots: Mapping[Table, int | None] | None = None, **parameters: Value
    ) -> pl.DataFrame: ...


class Engine:
    """The tables of one state. Threads may share it."""

    def __init__(self, store: TableStore) -> None:
        self.store = store
        self._connection = duckdb.connect(config={"autoinstall_known_extensions": False})
        self._connection.execute("SET TimeZone = 'UTC'")
        self._sources: dict[tuple[str, int, date, date], str] = {}
        self._lock = Lock()

    def reader(self) -> TableReader:
        """The state as it is now. Later writes do not change what the reader reads."""
        return TableReader(self)

    def execute(self, sql: str, parameters: Mapping[str, Value]) -> pl.DataFrame:
        return pl.DataFrame(self._connection.cursor().sql(sql, params=dict(parameters)).to_arrow_table())

    def source(
        self, table: Table, loaded: IcebergTable | None, snapshot_id: int | None, first: date, last: date
    ) -> str:
        """A FROM item of SQL: the rows of the table at a snapshot between two dates. Raises as `TableReader.run` does."""
        if loaded is None or snapshot_id is None:
            return _no_rows(table)
        key = (f"{table.name} {loaded.metadata.table_uuid}", snapshot_id, first, last)
        with self._lock:
            if key not in self._sources:
                if len(self._sources) >= _KEPT_SOURCES:
                    self._sources.clear()
                self._sources[key] = self._planned(table, loaded, snapshot_id, first, last)
        return self._sources[key]

    def _planned(self, table: Table, loaded: IcebergTable, snapshot: int, first: date, last: date) -> str:
        bounds = And(GreaterThanOrEqual(table.partition, first), LessThanOrEqual(table.partition, last))  # type: ignore[arg-type]
        tasks = list(loaded.scan(bounds, snapshot_id=snapshot).plan_files())
        if any(task.delete_files for task in tasks):
            raise PermanentFailure(
                f"Another program deleted rows of {table.name} without rewriting their files, and the dashboard does not read such "
                f"files. Materialise {asset_of(table.name)} again for {first} to {last}, or compact the table."
            )
        paths = sorted(task.file.file_path for task in tasks)
        if not paths:
            return _no_rows(table)
        self._register_object_store(loaded, paths[0])
        files = ", ".join(map(_quoted, paths))
        return f"(SELECT * FROM read_parquet([{files}], schema = {_schema(table, loaded)}))"

    def _register_object_store(self, loaded: IcebergTable, path: str) -> None:
        """Lets DuckDB read the object store through pyiceberg's file system, which has the credentials and the endpoint.

        DuckDB's own extension for S3 is not part of its wheel, and would be downloaded.
        """
        address = urlsplit(path)
        if len(address.scheme) < 2 or address.scheme == "file":
            return
        if not self._connection.filesystem_is_registered(address.scheme):
            from fsspec.implementations.arrow import ArrowFSWrapper

            assert isinstance(loaded.io, PyArrowFileIO)
            store = type("ObjectStore", (ArrowFSWrapper,), {"protocol": address.scheme})
            self._connection.register_filesystem(
                store(loaded.io.fs_by_scheme(address.scheme, address.netloc))
            )


class TableReader:
    """A `Reader` of an engine. Each table is looked up in the catalog once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loaded: dict[str, IcebergTable | None] = {}

    def snapshot_id(self, table: Table) -> int | None:
        """The snapshot that is read; None before the table's first write."""
        loaded = self._load(table)
        current = loaded.current_snapshot() if loaded else None
        return current.snapshot_id if current else None

    def dates(self, table: Table) -> list[date]:
        """The written dates of the table's partition, in order. Opens no data file."""
        return sorted(self._versions(table))

    def version(self, table: Table, day: date) -> str | None:
        """The content version of a date; None if it was never written."""
        return self._versions(table).get(day)

    def has_snapshot(self, table: Table, snapshot_id: int) -> bool:
        loaded = self._load(table)
        return loaded is not None and loaded.snapshot_by_id(snapshot_id) is not None

    def run(
        self, query: Query, *, snapshots: Mapping[Table, int | None] | None = None, **parameters: Value
    ) -> pl.DataFrame:
        """The rows of the query. `snapshots` pins tables to another snapshot than the reader's.

        Raises:
            PermanentFailure: A file cannot be read, or rows were deleted without rewriting their files.
        """
        by_name = {
            view_name(table): self._source(table, dates, snapshots or {}, parameters)
            for table, dates in query.tables.items()
        }
        sql = _TABLE.sub(lambda match: by_name[match.group(1)], query.sql)
        try:
            return self._engine.execute(sql, {name: parameters[name] for name in query.parameters})
        except (duckdb.IOException, duckdb.InvalidInputException, OSError) as error:
            names = ", ".join(table.name for table in query.tables)
            raise PermanentFailure(
                f"A file of {names} cannot be read: {error}. Restore the file, or materialise its date again."
            ) from error

    def _source(
        self,
        table: Table,
        dates: Dates,
        snapshots: Mapping[Table, int | None],
        parameters: Mapping[str, Value],
    ) -> str:
        first, last = parameters[dates.first], parameters[dates.last]
        assert isinstance(first, date) and isinstance(last, date), f"{dates} of {table.name} are no dates"
        snapshot_id = snapshots.get(table) or self.snapshot_id(table)
        return self._engine.source(table, self._load(table), snapshot_id, first, last)

    def _versions(self, table: Table) -> dict[date, str]:
        loaded = self._load(table)
        return versions_of(loaded.properties) if loaded else {}

    def _load(self, table: Table) -> IcebergTable | None:
        if table.name not in self._loaded:
            self._loaded[table.name] = self._engine.store.load(table)
        return self._loaded[table.name]


def view_name(table: Table) -> str:
    """The table's name in the SQL of queries, and in a Glue database: monitoring_drift for monitoring.drift."""
    return table.name.replace(".", "_")


def _schema(table: Table, loaded: IcebergTable) -> str:
    """DuckDB's schema argument: the contract's columns, found in files by Iceberg's field ids."""
    ids = {column.name: column.field_id for column in loaded.schema().fields}
    entries = [
        f"{ids.get(column.name, _UNKNOWN_FIELD + number)}: "
        f"{{name: '{column.name}', type: '{DUCKDB_TYPES[column.type]}', default_value: NULL}}"
        for number, column in enumerate(table.columns)
    ]
    return f"MAP {{{', '.join(entries)}}}"


def _no_rows(table: Table) -> str:
    columns = ", ".join(
        f"CAST(NULL AS {DUCKDB_TYPES[column.type]}) AS {column.name}" for column in table.columns
    )
    return f"(SELECT {columns} WHERE false)"


def _quoted(path: str) -> str:
    """The path as a string of SQL. Its special characters are not a pattern."""
    plain = path.removeprefix("file://")
    escaped = re.sub(r"([*?\[])", r"[\1]", plain)
    return "'" + escaped.replace("'", "''") + "'"
