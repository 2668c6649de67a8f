"""The cost of SageMaker's jobs, from the metadata of materialisations and observations in Dagster's event log.

A job that failed has an observation and no materialisation. Jobs of this machine have no cost.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dagster import (
    AssetKey,
    AssetRecordsFilter,
    DagsterEventType,
    EventLogRecord,
    JsonMetadataValue,
    TableMetadataValue,
)

from ruter_dagster.compat.storage import EventLogStorage
from ruter_dagster.resources.merge_results import RANGE_TOTALS
from ruter_dagster.resources.sagemaker.job_metadata import PREFIX

_PAGE = 1000
_COST, _JOB, _JOBS, _BRANCH = (f"{PREFIX}{name}" for name in ("estimated_cost", "job_arn", "jobs", "branch"))
_ENDS = {DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_OBSERVATION}
UNKNOWN = "unknown"
"""Branch of a job that recorded none."""


@dataclass(frozen=True)
class JobCost:
    """The estimated cost of one job in US dollars. `time` is when its end was recorded, UTC. `branch` is that of its code."""

    asset: str
    run_id: str
    job: str
    time: datetime
    cost: float
    branch: str = UNKNOWN
    failed: bool = False


@dataclass(frozen=True)
class CostSum:
    """The cost of all jobs with the same key: an asset, a run, a branch or a day."""

    key: str
    jobs: int
    cost: float


def job_costs(event_log: EventLogStorage, first: date, last: date, time_zone: str) -> list[JobCost]:
    """The costs that were recorded from the beginning of `first` to the end of `last`, local time. Each job is listed once."""
    zone = ZoneInfo(time_zone)
    start, end = (datetime.combine(day, time(), zone) for day in (first, last + timedelta(1)))
    records = (
        record
        for key in sorted(event_log.all_asset_keys(), key=AssetKey.to_user_string)
        for record in _job_ends(event_log, key, start, end)
    )
    return _once_each(cost for record in records for cost in _costs(record))


def costs_of_runs(event_log: EventLogStorage, run_ids: Iterable[str]) -> list[JobCost]:
    """The costs that these runs recorded. Each job is listed once."""
    records = (
        record
        for run_id in run_ids
        for record in event_log.get_records_for_run(run_id, of_type=_ENDS).records
    )
    return _once_each(cost for record in records for cost in _costs(record))


def runs_that_wrote(event_log: EventLogStorage, asset: str, versions: Mapping[date, str]) -> dict[date, str]:
    """The newest run that recorded each date of the asset with this content version. Dates without such a run are left out."""
    runs: dict[date, str] = {}
    for day, version in versions.items():
        dates = AssetRecordsFilter(AssetKey.from_user_string(asset), asset_partitions=[day.isoformat()])
        for record in event_log.fetch_materializations(dates, limit=_PAGE).records:
            content = record.asset_materialization and record.asset_materialization.metadata.get(
                "content_hash"
            )
            if content and content.value == version:
                runs[day] = record.run_id
                break
    return runs


def sums_by(costs: Iterable[JobCost], key: Callable[[JobCost], Any]) -> list[CostSum]:
    """The sum of each key, in the order of the keys."""
    groups: dict[str, list[float]] = {}
    for job in costs:
        groups.setdefault(str(key(job)), []).append(job.cost)
    return [CostSum(name, len(values), round(sum(values), 4)) for name, values in sorted(groups.items())]


def _job_ends(
    event_log: EventLogStorage, key: AssetKey, start: datetime, end: datetime
) -> Iterator[EventLogRecord]:
    """The materialisations of an asset and the observations of its failed jobs, from `start` to before `end`."""
    # Dagster's bound is exclusive.
    after = start.timestamp() - 1e-6
    records_filter = AssetRecordsFilter(key, after_timestamp=after, before_timestamp=end.timestamp())
    for fetch in (event_log.fetch_materializations, event_log.fetch_observations):
        cursor, has_more = None, True
        while has_more:
            page = fetch(records_filter, _PAGE, cursor, ascending=True)
            yield from page.records
            cursor, has_more = page.cursor, page.has_more


def _costs(record: EventLogRecord) -> Iterator[JobCost]:
    """The jobs of one event. Several jobs of a range are a table, and the numbers of one are its totals."""
    event = record.asset_materialization or record.asset_observation
    if event is None:
        return
    asset, metadata = event.asset_key.to_user_string(), event.metadata
    recorded = datetime.fromtimestamp(record.timestamp, UTC)
    branch = getattr(metadata.get(_BRANCH), "value", None) or UNKNOWN
    failed = record.asset_materialization is None
    for job, cost in _costs_by_job(metadata).items():
        name = job or f"{record.run_id}/{asset}/{event.partition}"
        yield JobCost(asset, record.run_id, name, recorded, cost, str(branch), failed)


def _costs_by_job(metadata: Mapping[str, Any]) -> dict[str, float]:
    table = metadata.get(_JOBS)
    if isinstance(table, TableMetadataValue):
        rows = [record.data for record in table.records]
        costs = {str(row.get("job_arn")): row.get("estimated_cost") for row in rows}
        return {job: float(cost) for job, cost in costs.items() if isinstance(cost, (int, float))}
    totals = metadata.get(RANGE_TOTALS)
    of_range = totals.data if isinstance(totals, JsonMetadataValue) and isinstance(totals.data, dict) else {}
    cost = getattr(metadata.get(_COST), "value", of_range.get(_COST))
    job = getattr(metadata.get(_JOB), "value", None)
    return {str(job or ""): float(cost)} if isinstance(cost, (int, float)) else {}


def _once_each(costs: Iterable[JobCost]) -> list[JobCost]:
    """Each job once: one job can write several assets, and a repeated step finds the job of its first attempt."""
    jobs: dict[Hashable, JobCost] = {}
    for cost in costs:
        jobs.setdefault(cost.job, cost)
    return list(jobs.values())
