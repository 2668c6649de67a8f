"""Writes and reads Iceberg tables: whole dates, checked before the commit, replaced atomically.

The version of a date is the hash of its rows. Table properties have the current version of each date, so that one read of
the metadata returns them all. Each snapshot's summary has the versions that it wrote, for reading at a pinned snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

import polars as pl
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchNamespaceError,
    NoSuchTableError,
    ValidationException,
)
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update.snapshot import ExpireSnapshots
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from ruter_dagster.compat.iceberg import CachedTransaction
from ruter_dagster.contracts.tables import LOAD_FORECASTS, PUBLICATIONS, Table
from ruter_dagster.contracts.validation import conform, content_hash_of_ordered, ordered_by_key, validate
from ruter_dagster.storage.catalog import (
    GC_ENABLED,
    open_catalog,
    open_table,
    register_table,
    translate_storage_errors,
)
from ruter_dagster.storage.data_files import write_data_files
from ruter_dagster.storage.publication_order import published_snapshots
from ruter_dagster.storage.snapshots import (
    TableSnapshot,
    damaged_dates,
    dates_filter,
    input_hash_property,
    input_hash_value,
)
from ruter_dagster.storage.version_properties import version_property, versions_of

_EXPIRY_BATCH = 20


@dataclass(frozen=True)
class WriteResult:
    """The result of a write: snapshot, number of rows, version of each date, and the dates whose rows did not change."""

    snapshot_id: int
    rows: int
    hashes: dict[date, str]
    unchanged: tuple[date, ...]


class TableStore:
    """The tables of one catalog.

    `properties` are those of pyiceberg: `type`, `uri`, `warehouse` … (`catalog.local_catalog` returns those of a folder).
    With `database`, all tables are in that namespace (a Glue database), named `<namespace>_<table>`.

    A table keeps its newest `keep_snapshots` snapshots and up to 20 more, because commits and reads slow down with their
    number. A run that is pinned to an expired snapshot cannot be replayed. Snapshots younger than `keep_for` never expire,
    because running jobs may be pinned to them. Snapshots of forecasts that the newest publication of an issue date needs
    (`published_snapshots`) do not expire either.
    """

    def __init__(
        self,
        properties: Mapping[str, str],
        database: str | None = None,
        keep_snapshots: int = 100,
        keep_for: timedelta = timedelta(days=1),
    ) -> None:
        self._properties = dict(properties)
        self._database = database
        self._keep_snapshots, self._keep_for = keep_snapshots, keep_for

    def write(
        self,
        table: Table,
        frame: pl.DataFrame,
        dates: Collection[date],
        *,
        inputs: Mapping[str, str] | None = None,
        input_hashes: Mapping[date, str] | None = None,
        code_version: str,
    ) -> WriteResult:
        """Replaces the rows of `dates`, and of no other date, with the rows of the frame, in one commit.

        Dates with the same rows as before are not written. If several processes write a date, the last one wins.
        `inputs` (version or snapshot by name) and `code_version` are recorded in the snapshot. `input_hashes` has by date a
        hash of everything that the rows depend on, for `TableSnapshot.unchanged_dates`.

        Raises:
            BadInput: the frame breaks the contract. The table is unchanged.
            PermanentFailure: the catalog cannot be used, or the disk is full. The table is unchanged.
        """
        ordered = ordered_by_key(conform(frame, table), table)
        # In parallel, to shorten large writes: the hash uses one core for a third of the time.
        with ThreadPoolExecutor(1) as executor:
            hashing = executor.submit(_hashes, ordered, table, dates)
            validate(ordered, table, dates)
        hashes = hashing.result()
        summary = {"code-version": code_version, "inputs": json.dumps(dict(inputs or {}), sort_keys=True)}
        # pyiceberg retries commits that do not conflict. Conflicting commits are repeated here, on the newest state.
        attempts = Retrying(
            retry=retry_if_exception_type((CommitFailedException, ValidationException)),
            stop=stop_after_attempt(10),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            reraise=True,
        )
        with translate_storage_errors(self._properties):
            return attempts(self._commit, table, ordered, hashes, summary, input_hashes or {})

    def read(
        self,
        table: Table,
        dates: Collection[date],
        *,
        columns: Sequence[str] | None = None,
        snapshot_id: int | None = None,
    ) -> pl.DataFrame:
        """The rows of `dates`, sorted by key, with the contract's types. Opens only the files of these dates.

        Raises:
            DateMissing: a date was never written. The message names the asset to materialise.
        """
        return self.snapshot(table, snapshot_id).read(dates, columns)

    def versions(
        self, table: Table, dates: Collection[date], snapshot_id: int | None = None
    ) -> dict[date, str]:
        """The content version of each of `dates` that was written."""
        return self.snapshot(table, snapshot_id).versions(dates)

    def versions_by_name(self, table: str) -> dict[date, str]:
        """The content version of every date of the named table; empty if the table does not exist."""
        with translate_storage_errors(self._properties):
            try:
                return versions_of(self._catalog.load_table(self._identifier(table)).properties)
            except NoSuchTableError:
                return {}

    def dates(self, table: Table) -> list[date]:
        """All dates that were written, in order."""
        return self.snapshot(table).dates()

    def current_snapshot(self, table: Table) -> int | None:
        """The id of the newest snapshot; None before the first write."""
        return self.snapshot(table).snapshot_id

    def snapshot(self, table: Table, snapshot_id: int | None = None) -> TableSnapshot:
        """The table at the current or a pinned snapshot. Later writes do not change what it reads."""
        with translate_storage_errors(self._properties):
            try:
                loaded = self._catalog.load_table(self._identifier(table.name))
            except NoSuchTableError:
                loaded = None
        return TableSnapshot(table, loaded, self._properties, snapshot_id)

    def load(self, table: Table) -> IcebergTable | None:
        """The Iceberg table of the catalog; None before the first write."""
        with translate_storage_errors(self._properties):
            try:
                loaded = self._catalog.load_table(self._identifier(table.name))
            except NoSuchTableError:
                return None
        return loaded if loaded.current_snapshot() else None

    def new_location(self, table: Table) -> str:
        """The folder of a table that is registered with metadata from elsewhere."""
        return "/".join((self._properties["warehouse"].rstrip("/"), *self._identifier(table.name)))

    def register(self, table: Table, metadata: TableMetadata) -> None:
        """Adds a table with this metadata to the catalog. The metadata are written to a new file in their own location."""
        with translate_storage_errors(self._properties):
            register_table(self._catalog, self._identifier(table.name), metadata)

    def drop(self, table: Table) -> None:
        """Removes a table from the catalog, if it exists. Its files remain: other tables may refer to them."""
        with translate_storage_errors(self._properties), suppress(NoSuchTableError, NoSuchNamespaceError):
            self._catalog.drop_table(self._identifier(table.name))

    @property
    def database(self) -> str | None:
        """The namespace of all tables; None if each table's name has its own."""
        return self._database

    @cached_property
    def _catalog(self) -> Catalog:
        return open_catalog(self._properties)

    def _identifier(self, table: str) -> tuple[str, str]:
        namespace, name = table.split(".")
        return (self._database, f"{namespace}_{name}") if self._database else (namespace, name)

    def _commit(
        self,
        table: Table,
        ordered: pl.DataFrame,
        hashes: dict[date, str],
        summary: Mapping[str, str],
        input_hashes: Mapping[date, str],
    ) -> WriteResult:
        loaded = open_table(self._catalog, self._identifier(table.name), table)
        newest = TableSnapshot(table, loaded, self._properties, None)
        unchanged = _unchanged_dates(newest, loaded, table, hashes)
        properties = {
            input_hash_property(day): input_hash_value(input_hash, hashes[day])
            for day, input_hash in input_hashes.items()
        }
        changed = [day for day in hashes if day not in unchanged]
        if changed:
            rows = ordered.filter(pl.col(table.partition).is_in(changed)) if unchanged else ordered
            versions = {version_property(day): hashes[day] for day in changed}
            _replace_dates(loaded, table, rows, changed, {**summary, **versions}, versions | properties)
        # Read before any further commit, which would include the writes of other processes.
        snapshot = loaded.current_snapshot()
        assert snapshot is not None, f"{table.name} has versions but no snapshot"
        if changed:
            self._expire_old_snapshots(table, loaded)
        elif not properties.items() <= loaded.properties.items():
            with CachedTransaction(loaded) as transaction:
                transaction.set_properties(properties)
        return WriteResult(snapshot.snapshot_id, ordered.height, hashes, tuple(sorted(unchanged)))

    def _expire_old_snapshots(self, table: Table, loaded: IcebergTable) -> None:
        """Expires a batch of snapshots in a commit of its own. If another writer commits first, the next write does it.

        A clone keeps all snapshots, because it shares them with the table that it was cloned from.
        """
        if loaded.properties.get(GC_ENABLED) == "false":
            return
        times = sorted(snapshot.timestamp_ms for snapshot in loaded.snapshots())
        newest = [datetime.fromtimestamp(time / 1000, UTC) for time in times[-self._keep_snapshots :]]
        before = min(newest[0], datetime.now(UTC) - self._keep_for).timestamp() * 1000
        old = {each.snapshot_id for each in loaded.snapshots() if each.timestamp_ms < before}
        # Tags and branches. The branch `main` is the current snapshot, which is old after a rollback.
        old -= {ref.snapshot_id for ref in loaded.metadata.refs.values()}
        if len(old) >= _EXPIRY_BATCH and table is LOAD_FORECASTS:
            old -= published_snapshots(self.snapshot(table), self.snapshot(PUBLICATIONS))
        if len(old) >= _EXPIRY_BATCH:
            # pyiceberg raises ValueError if another process has expired them meanwhile.
            with suppress(CommitFailedException, ValueError), CachedTransaction(loaded) as transaction:
                ExpireSnapshots(transaction).by_ids(sorted(old)).commit()


def _unchanged_dates(
    newest: TableSnapshot, loaded: IcebergTable, table: Table, hashes: Mapping[date, str]
) -> set[date]:
    """Dates that have these versions already. Dates with damaged files are left out, so that a write repairs them."""
    stored = newest.versions(hashes)
    unchanged = {day for day, version in hashes.items() if version == stored.get(day)}
    return unchanged - damaged_dates(loaded, table.partition, unchanged)


def _replace_dates(
    loaded: IcebergTable,
    table: Table,
    rows: pl.DataFrame,
    dates: Sequence[date],
    summary: Mapping[str, str],
    properties: Mapping[str, str],
) -> None:
    """Replaces whole dates in one commit, which records `summary` in the snapshot and `properties` in the table."""
    files = list(write_data_files(loaded, rows))
    with CachedTransaction(loaded) as transaction:
        transaction.delete(dates_filter(table.partition, dates), snapshot_properties=dict(summary))
        with transaction.update_snapshot(snapshot_properties=dict(summary)).merge_append() as append:
            for file in files:
                append.append_data_file(file)
        transaction.set_properties(dict(properties))


def _hashes(ordered: pl.DataFrame, table: Table, dates: Collection[date]) -> dict[date, str]:
    parts = ordered.partition_by(table.partition, as_dict=True)
    return {
        day: content_hash_of_ordered(parts.get((day,), ordered.clear()), table) for day in sorted(set(dates))
    }
