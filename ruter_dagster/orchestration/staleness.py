"""Finds outdated partitions.

A partition is outdated in each of these cases:

- It was never materialised.
- The code, or the operator's settings that the asset depends on, have changed.
- The content of an input has changed.
- Its source files have changed.
- Its rows are lost.

The answer comes from Dagster's event log. Dagster's data version of a range covers all its dates together, so the content
hash of each date is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    Definitions,
    partition_loading_context,
)

from ruter_dagster.compat.tags import CODE_VERSION_TAG
from ruter_dagster.contracts.jobs import CHAMPION, QUALITY_GROUP, asset_of
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS
from ruter_dagster.orchestration.event_log import content_hash, content_hashes

if TYPE_CHECKING:
    from ruter_dagster.contracts.file_versions import FileVersions
    from ruter_dagster.storage.stored_state import StoredState

RAW_GROUP = "raw"
VISITS_ASSET, PLAN_ASSET = asset_of(STOP_VISITS.name), asset_of(PLANNED_DEPARTURES.name)
FindFileVersions = Callable[[str, Collection[date]], "Mapping[date, FileVersions]"]
"""Finds the files that the source has now, for dates of a raw table."""
MATERIALIZATION = DagsterEventType.ASSET_MATERIALIZATION


def outdated_dates(
    definitions: Definitions,
    instance: DagsterInstance,
    asset: str,
    dates: Sequence[date],
    stored: StoredState | None = None,
    find_files: FindFileVersions | None = None,
) -> list[date]:
    """The dates of `asset` that are outdated.

    `stored`: include dates whose rows or verdict are lost. `find_files`: for raw data, include dates whose source files
    have changed. Inputs without partitions do not count: a new model does not outdate forecasts.
    """
    key = AssetKey.from_user_string(asset)
    days = [day.isoformat() for day in dates]
    record_ids = _newest_record_ids(instance, key, days)
    codes = _code_versions(instance, key, record_ids)
    code = definitions.resolve_asset_graph().get(key).code_version
    outdated = {day for day in days if day not in record_ids or codes.get(day) != code}
    if stored is not None:
        outdated |= _lost_dates(definitions, instance, key, record_ids, stored)
    if find_files is not None and key.path[0] == RAW_GROUP:
        outdated |= _corrected_dates(instance, key, record_ids, find_files)
    candidates = {day: record_ids[day] for day in days if day not in outdated}
    outdated |= _dates_with_changed_inputs(definitions, instance, key, candidates)
    return [day for day in dates if day.isoformat() in outdated]


def _dates_with_changed_inputs(
    definitions: Definitions, instance: DagsterInstance, key: AssetKey, record_ids: Mapping[str, int]
) -> set[str]:
    """The dates that depend on a partition whose content has changed since. `record_ids`: by date, the materialisation."""
    changed: set[str] = set()
    if not record_ids:
        return changed
    with partition_loading_context(dynamic_partitions_store=instance):
        for parent, dependencies in _parents(definitions, key, list(record_ids)):
            parent_days = sorted({day for days in dependencies.values() for day in days})
            newest = _newest_record_ids(instance, parent, parent_days)
            for child, parents in dependencies.items():
                since = record_ids[child]
                if child not in changed and any(
                    newest.get(day, 0) > since and _content_changed(instance, parent, day, since)
                    for day in parents
                ):
                    changed.add(child)
    return changed


def is_outdated(
    definitions: Definitions, instance: DagsterInstance, asset: str, stored: StoredState | None = None
) -> bool:
    """Whether an asset without partitions is outdated: never materialised, other code, changed content of an input, or lost."""
    key = AssetKey.from_user_string(asset)
    event = instance.get_latest_materialization_event(key)
    if event is None:
        return True
    node = definitions.resolve_asset_graph().get(key)
    materialization = event.asset_materialization
    tags = (materialization.tags if materialization else None) or {}
    if stored is not None and materialization and _model_lost(materialization, stored):
        return True
    since = instance.get_asset_records([key])[0].asset_entry.last_materialization_storage_id or 0
    return tags.get(CODE_VERSION_TAG) != node.code_version or any(
        _input_changed(definitions, instance, parent, since) for parent in sorted(node.parent_keys)
    )


def _lost_dates(
    definitions: Definitions,
    instance: DagsterInstance,
    key: AssetKey,
    record_ids: Mapping[str, int],
    stored: StoredState,
) -> set[str]:
    """Materialised dates whose rows, or whose verdict, are no longer stored. Dates without data cannot be lost."""
    asset, node = key.to_user_string(), definitions.resolve_asset_graph().get(key)
    if "iceberg" in node.kinds:
        hashes = content_hashes(instance, asset)
        versions = {date.fromisoformat(day): hashes[day] for day in record_ids if day in hashes}
        lost = stored.lost_dates(asset.replace("/", "."), versions)
    elif key.path[0] == QUALITY_GROUP:
        checked = next(parent for parent in node.parent_keys if parent.path[-1] == key.path[-1])
        days = {date.fromisoformat(day) for day in record_ids}
        lost = stored.unjudged_dates(".".join(checked.path), days)
    else:
        lost = set()
    return {day.isoformat() for day in lost}


def _model_lost(materialization: AssetMaterialization, stored: StoredState) -> bool:
    """Whether the model version of a materialisation is no longer stored."""
    version = materialization.metadata.get("model_version")
    if version is None:
        return False
    is_champion = materialization.asset_key == AssetKey.from_user_string(CHAMPION)
    is_stored = stored.has_champion if is_champion else stored.has_model
    return not is_stored(str(version.value))


def _input_changed(definitions: Definitions, instance: DagsterInstance, parent: AssetKey, since: int) -> bool:
    """Whether the content of an input has changed since record id `since`. A new date is a change."""
    if definitions.resolve_asset_graph().get(parent).is_partitioned:
        newest: dict[str | None, int] = {**_newest_record_ids(instance, parent)}
    else:
        records = instance.get_asset_records([parent])
        record_ids = (record.asset_entry.last_materialization_storage_id or 0 for record in records)
        newest = {None: max(record_ids, default=0)}
    later = sorted((day for day, record_id in newest.items() if record_id > since), key=str, reverse=True)
    return any(_content_changed(instance, parent, day, since) for day in later)


def _newest_record_ids(
    instance: DagsterInstance, key: AssetKey, partitions: Sequence[str] | None = None
) -> Mapping[str, int]:
    """The record id of each partition's newest materialisation. `partitions` is None for all."""
    selected = None if partitions is None else set(partitions)
    return instance.event_log_storage.get_latest_storage_id_by_partition(key, MATERIALIZATION, selected)


def _code_versions(instance: DagsterInstance, key: AssetKey, record_ids: Mapping[str, int]) -> dict[str, str]:
    """The code version of each partition's newest materialisation."""
    events = _materialisations(instance, key, record_ids)
    return {day: (event.tags or {}).get(CODE_VERSION_TAG, "") for day, event in events.items()}


def _corrected_dates(
    instance: DagsterInstance, key: AssetKey, record_ids: Mapping[str, int], find_files: FindFileVersions
) -> set[str]:
    """Dates whose source files differ from those that were read. Dates without a recorded version are left out."""
    recorded = {
        date.fromisoformat(day): str(event.metadata["source_version"].value)
        for day, event in _materialisations(instance, key, record_ids).items()
        if "source_version" in event.metadata
    }
    table = ".".join(key.path)
    files = find_files(table, recorded) if recorded else {}
    matched = content_hashes(instance, VISITS_ASSET) if table == PLANNED_DEPARTURES.name else {}
    return {
        day.isoformat()
        for day, versions in files.items()
        if versions.has_changed(recorded[day], day.isoformat() in matched)
    }


def _materialisations(
    instance: DagsterInstance, key: AssetKey, record_ids: Mapping[str, int]
) -> dict[str, AssetMaterialization]:
    """The materialisation of each partition, by the ids of their records."""
    if not record_ids:
        return {}
    records_filter = AssetRecordsFilter(asset_key=key, storage_ids=sorted(set(record_ids.values())))
    records = instance.fetch_materializations(records_filter, limit=len(record_ids)).records
    events = [record.asset_materialization for record in records]
    return {event.partition: event for event in events if event and event.partition}


def _parents(
    definitions: Definitions, key: AssetKey, partitions: Sequence[str]
) -> Iterator[tuple[AssetKey, dict[str, list[str]]]]:
    """Each partitioned input, with its dates that each partition of `key` depends on."""
    graph = definitions.resolve_asset_graph()

    def dependencies(day: str, parent: AssetKey) -> list[str]:
        keys = graph.get_parent_partition_keys_for_child(day, parent, key)
        return list(keys.partitions_subset.get_partition_keys())

    for parent in graph.get(key).parent_keys:
        if graph.get(parent).is_partitioned:
            yield parent, {day: dependencies(day, parent) for day in partitions}


def _content_changed(instance: DagsterInstance, key: AssetKey, partition: str | None, since: int) -> bool:
    """Whether the content hash differs from that at record id `since`. A date without data has no hash, which is no change."""
    asset = key.to_user_string()
    return content_hash(instance, asset, partition) != content_hash(instance, asset, partition, before=since)
