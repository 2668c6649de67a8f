"""Queries of Dagster's event log: why a run failed, which checks failed, which inputs it read and which outputs it wrote.

This module executes no run and writes nothing.
"""

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

_REDUNDANT_METADATA = {"report", "report_page", "judged", "measured", "minimum", "maximum"}
"""Metadata of a check that `observed` and `expected` already describe in words, and links."""


MAX_DATES_WITHOUT_DATA = 14
"""How many of an asset's newest partitions may lack data, for `newest_partition`."""


@dataclass(frozen=True)
class FailureCause:
    """The first error of a run, as the failed step reported it. `asset` is None if the run ended before any step."""

    asset: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.asset}: {self.reason}" if self.asset else self.reason


@dataclass
class StepOutput:
    """What one step of a run materialised: its asset, and the inputs that it read.

    `content`: the content hash of each partition; the key is None for an asset without partitions.
    `inputs`: for each table that the step read, the snapshot and the dates.
    """

    asset: str
    step: str
    content: dict[str | None, str] = field(default_factory=dict)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    model_version: str | None = None


def failure_cause(instance: DagsterInstance, run_id: str) -> FailureCause:
    """The first error of a failed run."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.STEP_FAILURE).records
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        asset, data = asset_of_step(event.step_key or ""), event.step_failure_data
        reason = data.user_failure_data.description if data.user_failure_data else None
        error = data.error.cause if data.error and data.error.cause else data.error
        if error and error.cls_name == DagsterAssetCheckFailedError.__name__:
            reason = _describe_blocking_checks(instance, run_id, asset)
        return FailureCause(asset, reason or (error.message.strip() if error else "failed"))
    failures = instance.get_records_for_run(run_id, of_type=DagsterEventType.RUN_FAILURE).records
    # Only the first event has the cause: the sensor `overdue_retries` reports the failure again with another message.
    event = failures[0].event_log_entry.dagster_event if failures else None
    return FailureCause(
        None, (event and event.message) or "the run ended before any step started; see its log"
    )


def failed_checks(instance: DagsterInstance, run_id: str) -> list[AssetCheckEvaluation]:
    """The checks that failed in a run, in the order of their evaluation."""
    return [evaluation for evaluation in evaluated_checks(instance, run_id) if not evaluation.passed]


def evaluated_checks(instance: DagsterInstance, run_id: str) -> list[AssetCheckEvaluation]:
    """The results of all checks of a run, in the order of their evaluation."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION).records
    events = [record.event_log_entry.dagster_event for record in records]
    return [event.asset_check_evaluation_data for event in events if event]


def describe_check(check: AssetCheckEvaluation) -> str:
    """The check's name and the plain values of its metadata, `observed` and `expected` first."""
    values = {
        name: f"{entry.value:.3g}" if isinstance(entry.value, float) else str(entry.value)
        for name, entry in check.metadata.items()
        if name not in _REDUNDANT_METADATA and isinstance(entry.value, (str, int, float))
    }
    first = [name for name in ("observed", "expected") if name in values]
    names = [*first, *sorted(values.keys() - set(first))]
    description = ", ".join(f"{name} {values[name]}" for name in names)
    return f"{check.check_name}: {description}" if description else check.check_name


def latest_evaluation(instance: DagsterInstance, check: AssetCheckKey) -> AssetCheckEvaluation | None:
    """The newest result of a check. Checks that were planned but never evaluated do not count."""
    evaluated = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
    records = instance.event_log_storage.get_asset_check_execution_history(check, limit=1, status=evaluated)
    event = records[0].event.dagster_event if records and records[0].event else None
    return event.asset_check_evaluation_data if event else None


def report_addresses(checks: Sequence[AssetCheckEvaluation]) -> list[str]:
    """The addresses of the quality reports on these checks, each once."""
    addresses = (str(check.metadata["report"].value) for check in checks if "report" in check.metadata)
    return list(dict.fromkeys(addresses))


def describe_dates(run: DagsterRun) -> str:
    """The partition of a run, or its range as `first to last`. Empty for a run without partitions."""
    first, last = run.tags.get(ASSET_PARTITION_RANGE_START_TAG), run.tags.get(ASSET_PARTITION_RANGE_END_TAG)
    if first and last and first != last:
        return f"{first} to {last}"
    return first or run.tags.get(PARTITION_NAME_TAG, "")


def newest_materialisation(
    instance: DagsterInstance, asset: str, partition: str | None, before: int | None = None
) -> AssetMaterialization | None:
    """The newest materialisation of a partition, or the newest one before record id `before`.

    `partition` is None for an asset without partitions.
    """
    records_filter = AssetRecordsFilter(
        AssetKey.from_user_string(asset),
        asset_partitions=[partition] if partition else None,
        before_storage_id=before,
    )
    records = instance.fetch_materializations(records_filter, limit=1).records
    return records[0].asset_materialization if records else None


def used_versions(materialisation: AssetMaterialization, table: str) -> dict[str, str]:
    """The content version of each date of a table that the step of a materialisation read. Empty if it read none."""
    inputs = materialisation.metadata.get("inputs")
    tables: Any = inputs.value if inputs else {}
    return tables.get(table, {}).get("dates", {})


def newest_runs_of_partitions(
    instance: DagsterInstance, asset: str, partitions: Collection[str]
) -> dict[str, str]:
    """The id of the run that materialised each partition last."""
    key = AssetKey.from_user_string(asset)
    newest = instance.event_log_storage.get_latest_storage_id_by_partition(
        key, DagsterEventType.ASSET_MATERIALIZATION, set(partitions)
    )
    if not newest:
        return {}
    records_filter = AssetRecordsFilter(asset_key=key, storage_ids=sorted(newest.values()))
    records = instance.fetch_materializations(records_filter, limit=len(newest)).records
    return {record.partition_key: record.run_id for record in records if record.partition_key}


def newest_partition(instance: DagsterInstance, asset: str) -> str | None:
    """The newest partition of an asset with data, by the order of partition keys. None if there is none.

    Dagster records a range for all of its dates, also for dates without data, so that a few newer ones are passed over.
    """
    partitions = instance.event_log_storage.get_latest_storage_id_by_partition(
        AssetKey.from_user_string(asset), DagsterEventType.ASSET_MATERIALIZATION, None
    )
    newest = sorted(partitions, reverse=True)[:MAX_DATES_WITHOUT_DATA]
    return next((partition for partition in newest if content_hash(instance, asset, partition)), None)


def content_hash(
    instance: DagsterInstance, asset: str, partition: str | None, before: int | None = None
) -> str | None:
    """Content hash of a partition's newest materialisation, or of the newest one before record id `before`.

    For an asset without partitions, its data version.
    """
    materialisation = newest_materialisation(instance, asset, partition, before)
    if materialisation and not partition:
        return _content_or_data_version(materialisation)
    content = materialisation.metadata.get("content_hash") if materialisation else None
    return str(content.value) if content else None


def content_hashes(instance: DagsterInstance, asset: str) -> dict[str, str]:
    """Content hash of each partition's newest materialisation.

    Partitions without a hash are left out. Dagster records a range for all of its dates, also for dates without data.
    """
    return _newest_values(instance, asset, "content_hash", None)


def source_versions(instance: DagsterInstance, asset: str, partitions: Collection[str]) -> dict[str, str]:
    """The version of the source files that each partition was read from. Partitions without a version are left out."""
    return _newest_values(instance, asset, "source_version", set(partitions)) if partitions else {}


def _newest_values(
    instance: DagsterInstance, asset: str, name: str, partitions: set[str] | None
) -> dict[str, str]:
    """One metadata value of each partition's newest materialisation, if it has that value.

    `partitions` is None for all. Two queries for any number of partitions keep a sensor's tick short.
    """
    key = AssetKey.from_user_string(asset)
    newest = instance.event_log_storage.get_latest_storage_id_by_partition(
        key, DagsterEventType.ASSET_MATERIALIZATION, partitions
    )
    if not newest:
        return {}
    records_filter = AssetRecordsFilter(asset_key=key, storage_ids=sorted(set(newest.values())))
    records = instance.fetch_materializations(records_filter, limit=len(newest)).records
    materialisations = [record.asset_materialization for record in records]
    return {
        event.partition: str(event.metadata[name].value)
        for event in materialisations
        if event and event.partition and name in event.metadata
    }


def step_outputs(instance: DagsterInstance, run_id: str) -> list[StepOutput]:
    """What each step of a run materialised, in the order of the steps."""
    outputs: dict[str, StepOutput] = {}
    for step, materialisation in _materialisations(instance, run_id):
        asset = materialisation.asset_key.to_user_string()
        output = outputs.setdefault(asset, StepOutput(asset, step))
        output.content[materialisation.partition] = _content_or_data_version(materialisation) or ""
        metadata = materialisation.metadata
        if "model_version" in metadata:
            output.model_version = str(metadata["model_version"].value)
        if "inputs" in metadata:
            _add_inputs(output, metadata["inputs"].value)
    return list(outputs.values())


def materialisations(instance: DagsterInstance, run_id: str) -> list[AssetMaterialization]:
    """The materialisations of a run, in the order of its steps."""
    return [materialisation for _, materialisation in _materialisations(instance, run_id)]


def total_rows(metadata: Mapping[str, MetadataValue]) -> int | None:
    """The number of rows of all dates of a run, from the metadata of one of its materialisations. None if unknown."""
    totals = metadata.get(RANGE_TOTALS)
    if isinstance(totals, JsonMetadataValue) and isinstance(totals.data, dict):
        return totals.data.get("rows")
    rows = metadata.get(ROW_COUNT, metadata.get("rows"))
    return int(str(rows.value)) if rows else None


def asset_of_step(step: str) -> str:
    """The asset that a step materialises: `raw/stop_visits` for the step `raw__stop_visits`."""
    return step.replace("__", "/")


def blocking_checks(instance: DagsterInstance, run_id: str, asset: str | None) -> list[AssetCheckEvaluation]:
    """The failed checks of an asset that stopped the run."""
    return [
        check
        for check in failed_checks(instance, run_id)
        if check.severity == AssetCheckSeverity.ERROR and check.asset_key.to_user_string() == asset
    ]


def _describe_blocking_checks(instance: DagsterInstance, run_id: str, asset: str) -> str:
    """The checks that blocked an asset, with what they observed. Dagster's own error has only their names."""
    checks = blocking_checks(instance, run_id, asset)
    lines = [f"blocked by {describe_check(check)}" for check in checks]
    return "\n".join([*lines, *(f"report: {address}" for address in report_addresses(checks))])


def _add_inputs(output: StepOutput, inputs: Any) -> None:
    """Adds the tables that one materialisation read. A range has one materialisation for each date."""
    for table, read in inputs.items():
        entry = output.inputs.setdefault(table, {"snapshot_id": read["snapshot_id"], "dates": {}})
        entry["dates"] |= read.get("dates", {})


def _materialisations(instance: DagsterInstance, run_id: str) -> Iterator[tuple[str, AssetMaterialization]]:
    """The step and the materialisation of each record of a run."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION).records
    for record in records:
        event = record.event_log_entry.dagster_event
        if event:
            yield event.step_key or "", event.step_materialization_data.materialization


def _content_or_data_version(materialisation: AssetMaterialization) -> str | None:
    """The hash of the partition's rows; for an asset without partitions, its data version."""
    content = materialisation.metadata.get("content_hash")
    tags: Mapping[str, str] = materialisation.tags or {}
    return str(content.value) if content else tags.get(DATA_VERSION_TAG)
