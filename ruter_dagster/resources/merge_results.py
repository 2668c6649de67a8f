"""How the reports of a range's jobs become one report for each asset and check. What runs a job belongs in `launcher.py`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    BoolMetadataValue,
    DataVersion,
    JsonMetadataValue,
    MarkdownMetadataValue,
    MaterializeResult,
    MetadataValue,
    TableMetadataValue,
)

from ruter_dagster.compat.tags import CODE_VERSION_TAG, DATA_VERSION_TAG

_LARGE = (JsonMetadataValue, MarkdownMetadataValue, TableMetadataValue)
_LISTS_OF_DATES = ("dates_absent", "dates_blocked", "dates_refused")
"""Metadata that each job reports for its own dates alone."""
_PARTS = ("dates", "source_versions")
"""Metadata that each partition gets its own part of."""
_BY_DATE = ("queries", "source_versions")
_SUMS = ("scanned_bytes", "query_cost_usd")


def version_of_dates(versions: dict[str, str]) -> str:
    """Data version of a materialisation: the content hash of its date, or of all of a range's dates together."""
    if len(versions) == 1:
        return next(iter(versions.values()))
    return hashlib.sha256(json.dumps(sorted(versions.items())).encode()).hexdigest()[:32]


def json_of(result: MaterializeResult, name: str) -> Any:
    """The plain value of a result's JSON metadata; None where there is none."""
    return getattr((result.metadata or {}).get(name), "data", None)


def merged_materialisations(
    jobs: Sequence[MaterializeResult], absent: Sequence[str]
) -> list[MaterializeResult]:
    """One result for each asset; `absent` are dates of jobs that found nothing."""
    keys = dict.fromkeys(_key(result) for result in jobs)
    return [_merged([result for result in jobs if _key(result) == key], absent) for key in keys]


def merged_checks(jobs: Sequence[tuple[str, AssetCheckResult]]) -> Iterator[AssetCheckResult]:
    """One result for each check, of results with the dates of their job, in words.

    A check that failed in several jobs names the dates of each; its tables are joined, its other details are the first's.
    """
    for key in dict.fromkeys((result.asset_key, result.check_name) for _, result in jobs):
        same = [(dates, result) for dates, result in jobs if (result.asset_key, result.check_name) == key]
        failed = [(dates, result) for dates, result in same if not result.passed]
        yield _merged_check([result for _, result in same], failed)


def by_partition(context: AssetExecutionContext, result: MaterializeResult) -> MaterializeResult:
    """Gives each partition its own rows and content hash; what describes a whole range stands at its last partition.

    Dagster copies a result's metadata to every partition's event: pictures and lists would be stored once a date.
    """
    if not context.has_partition_key and not context.has_partition_key_range:
        return result
    keys = context.partition_keys
    for day, part in (json_of(result, "dates") or {}).items():
        if day in keys:
            context.add_asset_metadata(_own(part), asset_key=result.asset_key, partition_key=day)
    small, whole = _small_and_large(result)
    for day, version in (json_of(result, "source_versions") or {}).items():
        if day in keys:
            context.add_asset_metadata(
                {"source_version": version}, asset_key=result.asset_key, partition_key=day
            )
    if whole:
        context.add_asset_metadata(whole, asset_key=result.asset_key, partition_key=keys[-1])
    return MaterializeResult(asset_key=result.asset_key, metadata=small, data_version=result.data_version)


def events_by_partition(
    result: MaterializeResult, code_version: str | None
) -> Iterator[AssetMaterialization]:
    """The same as events of single partitions, for a step that fails: its own result would be lost with it."""
    small, _ = _small_and_large(result)
    versions = json_of(result, "source_versions") or {}
    for day, part in (json_of(result, "dates") or {}).items():
        of_source = {"source_version": versions[day]} if day in versions else {}
        tags = {DATA_VERSION_TAG: part["version"]} | (
            {CODE_VERSION_TAG: code_version} if code_version else {}
        )
        yield AssetMaterialization(
            _key(result), partition=day, metadata=small | of_source | _own(part), tags=tags
        )


def _key(result: MaterializeResult) -> AssetKey:
    return AssetKey.from_coercible(result.asset_key or "")


def _own(part: dict[str, Any]) -> dict[str, Any]:
    return {"partition_rows": part["rows"], "content_hash": part["version"]}


def _small_and_large(result: MaterializeResult) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata without the dates: plain values, and what is too large to be copied to every partition."""
    metadata = {name: value for name, value in (result.metadata or {}).items() if name not in _PARTS}
    large = {name: value for name, value in metadata.items() if isinstance(value, _LARGE)}
    return {name: value for name, value in metadata.items() if name not in large}, large


def _merged(jobs: Sequence[MaterializeResult], absent: Sequence[str]) -> MaterializeResult:
    """One result of an asset's jobs: rows added up, dates, inputs and lists of dates joined, other metadata from the last."""
    metadata: dict[str, Any] = {}
    dates: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    for job in jobs:
        metadata.update(job.metadata or {})
        dates.update(json_of(job, "dates") or {})
        for table, noted in (json_of(job, "inputs") or {}).items():
            inputs[table] = {**noted, "dates": {**inputs.get(table, {}).get("dates", {}), **noted["dates"]}}
    for name in _LISTS_OF_DATES:
        found = [json_of(job, name) for job in jobs] + ([list(absent)] if name == "dates_absent" else [])
        if any(found):
            metadata[name] = MetadataValue.json(_joined([one for one in found if one]))
    for name in _BY_DATE:
        if name in metadata:
            own = [json_of(job, name) or {} for job in jobs]
            metadata[name] = MetadataValue.json({day: told for one in own for day, told in one.items()})
    for name in _SUMS:
        if name in metadata:
            metadata[name] = sum(_number(job, name) for job in jobs)
    version = jobs[-1].data_version
    if inputs:
        metadata["inputs"] = MetadataValue.json(inputs)
    if dates:
        metadata |= {"rows": sum(part["rows"] for part in dates.values()), "dates": MetadataValue.json(dates)}
        version = DataVersion(version_of_dates({day: part["version"] for day, part in dates.items()}))
    return MaterializeResult(asset_key=_key(jobs[-1]), metadata=metadata, data_version=version)


def _number(job: MaterializeResult, name: str) -> Any:
    value = (job.metadata or {}).get(name, 0)
    return getattr(value, "value", value) or 0


def _joined(found: Sequence[Any]) -> Any:
    """Lists of dates as one in order, or by table."""
    if isinstance(found[0], dict):
        tables = dict.fromkeys(table for one in found for table in one)
        return {table: _joined([one[table] for one in found if table in one]) for table in tables}
    return sorted({day for one in found for day in one})


def _merged_check(
    same: Sequence[AssetCheckResult], failed: Sequence[tuple[str, AssetCheckResult]]
) -> AssetCheckResult:
    told = failed[0][1] if failed else same[-1]
    if len(same) == 1:
        return told
    relevant = [result for _, result in failed] or same
    metadata: dict[str, Any] = dict(told.metadata or {})
    for name, value in metadata.items():
        others = [(result.metadata or {}).get(name) for result in relevant]
        if isinstance(value, TableMetadataValue):
            tables = [table for table in others if isinstance(table, TableMetadataValue)]
            rows = [row for table in tables for row in table.records]
            metadata[name] = MetadataValue.table(rows, value.schema)
        elif isinstance(value, BoolMetadataValue):
            metadata[name] = any(isinstance(other, BoolMetadataValue) and other.value for other in others)
    if failed:
        metadata["failed_dates"] = ", ".join(dates for dates, _ in failed)
    return AssetCheckResult(
        asset_key=told.asset_key,
        check_name=told.check_name,
        passed=told.passed,
        severity=told.severity,
        metadata=metadata,
    )
