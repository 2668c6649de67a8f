"""Merges the reports of a range's jobs into one report for each asset and check. What runs a job belongs in `launcher.py`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
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

NOT_JUDGED = "not judged"
_LARGE = (JsonMetadataValue, MarkdownMetadataValue, TableMetadataValue)
_LISTS_OF_DATES = ("dates_absent", "dates_blocked", "dates_refused")
"""Metadata that each job reports for its own dates alone."""
ROW_COUNT = "dagster/row_count"
"""Dagster's own metadata key, which the UI shows and plots by itself."""
RANGE_TOTALS = "range_totals"
"""Metadata of the last partition of a range: numbers of all its dates together."""
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
        results = [(dates, result) for dates, result in jobs if (result.asset_key, result.check_name) == key]
        failed = [(dates, result) for dates, result in results if not result.passed]
        yield _merged_check([result for _, result in results], failed)


def by_partition(context: AssetExecutionContext, result: MaterializeResult) -> MaterializeResult:
    """Gives each partition its own numbers, and what describes a whole range to its last partition.

    Dagster copies a result's metadata to every partition's event. Totals of a range would be plotted as a flat line,
    and pictures would be stored once for each date.
    """
    if not context.has_partition_key and not context.has_partition_key_range:
        return result
    keys = context.partition_keys
    own = _own_metadata(result)
    shared, whole = _shared_and_whole(result, len(keys))
    own[keys[-1]] = whole | own.get(keys[-1], {})
    for day in keys:
        if own.get(day):
            context.add_asset_metadata(own[day], asset_key=result.asset_key, partition_key=day)
    return MaterializeResult(asset_key=result.asset_key, metadata=shared, data_version=result.data_version)


def events_by_partition(
    result: MaterializeResult, code_version: str | None
) -> Iterator[AssetMaterialization]:
    """The same as events of single partitions, for a step that fails: its own result would be lost with it."""
    own = _own_metadata(result)
    shared, _ = _shared_and_whole(result, len(own))
    for day, part in (json_of(result, "dates") or {}).items():
        tags = {DATA_VERSION_TAG: part["version"]} | (
            {CODE_VERSION_TAG: code_version} if code_version else {}
        )
        yield AssetMaterialization(_key(result), partition=day, metadata=shared | own[day], tags=tags)


def _key(result: MaterializeResult) -> AssetKey:
    return AssetKey.from_coercible(result.asset_key or "")


def _own_metadata(result: MaterializeResult) -> dict[str, dict[str, Any]]:
    """What each date has of its own: its rows, their hash, its numbers, and the files that it was read from."""
    own: dict[str, dict[str, Any]] = {
        day: {ROW_COUNT: part["rows"], "content_hash": part["version"], **part.get("numbers", {})}
        for day, part in (json_of(result, "dates") or {}).items()
    }
    for day, version in (json_of(result, "source_versions") or {}).items():
        own.setdefault(day, {})["source_version"] = version
    return own


def _shared_and_whole(result: MaterializeResult, partitions: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain words, the same for every partition; and numbers, tables and pictures, which describe all together.

    Numbers of several partitions become one entry, `range_totals`, which the UI does not plot.
    """
    metadata = {name: value for name, value in (result.metadata or {}).items() if name not in _PARTS}
    large = {name: value for name, value in metadata.items() if isinstance(value, _LARGE)}
    numbers = {name: _plain(value) for name, value in metadata.items() if _is_number(value)}
    shared = {name: value for name, value in metadata.items() if name not in {*large, *numbers}}
    if partitions == 1:
        numbers.pop("rows", None)  # the same as the row count of the partition
    elif numbers:
        numbers = {RANGE_TOTALS: MetadataValue.json(numbers)}
    return shared, large | numbers


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)


def _is_number(value: Any) -> bool:
    plain = _plain(value)
    return isinstance(plain, int | float) and not isinstance(plain, bool)


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
        lists = [json_of(job, name) for job in jobs] + ([list(absent)] if name == "dates_absent" else [])
        if any(lists):
            metadata[name] = MetadataValue.json(_joined([dates for dates in lists if dates]))
    for name in _BY_DATE:
        if name in metadata:
            own = [json_of(job, name) or {} for job in jobs]
            metadata[name] = MetadataValue.json({day: value for part in own for day, value in part.items()})
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
    return _plain((job.metadata or {}).get(name, 0)) or 0


def _joined(lists: Sequence[Any]) -> Any:
    """Lists of dates as one sorted list; dictionaries of such lists by table likewise."""
    if isinstance(lists[0], dict):
        tables = dict.fromkeys(table for by_table in lists for table in by_table)
        return {table: _joined([part[table] for part in lists if table in part]) for table in tables}
    return sorted({day for dates in lists for day in dates})


def _merged_check(
    results: Sequence[AssetCheckResult], failed: Sequence[tuple[str, AssetCheckResult]]
) -> AssetCheckResult:
    shown = failed[0][1] if failed else ([result for result in results if _is_judged(result)] or results)[-1]
    metadata: dict[str, Any] = dict(shown.metadata or {})
    if len(results) > 1:
        metadata = _merged_metadata(metadata, [result for _, result in failed] or results)
        if failed:
            metadata["failed_dates"] = ", ".join(dates for dates, _ in failed)
    return AssetCheckResult(
        asset_key=shown.asset_key,
        check_name=shown.check_name,
        passed=shown.passed,
        severity=shown.severity,
        metadata=metadata,
        description=_description(shown, metadata),
    )


def _merged_metadata(metadata: dict[str, Any], results: Sequence[AssetCheckResult]) -> dict[str, Any]:
    """The metadata of one result, with the rows of all results' tables; a boolean is true if it is true in any."""
    merged = dict(metadata)
    for name, value in metadata.items():
        others = [(result.metadata or {}).get(name) for result in results]
        if isinstance(value, TableMetadataValue):
            tables = [table for table in others if isinstance(table, TableMetadataValue)]
            rows = [row for table in tables for row in table.records]
            merged[name] = MetadataValue.table(rows, value.schema)
        elif isinstance(value, BoolMetadataValue):
            merged[name] = any(isinstance(other, BoolMetadataValue) and other.value for other in others)
    return merged


def _description(result: AssetCheckResult, metadata: dict[str, Any]) -> str:
    """The outcome first: `passed`, `failed`, `warning` or `not judged`; then what was measured."""
    if result.passed:
        outcome = "passed" if _is_judged(result) else NOT_JUDGED
    else:
        outcome = "warning" if result.severity == AssetCheckSeverity.WARN else "failed"
    observed = str(_plain(metadata.get("observed", "")))
    if not observed or observed.startswith(outcome):
        return observed or outcome
    return f"{outcome}: {observed}"


def _is_judged(result: AssetCheckResult) -> bool:
    return bool(_plain((result.metadata or {}).get("judged", True)))
