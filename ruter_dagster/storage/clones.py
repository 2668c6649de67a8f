"""Tables, verdicts and models of another state, as the start of this one. Rows are not copied.

A clone of a table is a metadata file of its own that refers to the snapshots and data files of the original. New files are
written into the clone's own folder. Iceberg's property `gc.enabled=false` says that files may belong to another table.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta

from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.metadata import TableMetadata

from ruter_dagster.contracts.all_tables import TABLES
from ruter_dagster.contracts.errors import PermanentFailure, StateUnavailable
from ruter_dagster.contracts.jobs import MODEL_NAME
from ruter_dagster.contracts.tables import LOAD_FORECASTS, Table
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.catalog import GC_ENABLED
from ruter_dagster.storage.clone_record import CloneRecord
from ruter_dagster.storage.registry import ModelRegistry
from ruter_dagster.storage.snapshots import TableSnapshot, dates_filter
from ruter_dagster.storage.tables import TableStore
from ruter_dagster.storage.verdicts import verdict_keys
from ruter_dagster.storage.version_properties import versions_of

SOURCE, SNAPSHOT = "clone.source", "clone.snapshot-id"
"""Properties of a cloned table: the folder or Glue database that it was cloned from, and the pinned snapshot."""
_DAY_ZERO = date(1970, 1, 1)
MAX_ISSUE_DATES = 60
"""Number of newest issue dates whose models are copied, and that a clone can forecast again."""
_FOLDERS = ("write.data.path", "write.metadata.path")


@dataclass(frozen=True)
class Pin:
    """The folder or Glue database that a table was cloned from, and the pinned snapshot."""

    source: str
    snapshot_id: int


@dataclass(frozen=True)
class Clone:
    """What a clone consists of: the pinned snapshot of each table, and the numbers of copied verdicts and model versions."""

    snapshots: dict[str, int]
    verdicts: int
    models: int


def clone_state(
    source: TableStore, target: TableStore, artifacts: ArtifactStore, region: str | None, name: str
) -> Clone:
    """Replaces all tables of `target` with those of `source` at their current snapshots. The source is only read.

    Copies the verdicts on the present rows, and the champions that the newest issue dates use, into `artifacts`. `name` is the
    source's folder or Glue database. Raises `StateUnavailable` if the source has no forecasts, or must not be read.
    """
    loaded = _load_tables(source, name)
    originals = ArtifactStore.at(artifacts_location(loaded[LOAD_FORECASTS]), region)
    # Before the tables: a clone whose rows lack their verdicts cannot be read.
    verdicts = _copy_verdicts(loaded, originals, artifacts)
    models = _copy_models(loaded[LOAD_FORECASTS], originals, artifacts)
    for table in TABLES:
        target.drop(table)
    for table, original in loaded.items():
        target.register(table, _cloned(original, target.new_location(table), name))
    snapshots = {table.name: snapshot_id_of(original) for table, original in loaded.items()}
    dates = {
        table.name: tuple(sorted(versions_of(original.properties))) for table, original in loaded.items()
    }
    forecasts = loaded[LOAD_FORECASTS]
    CloneRecord(name, snapshot_id_of(forecasts), _models(forecasts), dates).save(artifacts)
    return Clone(snapshots, verdicts, models)


def _load_tables(source: TableStore, name: str) -> dict[Table, IcebergTable]:
    try:
        loaded = {table: original for table in TABLES if (original := source.load(table)) is not None}
    except PermanentFailure as failure:
        raise StateUnavailable(f"{name} cannot be read: {failure}") from failure
    if LOAD_FORECASTS not in loaded:
        raise StateUnavailable(
            f"{name} has no forecasts. Check the name, or materialise forecasts/load_forecasts there first"
        )
    return loaded


def cloned_from(store: TableStore, table: Table) -> Pin | None:
    """What the table was cloned from; None if it is no clone."""
    loaded = store.load(table)
    properties = loaded.properties if loaded else {}
    return Pin(properties[SOURCE], int(properties[SNAPSHOT])) if SOURCE in properties else None


def pinned_snapshot(store: TableStore, table: Table) -> TableSnapshot:
    """The table as it was cloned, without later writes. It is empty if the table is no clone."""
    pin = cloned_from(store, table)
    return store.snapshot(table, pin.snapshot_id) if pin else TableSnapshot(table, None, {}, None)


def artifacts_location(table: IcebergTable) -> str:
    """The folder or address of the files beside a state's tables."""
    return table.location().rpartition("/warehouse/")[0] + "/artifacts"


def snapshot_id_of(table: IcebergTable) -> int:
    snapshot = table.current_snapshot()
    assert snapshot is not None, f"{'.'.join(table.name())} has no snapshot"
    return snapshot.snapshot_id


def _models(forecasts: IcebergTable) -> dict[date, str | None]:
    """The model version of each of the newest issue dates, from the bounds in the table's manifests. Opens no data file."""
    days = sorted(versions_of(forecasts.properties))[-MAX_ISSUE_DATES:]
    models: dict[date, str | None] = dict.fromkeys(days)
    column = forecasts.schema().find_field("model_version").field_id
    for task in forecasts.scan(dates_filter(LOAD_FORECASTS.partition, days)).plan_files():
        bound = (task.file.upper_bounds or {}).get(column)
        if bound:
            models[_DAY_ZERO + timedelta(days=task.file.partition[0])] = bound.decode()
    return models


def _cloned(original: IcebergTable, location: str, source: str) -> TableMetadata:
    """The metadata of a clone. It has no earlier metadata files: a commit deletes those, and they belong to the original."""
    properties = {
        name: value
        for name, value in original.properties.items()
        if name not in _FOLDERS and not name.startswith("clone.")
    }
    marks = {GC_ENABLED: "false", SOURCE: source, SNAPSHOT: str(snapshot_id_of(original))}
    return original.metadata.model_copy(
        update={
            "table_uuid": uuid.uuid4(),
            "location": location,
            "metadata_log": [],
            "statistics": [],
            "partition_statistics": [],
            "properties": {**properties, **marks},
        }
    )


def _copy_verdicts(tables: dict[Table, IcebergTable], source: ArtifactStore, target: ArtifactStore) -> int:
    keys = [
        key
        for table, loaded in tables.items()
        for key in verdict_keys(table.name, versions_of(loaded.properties))
    ]
    return _copy(keys, source, target)


def _copy_models(forecasts: IcebergTable, source: ArtifactStore, target: ArtifactStore) -> int:
    issue_dates = sorted(versions_of(forecasts.properties))[-MAX_ISSUE_DATES:]
    if not issue_dates:
        return 0
    versions, keys = ModelRegistry(source).champion_files(MODEL_NAME, _last_counted(issue_dates))
    _copy(keys, source, target)
    return len(versions)


def _last_counted(issue_dates: Collection[date]) -> date:
    """The last operating date that the oldest of these issue dates knows."""
    return min(issue_dates) - timedelta(1)


def _copy(keys: Collection[str], source: ArtifactStore, target: ArtifactStore) -> int:
    contents = source.find_all(keys)
    target.put_all(contents)
    return len(contents)
