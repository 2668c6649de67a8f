"""Deletes old dates of tables, expires old snapshots, and deletes files that no snapshot needs.

A file is deleted only after it was unreferenced for a number of days. A clone refers to files that were referenced when it was
made, so that a clone of fewer days never loses a file. Files that a clone in `clones` refers to are never deleted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.table import Table as IcebergTable
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from ruter_dagster.compat.iceberg import CachedTransaction
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import LOAD_FORECASTS, PUBLICATIONS, Table
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.catalog import GC_ENABLED
from ruter_dagster.storage.publication_order import published_snapshots
from ruter_dagster.storage.publications import newest_publication
from ruter_dagster.storage.snapshots import dates_filter, input_hash_property
from ruter_dagster.storage.tables import TableStore
from ruter_dagster.storage.version_properties import version_property

_TABLE_FILE = re.compile(r"data/.*\.parquet|metadata/[^/]*\.(avro|metadata\.json)")
"""Names of the files that a table writes into its folder. No other file is ever deleted."""

_repeat_conflicts = retry(
    retry=retry_if_exception_type((CommitFailedException, ValidationException)),
    stop=stop_after_attempt(10),
    wait=wait_random_exponential(multiplier=0.1, max=5),
    reraise=True,
)


@dataclass(frozen=True)
class Files:
    """Files of a table: `due` are deleted, `waiting` were not unreferenced for long enough. Sizes are in bytes."""

    due: int = 0
    due_bytes: int = 0
    waiting: int = 0


def old_dates(store: TableStore, table: Table, days: int) -> list[date]:
    """The dates of a table that are more than `days` days older than its newest date. `days` 0 keeps every date.

    The issue date of the newest publication is never among them.
    """
    dates = store.dates(table)
    if not dates or not days:
        return []
    published = newest_publication(store) if table in (LOAD_FORECASTS, PUBLICATIONS) else None
    kept = published.issue_date if published else None
    return [day for day in dates if (dates[-1] - day).days > days and day != kept]


@_repeat_conflicts
def delete_dates(store: TableStore, table: Table, dates: Collection[date]) -> None:
    """Deletes the rows of dates in one commit, and their versions. Earlier snapshots keep the rows until they expire."""
    loaded = store.load(table)
    if loaded is None or not dates:
        return
    names = [name(day) for day in dates for name in (version_property, input_hash_property)]
    with CachedTransaction(loaded) as transaction:
        transaction.delete(dates_filter(table.partition, dates))
        transaction.remove_properties(*(name for name in names if name in loaded.properties))


def old_snapshots(store: TableStore, table: Table, before: datetime) -> list[int]:
    """The snapshots of a table that were made before a time, without those that are needed.

    Needed are the current one, tags and branches, and the newest publications whose forecasts were replaced since. A clone has
    no old snapshots, because it shares them with its original.
    """
    loaded = store.load(table)
    if loaded is None or _is_clone(loaded):
        return []
    needed = {ref.snapshot_id for ref in loaded.metadata.refs.values()}
    if table is LOAD_FORECASTS:
        needed |= published_snapshots(store.snapshot(LOAD_FORECASTS), store.snapshot(PUBLICATIONS))
    limit = before.timestamp() * 1000
    return [
        snapshot.snapshot_id
        for snapshot in loaded.snapshots()
        if snapshot.timestamp_ms < limit and snapshot.snapshot_id not in needed
    ]


@_repeat_conflicts
def expire_snapshots(store: TableStore, table: Table, snapshots: Collection[int]) -> None:
    """Removes snapshots from a table. Their files stay until `delete_files` deletes them."""
    loaded = store.load(table)
    if loaded is None:
        return
    present = [snapshot for snapshot in snapshots if loaded.snapshot_by_id(snapshot)]
    if present:
        loaded.maintenance.expire_snapshots().by_ids(present).commit()


def delete_files(
    store: TableStore,
    table: Table,
    artifacts: ArtifactStore,
    at: datetime,
    days: int,
    clones: Collection[TableStore] = (),
    *,
    region: str | None = None,
    dry_run: bool = False,
) -> Files:
    """Deletes the files of a table that were unreferenced for `days` days before the time `at`.

    `artifacts` keeps since when each file is unreferenced. `clones` are states whose tables may refer to these files. With
    `dry_run`, nothing is deleted or recorded.
    """
    loaded = store.load(table)
    if loaded is None or _is_clone(loaded):
        return Files()
    folder = ArtifactStore.at(loaded.location(), region)
    # Files before references: a file that is committed in between is referenced.
    files = {key: file for key, file in folder.details("").items() if _TABLE_FILE.fullmatch(key)}
    needed = _needed_keys(store, table, clones)
    _require_same_addresses(table, files, needed)
    since = _unreferenced_since(artifacts, table, files.keys() - needed, at)
    limit = at - timedelta(days)
    due = {key for key, seen in since.items() if seen <= limit and files[key].modified <= limit}
    if not dry_run:
        folder.delete_all(sorted(due))
        waiting = {key: seen.isoformat() for key, seen in sorted(since.items()) if key not in due}
        artifacts.put(_marks_key(table), json.dumps(waiting, indent=0).encode())
    return Files(len(due), sum(files[key].size for key in due), len(since) - len(due))


def _is_clone(loaded: IcebergTable) -> bool:
    return loaded.properties.get(GC_ENABLED) == "false"


def _needed_keys(store: TableStore, table: Table, clones: Collection[TableStore]) -> set[str]:
    """The files below the table's folder that its snapshots, or those of a clone, refer to."""
    loaded = store.load(table)
    assert loaded is not None, f"{table.name} was dropped meanwhile"
    location = loaded.location().rstrip("/") + "/"
    referring = [loaded, *(copy for clone in clones if (copy := clone.load(table)) is not None)]
    addresses = {address for each in referring for address in referenced_files(each)}
    return {address.removeprefix(location) for address in addresses if address.startswith(location)}


def referenced_files(loaded: IcebergTable) -> set[str]:
    """The addresses of all files of a table's snapshots: metadata, manifest lists, manifests and data."""
    log = [entry.metadata_file for entry in loaded.metadata.metadata_log]
    files = {loaded.metadata_location, *log}
    manifests = {}
    for snapshot in loaded.snapshots():
        files.add(snapshot.manifest_list)
        manifests |= {manifest.manifest_path: manifest for manifest in snapshot.manifests(loaded.io)}
    for path, manifest in manifests.items():
        entries = manifest.fetch_manifest_entry(loaded.io)
        files |= {path, *(entry.data_file.file_path for entry in entries)}
    return files


def _require_same_addresses(table: Table, files: Collection[str], needed: Collection[str]) -> None:
    """Raises `PermanentFailure` if the listing lacks files that the table needs: nothing can be said of the others then."""
    missing = sorted(set(needed) - set(files))
    if not needed or len(missing) == len(needed):
        raise PermanentFailure(
            f"{table.name}: none of the files that its snapshots refer to is in its folder, so no file is deleted. The state "
            "was moved or copied: restore it, or materialise the table again."
        )


def _unreferenced_since(
    artifacts: ArtifactStore, table: Table, keys: Collection[str], at: datetime
) -> Mapping[str, datetime]:
    """Since when each of these files is unreferenced, as the runs before recorded it; `at` for a file that is new to them."""
    recorded = json.loads(artifacts.find(_marks_key(table)) or b"{}")
    return {
        key: datetime.fromisoformat(recorded[key]) if key in recorded else at.astimezone(UTC) for key in keys
    }


def _marks_key(table: Table) -> str:
    return f"retention/{table.name}.json"
