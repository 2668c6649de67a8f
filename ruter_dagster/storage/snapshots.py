"""Reads a table at one snapshot: its dates, their versions and their rows. Writing belongs in tables.py."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import cached_property, reduce

import polars as pl
from pyiceberg.expressions import And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual, Or
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import asset_of
from ruter_dagster.contracts.tables import Table
from ruter_dagster.contracts.validation import content_hash, empty_frame, ordered_by_key, polars_schema
from ruter_dagster.storage.catalog import translate_storage_errors
from ruter_dagster.storage.version_properties import versions_of

_INPUT_HASH = "input-hash."
_DAY_ZERO = date(1970, 1, 1)
_PARALLEL_LOOKUPS = 16
_OBJECT_STORE_OPTIONS = {
    "s3.access-key-id": "aws_access_key_id",
    "s3.secret-access-key": "aws_secret_access_key",
    "s3.session-token": "aws_session_token",
    "s3.region": "aws_region",
    "s3.endpoint": "aws_endpoint_url",
}


class DateMissing(PermanentFailure):
    """Dates that were never written to a table."""

    def __init__(self, table: Table, dates: Collection[date], snapshot_id: int | None) -> None:
        listed = ", ".join(map(str, sorted(dates)[:5]))
        listed += f" and {len(dates) - 5} more" if len(dates) > 5 else ""
        pinned = f" in its pinned snapshot {snapshot_id}" if snapshot_id else ""
        super().__init__(
            f"{table.name} has no {table.partition} {listed}{pinned}. Materialise {asset_of(table.name)} for it first."
        )
        self.table, self.dates = table, tuple(sorted(dates))


class TableSnapshot:
    """A table at one snapshot. `snapshot_id` is None before the first write."""

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
                f"{table.name} has no snapshot {snapshot_id} in the warehouse {properties.get('warehouse')}. The snapshot has "
                "expired, because a table keeps only its newest ones, or it belongs to another warehouse. "
                "Materialise again without that pin."
            )

    def dates(self) -> list[date]:
        """All dates that were written, in order, including dates written without rows."""
        return sorted(self.versions(self._newest_versions()))

    def versions(self, dates: Collection[date]) -> dict[date, str]:
        """The content version of each of `dates` that the table has.

        Rows are read only for a date that was rewritten after the pinned snapshot, or by a snapshot that was rolled back, if the
        date's own snapshot has expired.
        """
        newest = self._newest_versions()
        versions = {day: newest[day] for day in sorted(set(dates)) if day in newest}
        rewritten = self._dates_rolled_back | (self._dates_rewritten_since() if self._pinned else set())
        for day in versions.keys() & rewritten:
            version = next((written[day] for written in self._versions_by_write() if day in written), None)
            version = version or self._version_of_rows(day)
            if version:
                versions[day] = version
            else:
                del versions[day]
        return versions

    def unchanged_dates(self, input_hashes: Mapping[date, str]) -> dict[date, str]:
        """The dates that were last written with these input hashes and have undamaged files, with their versions.

        `input_hashes` are those that were passed to `TableStore.write`. Compares the newest rows, even if a snapshot is pinned.
        A date whose write was rolled back is not among them.
        """
        properties = self._loaded.properties if self._loaded else {}
        newest = TableSnapshot(self._table, self._loaded, self._properties, None)
        unchanged = {
            day: version
            for day, version in newest.versions(input_hashes).items()
            if properties.get(input_hash_property(day)) == input_hash_value(input_hashes[day], version)
        }
        damaged = damaged_dates(self._loaded, self._table.partition, unchanged) if self._loaded else set()
        return {day: version for day, version in unchanged.items() if day not in damaged}

    def rows_by_date(self, dates: Collection[date]) -> dict[date, int]:
        """The number of rows of each date that has any, from the table's metadata. Opens no data file."""
        rows: dict[date, int] = {}
        if dates and self._loaded is not None and self.snapshot_id is not None:
            row_filter = dates_filter(self._table.partition, dates)
            for task in self._loaded.scan(row_filter, snapshot_id=self.snapshot_id).plan_files():
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
        """The rows of `dates`, sorted by key.

        `ordered=False` skips the sort and takes a third of the time and memory. `where` keeps the rows for which it is true,
        while files are read. Raises `DateMissing` if a date was never written.
        """
        missing = set(dates) - set(self.versions(dates))
        if missing:
            raise DateMissing(self._table, missing, self.snapshot_id if self._pinned else None)
        with translate_storage_errors(self._properties):
            return self._rows(dates, columns, ordered, where)

    def _newest_versions(self) -> dict[date, str]:
        """The version of each date's newest write, even if it was rolled back: a rollback leaves the table's properties."""
        properties = self._loaded.properties if self._loaded else {}
        return versions_of(properties)

    def _ancestors(self, newest: Snapshot | None) -> Iterator[Snapshot]:
        """The snapshot and all earlier ones that the table still has, newest first."""
        assert self._loaded is not None
        while newest is not None:
            yield newest
            parent = newest.parent_snapshot_id
            newest = self._loaded.snapshot_by_id(parent) if parent is not None else None

    def _dates_rewritten_since(self) -> set[date]:
        """Dates that were written after this snapshot; all dates if a snapshot in between has expired."""
        assert self._loaded is not None
        later: set[date] = set()
        for snapshot in self._ancestors(self._loaded.current_snapshot()):
            if snapshot.snapshot_id == self.snapshot_id:
                return later
            later |= versions_of(_summary(snapshot)).keys()
        return set(self._newest_versions())

    @cached_property
    def _dates_rolled_back(self) -> set[date]:
        """Dates that were written by snapshots that the table still has, and that were rolled back."""
        ancestors = list(self._ancestors(self._loaded.current_snapshot())) if self._loaded else []
        if self._loaded is None or not ancestors:
            return set()
        ids = {each.snapshot_id for each in ancestors}
        # Older snapshots may have lost the connection by an expiry in between.
        oldest = ancestors[-1].sequence_number or 0
        apart = [each for each in self._loaded.snapshots() if each.snapshot_id not in ids]
        rolled_back = [each for each in apart if (each.sequence_number or 0) > oldest]
        return {day for each in rolled_back for day in versions_of(_summary(each))}

    def _versions_by_write(self) -> Iterator[dict[date, str]]:
        """The versions that each write up to this snapshot wrote, newest first."""
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
        tasks = sorted(scan.plan_files(), key=lambda task: task.file.partition[0])
        paths = [task.file.file_path for task in tasks]
        if any(task.delete_files for task in tasks):
            # Another engine deleted rows without rewriting the files. Only pyiceberg applies these deletions.
            frame = pl.DataFrame(scan.to_arrow()).lazy()
        elif tasks:
            frame = self._scan(paths)
        else:
            frame = empty_frame(self._table).lazy()
        frame = frame if where is None else frame.filter(where)
        try:
            if not ordered:
                return frame.select(names).collect()
            # Files are written in this order, so that their rows are rarely sorted again.
            rows = frame.select(*dict.fromkeys((*names, *self._table.key))).collect()
            return ordered_by_key(rows, self._table).select(names)
        except pl.exceptions.ComputeError as error:
            raise PermanentFailure(
                f"{self._table.name} has files that cannot be read: {', '.join(self._unreadable(paths)[:5])}: {error}. "
                f"Restore the files, or materialise {asset_of(self._table.name)} again for their dates."
            ) from error

    @property
    def _options(self) -> dict[str, str] | None:
        """The object store's settings for polars. Like pyiceberg, polars takes missing ones from the environment."""
        names = _OBJECT_STORE_OPTIONS.items()
        return {option: self._properties[name] for name, option in names if name in self._properties} or None

    def _scan(self, paths: list[str]) -> pl.LazyFrame:
        return pl.scan_parquet(
            paths,
            schema=polars_schema(self._table),
            missing_columns="insert",
            extra_columns="ignore",
            cast_options=pl.ScanCastOptions(integer_cast="upcast"),
            hive_partitioning=False,
            # Brackets and stars in a folder's name are not patterns.
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


def input_hash_property(day: date) -> str:
    """Name of the table property with the input hash of a date."""
    return f"{_INPUT_HASH}{day}"


def input_hash_value(input_hash: str, version: str) -> str:
    """Value of that property. It includes the version of the rows, so that rows of another writer do not match it."""
    return f"{version}:{input_hash}"


def dates_filter(partition: str, dates: Collection[date]) -> BooleanExpression:
    """An Iceberg filter for whole dates, as ranges, because Iceberg does not prune lists of over 200 values."""
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
    """The dates with a data file that is missing or has another size than written. Opens no file."""

    def damaged(task: FileScanTask) -> bool:
        try:
            return len(loaded.io.new_input(task.file.file_path)) != task.file.file_size_in_bytes
        except FileNotFoundError:
            return True

    if not dates:
        return set()
    tasks = list(loaded.scan(dates_filter(partition, dates)).plan_files())
    with ThreadPoolExecutor(_PARALLEL_LOOKUPS) as lookups:
        results = list(lookups.map(damaged, tasks))
    return {
        _DAY_ZERO + timedelta(days=task.file.partition[0])
        for task, is_damaged in zip(tasks, results, strict=True)
        if is_damaged
    }


def _summary(snapshot: Snapshot) -> Mapping[str, str]:
    return snapshot.summary.additional_properties if snapshot.summary else {}
