"""Writing and reading the Iceberg tables: whole dates, checked before the commit, replaced atomically.

The version of a date is the hash of its rows' content. The current versions are properties of the table, so that one
read of its metadata tells them all; the snapshot's summary has those that it wrote, so that a pinned snapshot knows its own.
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
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, ValidationException
from pyiceberg.table import Table as IcebergTable
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from ruter_dagster.compat.iceberg import CachedTransaction
from ruter_dagster.contracts.tables import Table
from ruter_dagster.contracts.validation import conform, content_hash_of_ordered, ordered_by_key, validate
from ruter_dagster.storage.catalog import open_catalog, open_table, storage_faults
from ruter_dagster.storage.data_files import write_data_files
from ruter_dagster.storage.snapshots import (
    TableSnapshot,
    damaged_dates,
    dates_filter,
    origin_of,
    origin_property,
)
from ruter_dagster.storage.versions import version_property, versions_of

_EXPIRY_BATCH = 20


@dataclass(frozen=True)
class WriteResult:
    """What a write left: the snapshot, the rows given, the version of each date, and the dates that had it already."""

    snapshot_id: int
    rows: int
    hashes: dict[date, str]
    unchanged: tuple[date, ...]


class TableStore:
    """The tables of one catalog.

    `properties` are pyiceberg's: `type`, `uri`, `warehouse` … (`catalog.local_catalog` has those of a folder). With
    `database`, all tables lie in that one namespace (a Glue database) as `<namespace>_<table>`. Of each table
    the newest `keep_snapshots` are kept, and up to 20 more, because a commit's and a read's time grow with their number: a
    run that was pinned to an older one cannot be replayed. None is forgotten while jobs of a running step may be pinned to
    it, `keep_for` after it was made.
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
        made_from: Mapping[date, str] | None = None,
        code_version: str,
    ) -> WriteResult:
        """Replace exactly `dates` of the table by the frame's rows, in one commit; other dates stay as they are.

        Dates whose rows have not changed are left alone. Of several writers of one date the last one stands, whole.
        `inputs` (what the rows were made from: name to version or snapshot) and `code_version` go into the snapshot;
        `made_from` (a hash of all that a date's rows follow from) is what `TableSnapshot.standing` compares later.

        Raises:
            BadInput: the frame breaks the contract; nothing was written.
            PermanentFailure: the catalog cannot be used, or there is no room; the former snapshot stands.
        """
        ordered = ordered_by_key(conform(frame, table), table)
        # Beside each other: the hash takes one core, a third of a large write's time.
        with ThreadPoolExecutor(1) as beside:
            hashing = beside.submit(_hashes, ordered, table, dates)
            validate(ordered, table, dates)
        hashes = hashing.result()
        summary = {"code-version": code_version, "inputs": json.dumps(dict(inputs or {}), sort_keys=True)}
        # pyiceberg itself retries commits that do not conflict; those of the same date start over from the new state.
        attempts = Retrying(
            retry=retry_if_exception_type((CommitFailedException, ValidationException)),
            stop=stop_after_attempt(10),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            reraise=True,
        )
        with storage_faults(self._properties):
            return attempts(self._commit, table, ordered, hashes, summary, made_from or {})

    def read(
        self,
        table: Table,
        dates: Collection[date],
        *,
        columns: Sequence[str] | None = None,
        snapshot_id: int | None = None,
    ) -> pl.DataFrame:
        """The rows of `dates`, sorted by key, of the contract's types; only these dates' files are opened.

        Raises:
            DateMissing: a date was never written; the message names the asset to materialise.
        """
        return self.snapshot(table, snapshot_id).read(dates, columns)

    def versions(
        self, table: Table, dates: Collection[date], snapshot_id: int | None = None
    ) -> dict[date, str]:
        """The content version of each of `dates` that the table has."""
        return self.snapshot(table, snapshot_id).versions(dates)

    def versions_by_name(self, table: str) -> dict[date, str]:
        """The content version of every date of the table of that name; none where there is no such table."""
        with storage_faults(self._properties):
            try:
                return versions_of(self._catalog.load_table(self._identifier(table)).properties)
            except NoSuchTableError:
                return {}

    def dates(self, table: Table) -> list[date]:
        """All dates that were ever written, in order."""
        return self.snapshot(table).dates()

    def current_snapshot(self, table: Table) -> int | None:
        """Id of the newest snapshot; None before the first write."""
        return self.snapshot(table).snapshot_id

    def snapshot(self, table: Table, snapshot_id: int | None = None) -> TableSnapshot:
        """The table as it is now, or as a pinned snapshot left it: later writes do not change what it reads."""
        with storage_faults(self._properties):
            try:
                loaded = self._catalog.load_table(self._identifier(table.name))
            except NoSuchTableError:
                loaded = None
        return TableSnapshot(table, loaded, self._properties, snapshot_id)

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
        made_from: Mapping[date, str],
    ) -> WriteResult:
        loaded = open_table(self._catalog, self._identifier(table.name), table)
        same = {
            day for day, version in hashes.items() if version == loaded.properties.get(version_property(day))
        }
        origins = {origin_property(day): origin_of(digest, hashes[day]) for day, digest in made_from.items()}
        # The same rows again mend what a disk has lost.
        same -= damaged_dates(loaded, table.partition, same)
        changed = [day for day in hashes if day not in same]
        if changed:
            versions = {version_property(day): hashes[day] for day in changed}
            rows = ordered.filter(pl.col(table.partition).is_in(changed)) if same else ordered
            told, files = {**summary, **versions}, list(write_data_files(loaded, rows))
            with CachedTransaction(loaded) as transaction:
                transaction.delete(dates_filter(table.partition, changed), snapshot_properties=told)
                with transaction.update_snapshot(snapshot_properties=told).merge_append() as append:
                    for file in files:
                        append.append_data_file(file)
                transaction.set_properties(versions | origins)
        # Told now: a further commit would bring along what others have written since.
        snapshot = loaded.current_snapshot()
        assert snapshot is not None, f"{table.name} has versions but no snapshot"
        if changed:
            self._forget_old_snapshots(loaded)
        elif not origins.items() <= loaded.properties.items():
            with CachedTransaction(loaded) as transaction:
                transaction.set_properties(origins)
        return WriteResult(snapshot.snapshot_id, ordered.height, hashes, tuple(sorted(same)))

    def _forget_old_snapshots(self, loaded: IcebergTable) -> None:
        """In a commit of its own, a batch at a time; where another writer was faster, the next write does it."""
        times = sorted(snapshot.timestamp_ms for snapshot in loaded.snapshots())
        newest = [datetime.fromtimestamp(time / 1000, UTC) for time in times[-self._keep_snapshots :]]
        before = min(newest[0], datetime.now(UTC) - self._keep_for)
        if sum(time < before.timestamp() * 1000 for time in times) >= _EXPIRY_BATCH:
            # Where another has forgotten them meanwhile, pyiceberg raises ValueError.
            with suppress(CommitFailedException, ValueError):
                loaded.maintenance.expire_snapshots().older_than(before).commit()


def _hashes(ordered: pl.DataFrame, table: Table, dates: Collection[date]) -> dict[date, str]:
    parts = ordered.partition_by(table.partition, as_dict=True)
    return {
        day: content_hash_of_ordered(parts.get((day,), ordered.clear()), table) for day in sorted(set(dates))
    }
