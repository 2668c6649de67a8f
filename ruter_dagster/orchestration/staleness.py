"""Which partitions are out of date: never materialised, made by other code or by other facts of the operator, older than an
input whose content changed, read from files that have changed, or lost.

Read from Dagster's own records, a query an asset; Dagster's data version of a range covers all its dates together, so the
content hash of each date decides whether a newer input is a changed one.
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
COUNTS, PLAN = asset_of(STOP_VISITS.name), asset_of(PLANNED_DEPARTURES.name)
Delivered = Callable[[str, Collection[date]], "Mapping[date, FileVersions]"]
"""The files that the source has now of a raw table's dates."""
MATERIALIZATION = DagsterEventType.ASSET_MATERIALIZATION


def out_of_date(
    definitions: Definitions,
    instance: DagsterInstance,
    asset: str,
    dates: Sequence[date],
    present: StoredState | None = None,
    delivered: Delivered | None = None,
) -> list[date]:
    """The dates of `asset` that a run must make again, those too that the state has lost, where `present` is given.

    Of raw data, where `delivered` is given, those too whose files at the source are not those that were read.

    Unpartitioned inputs do not count: a new model leaves forecasts as they are.
    """
    key = AssetKey.from_user_string(asset)
    keys = [day.isoformat() for day in dates]
    made = _latest(instance, key, keys)
    codes = _code_versions(instance, key, made)
    code = definitions.resolve_asset_graph().get(key).code_version
    stale = {day for day in keys if day not in made or codes.get(day) != code}
    if present is not None:
        stale |= _lost(definitions, instance, key, made, present)
    if delivered is not None and key.path[0] == RAW_GROUP:
        stale |= _corrected(instance, key, made, delivered)
    with partition_loading_context(dynamic_partitions_store=instance):
        for parent, needed in _parents(definitions, key, keys):
            newest = _latest(instance, parent, sorted({day for days in needed.values() for day in days}))
            for child in keys:
                stale |= {
                    child
                    for day in needed.get(child, ())
                    if child not in stale
                    and newest.get(day, 0) > made[child]
                    and _content_changed(instance, parent, day, made[child])
                }
    return [day for day in dates if day.isoformat() in stale]


def is_out_of_date(
    definitions: Definitions, instance: DagsterInstance, asset: str, present: StoredState | None = None
) -> bool:
    """The same of an asset without partitions: made by other code, before the content of any date of an input changed, or lost."""
    key = AssetKey.from_user_string(asset)
    event = instance.get_latest_materialization_event(key)
    if event is None:
        return True
    node = definitions.resolve_asset_graph().get(key)
    materialization = event.asset_materialization
    tags = (materialization.tags if materialization else None) or {}
    if present is not None and materialization and _model_lost(materialization, present):
        return True
    made = instance.get_asset_records([key])[0].asset_entry.last_materialization_storage_id or 0
    return tags.get(CODE_VERSION_TAG) != node.code_version or any(
        _input_changed(definitions, instance, parent, made) for parent in sorted(node.parent_keys)
    )


def _lost(
    definitions: Definitions,
    instance: DagsterInstance,
    key: AssetKey,
    made: Mapping[str, int],
    present: StoredState,
) -> set[str]:
    """Dates whose rows, or whose verdict, are not there any more. A date that a range found absent has none to lose."""
    asset, node = key.to_user_string(), definitions.resolve_asset_graph().get(key)
    if "iceberg" in node.kinds:
        recorded = content_hashes(instance, asset)
        versions = {date.fromisoformat(day): recorded[day] for day in made if day in recorded}
        lost = present.lost_dates(asset.replace("/", "."), versions)
    elif key.path[0] == QUALITY_GROUP:
        judged = next(parent for parent in node.parent_keys if parent.path[-1] == key.path[-1])
        days = {date.fromisoformat(day) for day in made}
        lost = present.unjudged_dates(".".join(judged.path), days)
    else:
        lost = set()
    return {day.isoformat() for day in lost}


def _model_lost(materialization: AssetMaterialization, present: StoredState) -> bool:
    version = materialization.metadata.get("model_version")
    if version is None:
        return False
    is_there = (
        present.has_champion
        if materialization.asset_key == AssetKey.from_user_string(CHAMPION)
        else present.has_model
    )
    return not is_there(str(version.value))


def _input_changed(definitions: Definitions, instance: DagsterInstance, parent: AssetKey, since: int) -> bool:
    """Whether any of an input's content is another than it was at record id `since`; dates that came later are others."""
    if definitions.resolve_asset_graph().get(parent).is_partitioned:
        newest: dict[str | None, int] = {**_latest(instance, parent)}
    else:
        records = instance.get_asset_records([parent])
        newest = {
            None: max((one.asset_entry.last_materialization_storage_id or 0 for one in records), default=0)
        }
    later = sorted((day for day, made in newest.items() if made > since), key=str, reverse=True)
    return any(_content_changed(instance, parent, day, since) for day in later)


def _latest(
    instance: DagsterInstance, key: AssetKey, partitions: Sequence[str] | None = None
) -> Mapping[str, int]:
    wanted = None if partitions is None else set(partitions)
    return instance.event_log_storage.get_latest_storage_id_by_partition(key, MATERIALIZATION, wanted)


def _code_versions(instance: DagsterInstance, key: AssetKey, made: Mapping[str, int]) -> dict[str, str]:
    """The code version of each partition's newest materialisation."""
    events = _newest(instance, key, made)
    return {day: (event.tags or {}).get(CODE_VERSION_TAG, "") for day, event in events.items()}


def _corrected(
    instance: DagsterInstance, key: AssetKey, made: Mapping[str, int], delivered: Delivered
) -> set[str]:
    """Dates that were read from other files than there are now; of which nothing was recorded, nothing is said."""
    recorded = {
        date.fromisoformat(day): str(event.metadata["source_version"].value)
        for day, event in _newest(instance, key, made).items()
        if "source_version" in event.metadata
    }
    table = ".".join(key.path)
    files = delivered(table, recorded) if recorded else {}
    matched = content_hashes(instance, COUNTS) if table == PLANNED_DEPARTURES.name else {}
    return {
        day.isoformat()
        for day, now in files.items()
        if now.has_changed(recorded[day], day.isoformat() in matched)
    }


def _newest(
    instance: DagsterInstance, key: AssetKey, made: Mapping[str, int]
) -> dict[str, AssetMaterialization]:
    """Each partition's newest materialisation."""
    if not made:
        return {}
    wanted = AssetRecordsFilter(asset_key=key, storage_ids=sorted(set(made.values())))
    found = [
        record.asset_materialization
        for record in instance.fetch_materializations(wanted, limit=len(made)).records
    ]
    return {event.partition: event for event in found if event and event.partition}


def _parents(
    definitions: Definitions, key: AssetKey, partitions: Sequence[str]
) -> Iterator[tuple[AssetKey, dict[str, list[str]]]]:
    """Each partitioned input, with the dates that each partition of `key` depends on."""
    graph = definitions.resolve_asset_graph()
    for parent in graph.get(key).parent_keys:
        if graph.get(parent).is_partitioned:
            yield (
                parent,
                {
                    day: list(
                        graph.get_parent_partition_keys_for_child(
                            day, parent, key
                        ).partitions_subset.get_partition_keys()
                    )
                    for day in partitions
                },
            )


def _content_changed(instance: DagsterInstance, key: AssetKey, partition: str | None, since: int) -> bool:
    """Whether the content is another than before; a date that a range found absent has none, again and again."""
    asset = key.to_user_string()
    return content_hash(instance, asset, partition) != content_hash(instance, asset, partition, before=since)
