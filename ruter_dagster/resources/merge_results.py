"""Merges the reports of a range's jobs into one result for each asset and check. `launcher.py` runs the jobs."""

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
_DATE_LISTS = ("dates_absent", "dates_blocked", "dates_refused", "degraded_dates")
"""Metadata that lists dates. Each job lists only its own dates."""
_DATE_DICTIONARIES = ("queries", "source_versions")
"""Metadata with one value for each date. Each job has only its own dates."""
_SUMS = ("scanned_bytes", "query_cost_usd")
"""Metadata that is added up over jobs."""
_SPLIT_BY_DATE = ("dates", "source_versions")
"""Metadata that is split into the part of each partition."""
ROW_COUNT = "dagster/row_count"
"""Dagster's own metadata key: the UI shows and plots it."""
RANGE_TOTALS = "range_totals"
"""Metadata of the last partition of a range: totals of all its dates."""


def version_of_dates(versions: dict[str, str]) -> str:
    """Data version of a materialisation: the content hash of its date, or one hash of all dates of a range."""
    if len(versions) == 1:
        return next(iter(versions.values()))
    return hashlib.sha256(json.dumps(sorted(versions.items())).encode()).hexdigest()[:32]


def json_metadata(result: MaterializeResult, name: str) -> Any:
    """The plain value of a result's JSON metadata. None if the result has no such metadata."""
    return getattr((result.metadata or {}).get(name), "data", None)


def merge_materialisations(
    results: Sequence[MaterializeResult], absent_dates: Sequence[str]
) -> list[MaterializeResult]:
    """One result for each asset. `absent_dates`: the dates of jobs without data."""
    keys = dict.fromkeys(_key(result) for result in results)
    return [_merge_asset([result for result in results if _key(result) == key], absent_dates) for key in keys]


def merge_checks(results: Sequence[tuple[str, AssetCheckResult]]) -> Iterator[AssetCheckResult]:
    """One result for each check. Each input has the date range of its job.

    A check that failed in several jobs names the dates of each job. Its tables are joined, its other metadata is that of
    the first failure.
    """
    for key in dict.fromkeys((result.asset_key, result.check_name) for _, result in results):
        of_check = [
            (dates, result) for dates, result in results if (result.asset_key, result.check_name) == key
        ]
        failed = [(dates, result) for dates, result in of_check if not result.passed]
        yield _merge_check([result for _, result in of_check], failed)


def split_by_partition(context: AssetExecutionContext, result: MaterializeResult) -> MaterializeResult:
    """Gives each partition its own numbers, and the last partition the totals, tables and pictures of the whole range.

    Dagster copies a result's metadata to the event of every partition. Totals of a range would be plotted as a flat line,
    and pictures would be stored once for each date.
    """
    if not context.has_partition_key and not context.has_partition_key_range:
        return result
    partitions = context.partition_keys
    own = _metadata_by_date(result)
    shared, whole = _shared_and_whole(result, len(partitions))
    own[partitions[-1]] = whole | own.get(partitions[-1], {})
    for day in partitions:
        if own.get(day):
            context.add_asset_metadata(own[day], asset_key=result.asset_key, partition_key=day)
    return MaterializeResult(asset_key=result.asset_key, metadata=shared, data_version=result.data_version)


def partition_events(result: MaterializeResult, code_version: str | None) -> Iterator[AssetMaterialization]:
    """One event for each partition that was written. Dagster drops the result of a step that fails, and keeps these events."""
    own = _metadata_by_date(result)
    shared, _ = _shared_and_whole(result, len(own))
    code_tags = {CODE_VERSION_TAG: code_version} if code_version else {}
    for day, part in (json_metadata(result, "dates") or {}).items():
        tags = {DATA_VERSION_TAG: part["version"]} | code_tags
        yield AssetMaterialization(_key(result), partition=day, metadata=shared | own[day], tags=tags)


def _key(result: MaterializeResult) -> AssetKey:
    return AssetKey.from_coercible(result.asset_key or "")


def _metadata_by_date(result: MaterializeResult) -> dict[str, dict[str, Any]]:
    """The metadata of each date: row count, content hash, numbers, and the version of its source files."""
    own: dict[str, dict[str, Any]] = {
        day: {ROW_COUNT: part["rows"], "content_hash": part["version"], **part.get("numbers", {})}
        for day, part in (json_metadata(result, "dates") or {}).items()
    }
    for day, version in (json_metadata(result, "source_versions") or {}).items():
        own.setdefault(day, {})["source_version"] = version
    return own


def _shared_and_whole(result: MaterializeResult, partitions: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metadata that every partition shows, and the metadata that describes all partitions together.

    Texts are shared. Numbers, tables and pictures describe all partitions. The numbers of several partitions become one
    entry, `range_totals`, which the UI does not plot.
    """
    metadata = {name: value for name, value in (result.metadata or {}).items() if name not in _SPLIT_BY_DATE}
    large = {name: value for name, value in metadata.items() if isinstance(value, _LARGE)}
    numbers = {name: _plain_value(value) for name, value in metadata.items() if _is_number(value)}
    shared = {name: value for name, value in metadata.items() if name not in {*large, *numbers}}
    if partitions == 1:
        numbers.pop("rows", None)  # ROW_COUNT has the same value
    elif numbers:
        numbers = {RANGE_TOTALS: MetadataValue.json(numbers)}
    return shared, large | numbers


def _plain_value(value: Any) -> Any:
    return getattr(value, "value", value)


def _is_number(value: Any) -> bool:
    plain = _plain_value(value)
    return isinstance(plain, int | float) and not isinstance(plain, bool)


def _merge_asset(results: Sequence[MaterializeResult], absent_dates: Sequence[str]) -> MaterializeResult:
    """One result for an asset: rows are added up, dates and inputs joined, other metadata is that of the last result."""
    metadata: dict[str, Any] = {}
    dates: dict[str, Any] = {}
    for result in results:
        metadata.update(result.metadata or {})
        dates.update(json_metadata(result, "dates") or {})
    metadata |= _merge_date_metadata(results, absent_dates)
    for name in _SUMS:
        if name in metadata:
            metadata[name] = sum(_number(result, name) for result in results)
    if inputs := _merge_inputs(results):
        metadata["inputs"] = MetadataValue.json(inputs)
    version = results[-1].data_version
    if dates:
        metadata |= {"rows": sum(part["rows"] for part in dates.values()), "dates": MetadataValue.json(dates)}
        version = DataVersion(version_of_dates({day: part["version"] for day, part in dates.items()}))
    return MaterializeResult(asset_key=_key(results[-1]), metadata=metadata, data_version=version)


def _merge_inputs(results: Sequence[MaterializeResult]) -> dict[str, Any]:
    """The tables that the jobs read, each with the dates that all jobs read."""
    inputs: dict[str, Any] = {}
    for result in results:
        for table, read in (json_metadata(result, "inputs") or {}).items():
            earlier = inputs.get(table, {}).get("dates", {})
            inputs[table] = {**read, "dates": {**earlier, **read["dates"]}}
    return inputs


def _merge_date_metadata(
    results: Sequence[MaterializeResult], absent_dates: Sequence[str]
) -> dict[str, MetadataValue]:
    """Metadata that lists dates, or that has a value for each date, of all results together."""
    merged: dict[str, MetadataValue] = {}
    for name in _DATE_LISTS:
        lists = [json_metadata(result, name) for result in results]
        lists += [list(absent_dates)] if name == "dates_absent" else []
        if any(lists):
            merged[name] = MetadataValue.json(_join_dates([dates for dates in lists if dates]))
    for name in _DATE_DICTIONARIES:
        if any(name in (result.metadata or {}) for result in results):
            parts = [json_metadata(result, name) or {} for result in results]
            merged[name] = MetadataValue.json({day: value for part in parts for day, value in part.items()})
    return merged


def _number(result: MaterializeResult, name: str) -> Any:
    return _plain_value((result.metadata or {}).get(name, 0)) or 0


def _join_dates(lists: Sequence[Any]) -> Any:
    """Lists of dates as one sorted list; or, for dictionaries of such lists by table, one sorted list for each table."""
    if isinstance(lists[0], dict):
        tables = dict.fromkeys(table for by_table in lists for table in by_table)
        return {table: _join_dates([part[table] for part in lists if table in part]) for table in tables}
    return sorted({day for dates in lists for day in dates})


def _merge_check(
    results: Sequence[AssetCheckResult], failed: Sequence[tuple[str, AssetCheckResult]]
) -> AssetCheckResult:
    """One result for a check: the first failed result, else the last result that was judged."""
    shown = failed[0][1] if failed else ([result for result in results if _is_judged(result)] or results)[-1]
    metadata: dict[str, Any] = dict(shown.metadata or {})
    if len(results) > 1:
        metadata = _merge_check_metadata(metadata, [result for _, result in failed] or results)
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


def _merge_check_metadata(metadata: dict[str, Any], results: Sequence[AssetCheckResult]) -> dict[str, Any]:
    """The metadata of one result, with the table rows of all results. A boolean is true if it is true in any result."""
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
    """The outcome, `passed`, `failed`, `warning` or `not judged`, and then what was measured."""
    if result.passed:
        outcome = "passed" if _is_judged(result) else NOT_JUDGED
    else:
        outcome = "warning" if result.severity == AssetCheckSeverity.WARN else "failed"
    observed = str(_plain_value(metadata.get("observed", "")))
    if not observed or observed.startswith(outcome):
        return observed or outcome
    return f"{outcome}: {observed}"


def _is_judged(result: AssetCheckResult) -> bool:
    return bool(_plain_value((result.metadata or {}).get("judged", True)))
