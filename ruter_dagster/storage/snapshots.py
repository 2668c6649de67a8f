"""Reading a table as one snapshot left it: its dates, their versions, their rows. Nothing here writes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import reduce

import polars as pl
from pyiceberg.expressions import And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual, Or
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import asset_of
from ruter_dagster.contracts.tables import Table
from ruter_dagster.contracts.validation import content_hash, empty_frame, polars_schema
from ruter_dagster.storage.catalog import storage_faults
from ruter_dagster.storage.versions import versions_of

_ORIGIN = "made-from."
_DAY_ZERO = date(1970, 1, 1)
_LOOKERS = 16
_OBJECT_STORE_OPTIONS = {
    "s3.access-key-id": "aws_access_key_id",
    "s3.secret-access-key": "aws_secret_access_key",
    "s3.session-token": "aws_session_token",
    "s3.region": "aws_region",
    "s3.endpoint": "aws_endpoint_url",
}


class DateMissing(PermanentFailure):
    """A date that was never written to a table."""

    def __init__(self, table: Table, dates: Collection[date], snapshot_id: int | None) -> None:
        listed = ", ".join(map(str, sorted(dates)[:5]))
        listed += f" and {len(dates) - 5} more" if len(dates) > 5 else ""
        pinned = f" in its pinned snapshot {snapshot_id}" if snapshot_id else ""
        super().__init__(
            f"{table.name} has no {table.partition} {listed}{pinned}. Materialise {asset_of(table.name)} for it first."
        )
        self.table, self.dates = table, tuple(sorted(dates))


class TableSnapshot:
    """A table at one snapshot; `snapshot_id` is None as long as nothing was written."""

    def __init__(
        self,
        table: Table,
        loaded: IcebergTable | None,
        properties: Mapping[str, str],
        snapshot_id: int | None,
    ) -> None:
        current = loaded.current_snapshot() if loaded else None
        self._table, self._loaded, self._properties = table, loaded, properties
        self._pinned = snapshot_id is not None and (current is None or snapshot_id != current.snapshot_id)
        self.snapshot_id = (
            snapshot_id if snapshot_id is not None else current.snapshot_id if current else None
        )
        if self._pinned and (loaded is None or loaded.snapshot_by_id(self.snapshot_id or 0) is None):
            raise PermanentFailure(
                f"{table.name} has no snapshot {snapshot_id}: it has expired, as a table keeps its newest only, or belongs "
                f"to another warehouse than {properties.get('warehouse')}. It cannot be read as it was then: "
                "materialise again without that pin."
            )

    def dates(self) -> list[date]:
        """All dates that the table has had rows written for (or written as empty), in order."""
        return sorted(self.versions(self._current()))

    def versions(self, dates: Collection[date]) -> dict[date, str]:
        """The content version of each of `dates` that the table has, without opening a data file.

        Only of a date that was rewritten after the pinned snapshot and whose own snapshot has expired are rows read.
        """
        current = self._current()
        found = {day: current[day] for day in sorted(set(dates)) if day in current}
        if not self._pinned:
            return found
        for day in found.keys() & self._rewritten_since():
            version = next((versions[day] for versions in self._written() if day in versions), None)
            version = version or self._version_of_rows(day)
            found = {**found, day: version} if version else {key: found[key] for key in found if key != day}
        return found

    def standing(self, made_from: Mapping[date, str]) -> dict[date, str]:
        """The versions of those dates whose rows follow from just these hashes, as `TableStore.write` was told, and are whole.

        The newest rows are meant, whatever the pin.
        """
        properties = self._loaded.properties if self._loaded else {}
        found = {day: version for day, version in self._current().items() if day in made_from}
        same = {
            day: version
            for day, version in found.items()
            if properties.get(origin_property(day)) == origin_of(made_from[day], version)
        }
        damaged = damaged_dates(self._loaded, self._table.partition, same) if self._loaded else set()
        return {day: version for day, version in same.items() if day not in damaged}

    def rows_by_date(self, dates: Collection[date]) -> dict[date, int]:
        """The number of rows of those dates that have any, as the table's metadata tell; no data file is opened."""
        rows: dict[date, int] = {}
        if dates and self._loaded is not None and self.snapshot_id is not None:
            only = dates_filter(self._table.partition, dates)
            for task in self._loaded.scan(only, snapshot_id=self.snapshot_id).plan_files():
                day = _DAY_ZERO + timedelta(days=task.file.partition[0])
                rows[day] = rows.get(day, 0) + task.file.record_count
        return rows

    def read(
        self,
        dates: Collection[date],
        columns: Sequence[str] | None = None,
        *,
        ordered: bool = True,
        where: pl.Expr | None = None,
    ) -> pl.DataFrame:
        """The rows of `dates`, sorted by key (in any order where not `ordered`, in a third of the time and memory).

        Only those for which `where` is true: others are left out while files are read, and take no memory.

        Raises `DateMissing` where a date was never written.
        """
        missing = set(dates) - set(self.versions(dates))
        if missing:
            raise DateMissing(self._table, missing, self.snapshot_id if self._pinned else None)
        with storage_faults(self._properties):
            return self._rows(dates, columns, ordered, where)

    def _current(self) -> dict[date, str]:
        properties = self._loaded.properties if self._loaded else {}
        return versions_of(properties)

    def _ancestors(self, newest: Snapshot | None) -> Iterator[Snapshot]:
        """The snapshot and those before it, as far as they are kept."""
        assert self._loaded is not None
        while newest is not None:
            yield newest
            parent = newest.parent_snapshot_id
            newest = self._loaded.snapshot_by_id(parent) if parent is not None else None

    def _rewritten_since(self) -> set[date]:
        assert self._loaded is not None
        later: set[date] = set()
        for snapshot in self._ancestors(self._loaded.current_snapshot()):
            if snapshot.snapshot_id == self.snapshot_id:
                break
            later |= versions_of(_summary(snapshot)).keys()
        return later

    def _written(self) -> Iterator[dict[date, str]]:
        assert self._loaded is not None
        pinned = self._loaded.snapshot_by_id(self.snapshot_id or 0)
        return (versions_of(_summary(snapshot)) for snapshot in self._ancestors(pinned))

    def _version_of_rows(self, day: date) -> str | None:
        rows = self._rows([day], None)
        return content_hash(rows, self._table) if rows.height else None

    def _rows(
        self,
        dates: Collection[date],
        columns: Sequence[str] | None,
        ordered: bool = True,
        where: pl.Expr | None = None,
    ) -> pl.DataFrame:
        names = list(columns or self._table.column_names)
        if not dates or self._loaded is None:
            return empty_frame(self._table).select(names)
        scan = self._loaded.scan(dates_filter(self._table.partition, dates), snapshot_id=self.snapshot_id)
        tasks = list(scan.plan_files())
        paths = [task.file.file_path for task in tasks]
        if any(task.delete_files for task in tasks):
            # Another engine deleted rows without rewriting their files: slower, but pyiceberg applies that.
            frame = pl.DataFrame(scan.to_arrow()).lazy()
        elif tasks:
            frame = self._scan(paths)
        else:
            frame = empty_frame(self._table).lazy()
        frame = frame if where is None else frame.filter(where)
        try:
            return (frame.sort(self._table.key) if ordered else frame).select(names).collect()
        except pl.exceptions.ComputeError as error:
            raise PermanentFailure(
                f"{self._table.name} has files that cannot be read: {', '.join(self._unreadable(paths)[:5])}: {error}. "
                f"Restore them, or materialise {asset_of(self._table.name)} for their dates again."
            ) from error

    @property
    def _options(self) -> dict[str, str] | None:
        """How polars reaches the object store; what is not set it finds in the environment, as pyiceberg does."""
        known = _OBJECT_STORE_OPTIONS.items()
        return {theirs: self._properties[ours] for ours, theirs in known if ours in self._properties} or None

    def _scan(self, paths: list[str]) -> pl.LazyFrame:
        return pl.scan_parquet(
            paths,
            schema=polars_schema(self._table),
            missing_columns="insert",
            extra_columns="ignore",
            cast_options=pl.ScanCastOptions(integer_cast="upcast"),
            hive_partitioning=False,
            # A bracket or star in a folder's name is no pattern.
            glob=False,
            storage_options=self._options,
        )

    def _unreadable(self, paths: Sequence[str]) -> list[str]:
        def unreadable(path: str) -> bool:
            try:
                pl.scan_parquet(path, glob=False, storage_options=self._options).collect_schema()
            except (pl.exceptions.PolarsError, OSError):
                return True
            return False

        return [path for path in paths if unreadable(path)]


def origin_property(day: date) -> str:
    """Name of the table's property that tells what a date was made from."""
    return f"{_ORIGIN}{day}"


def origin_of(digest: str, version: str) -> str:
    """Its value: rows that another writer left have another version, and so no known origin."""
    return f"{version}:{digest}"


def dates_filter(partition: str, dates: Collection[date]) -> BooleanExpression:
    """An Iceberg filter for whole dates, as ranges: lists of over 200 values are not pruned by Iceberg."""
    ranges: list[list[date]] = []
    for day in sorted(set(dates)):
        if ranges and day - ranges[-1][1] == timedelta(days=1):
            ranges[-1][1] = day
        else:
            ranges.append([day, day])
    clauses: list[BooleanExpression] = [
        And(GreaterThanOrEqual(partition, first), LessThanOrEqual(partition, last))  # type: ignore[arg-type]
        for first, last in ranges
    ]
    return reduce(Or, clauses)


def damaged_dates(loaded: IcebergTable, partition: str, dates: Collection[date]) -> set[date]:
    """Those of the dates with a data file that is gone, or shorter than it was written; no file is opened."""

    def damaged(task: FileScanTask) -> bool:
        try:
            return len(loaded.io.new_input(task.file.file_path)) != task.file.file_size_in_bytes
        except FileNotFoundError:
            return True

    if not dates:
        return set()
    tasks = list(loaded.scan(dates_filter(partition, dates)).plan_files())
    with ThreadPoolExecutor(_LOOKERS) as lookers:
        flags = list(lookers.map(damaged, tasks))
    return {
        _DAY_ZERO + timedelta(days=task.file.partition[0])
        for task, flag in zip(tasks, flags, strict=True)
        if flag
    }


def _summary(snapshot: Snapshot) -> Mapping[str, str]:
    return snapshot.summary.additional_properties if snapshot.summary else {}
