"""What SageMaker's jobs add to an asset's metadata: one job's own, or of several their sums and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import AssetCheckResult, MaterializeResult, MetadataValue, TableRecord

from ruter_dagster.resources.date_chunks import JobEvent

PREFIX = "sagemaker/"
SUMMED = ("queue_seconds", "start_seconds", "run_seconds", "billable_seconds", "estimated_cost")
SHOWN = ("instance_type", "start_seconds", "run_seconds", "estimated_cost", "job_arn", "console")


def without_job(events: Sequence[Any]) -> list[JobEvent]:
    """Events as the job reported them: the client lays the job's metadata on each, on every check too."""
    kept = (event for event in events if isinstance(event, MaterializeResult | AssetCheckResult))
    return [
        event._replace(
            metadata={
                name: value for name, value in (event.metadata or {}).items() if not name.startswith(PREFIX)
            }
        )
        for event in kept
    ]


def of_jobs(jobs: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Metadata of all jobs together, each given with its dates in words. Seconds and costs of several are added up."""
    if len(jobs) == 1:
        return dict(jobs[0][1])
    if not jobs:
        return {}
    records = [TableRecord({"dates": dates, **_plain(metadata, SHOWN)}) for dates, metadata in jobs]
    found = [_plain(metadata, SUMMED) for _, metadata in jobs]
    sums = {
        f"{PREFIX}{name}": round(sum(entry[name] for entry in found if name in entry), 4)
        for name in SUMMED
        if any(name in entry for entry in found)
    }
    images = {name: value for name, value in jobs[-1][1].items() if name.startswith(f"{PREFIX}image")}
    return {
        **images,
        f"{PREFIX}job_count": len(jobs),
        **sums,
        f"{PREFIX}jobs": MetadataValue.table(_filled(records)),
    }


def _plain(metadata: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    found = {name: metadata.get(f"{PREFIX}{name}") for name in names}
    return {name: getattr(value, "value", value) for name, value in found.items() if value is not None}


def _filled(records: list[TableRecord]) -> list[TableRecord]:
    """The same columns in each row, as Dagster wants them."""
    names = list(dict.fromkeys(name for record in records for name in record.data))
    return [TableRecord({name: record.data.get(name, "") for name in names}) for record in records]
