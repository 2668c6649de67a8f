"""What Dagster's records say of a run: why it failed, which checks failed, what it read and made. Nothing is executed or written here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckSeverity,
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    JsonMetadataValue,
    MetadataValue,
)

from ruter_dagster.compat.checks import AssetCheckExecutionRecordStatus, DagsterAssetCheckFailedError
from ruter_dagster.compat.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    DATA_VERSION_TAG,
    PARTITION_NAME_TAG,
)
from ruter_dagster.resources.merge_results import RANGE_TOTALS, ROW_COUNT

_NOT_DESCRIBED = {"report", "report_page", "judged", "measured", "minimum", "maximum"}
"""Metadata of a check that its words, `observed` and `expected`, say already."""


@dataclass(frozen=True)
class Fault:
    """What went wrong first in a run, in the failed step's own words; no asset where the run ended before any step."""

    asset: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.asset}: {self.reason}" if self.asset else self.reason


@dataclass
class Made:
    """What one step of a run made of an asset: the content of each partition, and what it was made from."""

    asset: str
    step: str
    content: dict[str | None, str] = field(default_factory=dict)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    model_version: str | None = None


def fault_of(instance: DagsterInstance, run_id: str) -> Fault:
    """Why a run failed."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.STEP_FAILURE).records
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        asset, data = asset_of_step(event.step_key or ""), event.step_failure_data
        stated = data.user_failure_data.description if data.user_failure_data else None
        error = data.error.cause if data.error and data.error.cause else data.error
        if error and error.cls_name == DagsterAssetCheckFailedError.__name__:
            stated = _blocked(instance, run_id, asset)
        return Fault(asset, stated or (error.message.strip() if error else "failed"))
    ends = instance.get_records_for_run(run_id, of_type=DagsterEventType.RUN_FAILURE).records
    # The first: a retry that is overdue has the failure reported once more, in other words.
    event = ends[0].event_log_entry.dagster_event if ends else None
    return Fault(None, (event and event.message) or "the run ended before a step could fail; see its log")


def failed_checks(instance: DagsterInstance, run_id: str) -> list[AssetCheckEvaluation]:
    """The checks that failed in a run, in order."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION).records
    events = [record.event_log_entry.dagster_event for record in records]
    evaluations = [event.asset_check_evaluation_data for event in events if event]
    return [evaluation for evaluation in evaluations if not evaluation.passed]


def describe_check(check: AssetCheckEvaluation) -> str:
    """The check's name, then the plain values of its metadata, what was observed first."""
    plain = {
        name: f"{entry.value:.3g}" if isinstance(entry.value, float) else str(entry.value)
        for name, entry in check.metadata.items()
        if name not in _NOT_DESCRIBED and isinstance(entry.value, (str, int, float))
    }
    first = [name for name in ("observed", "expected") if name in plain]
    values = ", ".join(f"{name} {plain[name]}" for name in [*first, *sorted(plain.keys() - set(first))])
    return f"{check.check_name}: {values}" if values else check.check_name


def latest_evaluation(instance: DagsterInstance, check: AssetCheckKey) -> AssetCheckEvaluation | None:
    """The newest result of a check. A run that failed before it planned the check and never made it: that is none."""
    made = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
    records = instance.event_log_storage.get_asset_check_execution_history(check, limit=1, status=made)
    event = records[0].event.dagster_event if records and records[0].event else None
    return event.asset_check_evaluation_data if event else None


def reports_of(checks: Sequence[AssetCheckEvaluation]) -> list[str]:
    """Where the reports on these checks lie."""
    found = (str(check.metadata["report"].value) for check in checks if "report" in check.metadata)
    return list(dict.fromkeys(found))


def dates_of_run(run: DagsterRun) -> str:
    """The partition or range of a run in words; empty where it has none."""
    first, last = run.tags.get(ASSET_PARTITION_RANGE_START_TAG), run.tags.get(ASSET_PARTITION_RANGE_END_TAG)
    if first and last and first != last:
        return f"{first} to {last}"
    return first or run.tags.get(PARTITION_NAME_TAG, "")


def newest_materialisation(
    instance: DagsterInstance, asset: str, partition: str | None, before: int | None = None
) -> AssetMaterialization | None:
    """The newest of a partition (None for an asset without), or the newest before record id `before`."""
    wanted = AssetRecordsFilter(
        AssetKey.from_user_string(asset),
        asset_partitions=[partition] if partition else None,
        before_storage_id=before,
    )
    records = instance.fetch_materializations(wanted, limit=1).records
    return records[0].asset_materialization if records else None


def content_hash(
    instance: DagsterInstance, asset: str, partition: str | None, before: int | None = None
) -> str | None:
    """Content hash of a partition's newest materialisation, or of the newest before record id `before`.

    Of an asset without partitions its data version.
    """
    materialisation = newest_materialisation(instance, asset, partition, before)
    if materialisation and not partition:
        return _content(materialisation)
    hashed = materialisation.metadata.get("content_hash") if materialisation else None
    return str(hashed.value) if hashed else None


def content_hashes(instance: DagsterInstance, asset: str) -> dict[str, str]:
    """Content hash of each partition's newest materialisation, in two queries.

    Without those that have none: Dagster records a range's step for all of its dates, the absent ones too.
    """
    return _newest_values(instance, asset, "content_hash", None)


def source_versions(instance: DagsterInstance, asset: str, partitions: Collection[str]) -> dict[str, str]:
    """The versions of the source's files that each partition was read from, as far as they were recorded."""
    return _newest_values(instance, asset, "source_version", set(partitions)) if partitions else {}


def _newest_values(
    instance: DagsterInstance, asset: str, name: str, partitions: set[str] | None
) -> dict[str, str]:
    """A value of the metadata of each partition's newest materialisation, where it has one."""
    key = AssetKey.from_user_string(asset)
    newest = instance.event_log_storage.get_latest_storage_id_by_partition(
        key, DagsterEventType.ASSET_MATERIALIZATION, partitions
    )
    if not newest:
        return {}
    wanted = AssetRecordsFilter(asset_key=key, storage_ids=sorted(set(newest.values())))
    found = [
        record.asset_materialization
        for record in instance.fetch_materializations(wanted, limit=len(newest)).records
    ]
    return {
        event.partition: str(event.metadata[name].value)
        for event in found
        if event and event.partition and name in event.metadata
    }


def made_by(instance: DagsterInstance, run_id: str) -> list[Made]:
    """What a run materialised, in order of its steps."""
    made: dict[str, Made] = {}
    for step, materialisation in _materialisations(instance, run_id):
        asset = materialisation.asset_key.to_user_string()
        entry = made.setdefault(asset, Made(asset, step))
        entry.content[materialisation.partition] = _content(materialisation) or ""
        metadata = materialisation.metadata
        if "model_version" in metadata:
            entry.model_version = str(metadata["model_version"].value)
        if "inputs" in metadata:
            _add_inputs(entry, metadata["inputs"].value)
    return list(made.values())


def rows_of_run(metadata: Mapping[str, MetadataValue]) -> int | None:
    """The rows of all dates of a run, by the metadata of an asset's newest materialisation; None if it has none."""
    totals = metadata.get(RANGE_TOTALS)
    if isinstance(totals, JsonMetadataValue) and isinstance(totals.data, dict):
        return totals.data.get("rows")
    rows = metadata.get(ROW_COUNT, metadata.get("rows"))
    return int(str(rows.value)) if rows else None


def asset_of_step(step: str) -> str:
    return step.replace("__", "/")


def _blocked(instance: DagsterInstance, run_id: str, asset: str) -> str:
    """Which checks blocked an asset, and what they found: Dagster's own error has only their names."""
    blocking = [
        check
        for check in failed_checks(instance, run_id)
        if check.severity == AssetCheckSeverity.ERROR and check.asset_key.to_user_string() == asset
    ]
    found = [f"blocked by {describe_check(check)}" for check in blocking]
    return "\n".join([*found, *(f"report: {report}" for report in reports_of(blocking))])


def _add_inputs(entry: Made, inputs: Any) -> None:
    for table, used in inputs.items():
        known = entry.inputs.setdefault(table, {"snapshot_id": used["snapshot_id"], "dates": {}})
        known["dates"] |= used.get("dates", {})


def _materialisations(instance: DagsterInstance, run_id: str) -> Iterator[tuple[str, AssetMaterialization]]:
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION).records
    for record in records:
        event = record.event_log_entry.dagster_event
        if event:
            yield event.step_key or "", event.step_materialization_data.materialization


def _content(materialisation: AssetMaterialization) -> str | None:
    """The hash of the partition's rows; where an asset has no partitions, its data version."""
    hashed = materialisation.metadata.get("content_hash")
    tags: Mapping[str, str] = materialisation.tags or {}
    return str(hashed.value) if hashed else tags.get(DATA_VERSION_TAG)
