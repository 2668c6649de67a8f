"""Metadata of SageMaker jobs on an asset: that of one job, or sums and a table of several jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import AssetCheckResult, MaterializeResult, MetadataValue, TableRecord

from ruter_dagster.resources.date_chunks import JobEvent

PREFIX = "sagemaker/"
SUMMED = ("queue_seconds", "start_seconds", "run_seconds", "billable_seconds", "estimated_cost")
"""Metadata that is added up over several jobs."""
TABLE_COLUMNS = ("instance_type", "start_seconds", "run_seconds", "estimated_cost", "job_arn", "console")
"""Metadata that the table of jobs shows."""


def remove_job_metadata(events: Sequence[Any]) -> list[JobEvent]:
    """The events without the job's metadata, which the client adds to every event, also to each check."""
    return [
        event._replace(
            metadata={
                name: value for name, value in (event.metadata or {}).items() if not name.startswith(PREFIX)
            }
        )
        for event in events
        if isinstance(event, MaterializeResult | AssetCheckResult)
    ]


def merge_job_metadata(jobs: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Metadata of all jobs together. Each job is given by its date range and its metadata.

    Seconds and costs of several jobs are added up.
    """
    if len(jobs) == 1:
        return dict(jobs[0][1])
    if not jobs:
        return {}
    records = [TableRecord({"dates": dates, **_values(metadata, TABLE_COLUMNS)}) for dates, metadata in jobs]
    values = [_values(metadata, SUMMED) for _, metadata in jobs]
    sums = {
        f"{PREFIX}{name}": round(sum(entry[name] for entry in values if name in entry), 4)
        for name in SUMMED
        if any(name in entry for entry in values)
    }
    of_all = (f"{PREFIX}image", f"{PREFIX}branch")
    shared = {name: value for name, value in jobs[-1][1].items() if name.startswith(of_all)}
    return {
        **shared,
        f"{PREFIX}job_count": len(jobs),
        **sums,
        f"{PREFIX}jobs": MetadataValue.table(_fill_columns(records)),
    }


def _values(metadata: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The plain values of these names, as far as the metadata has them."""
    entries = {name: metadata.get(f"{PREFIX}{name}") for name in names}
    return {name: getattr(value, "value", value) for name, value in entries.items() if value is not None}


def _fill_columns(records: list[TableRecord]) -> list[TableRecord]:
    """The records with the same columns in each: Dagster requires it."""
    names = list(dict.fromkeys(name for record in records for name in record.data))
    return [TableRecord({name: record.data.get(name, "") for name in names}) for record in records]
