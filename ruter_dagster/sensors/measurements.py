"""What the sensor `run_metrics` measures: the ended run, its assets, and the age of each asset's newest partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    AssetsDefinition,
    DagsterEventType,
    DagsterInstance,
    DailyPartitionsDefinition,
    RunRecord,
)

from ruter_dagster.compat.clock import get_current_datetime
from ruter_dagster.contracts import metrics
from ruter_dagster.contracts.jobs import PUBLISHED_FORECASTS, asset_of
from ruter_dagster.contracts.metrics import Measurement, Metric
from ruter_dagster.contracts.tables import FORECAST_PERFORMANCE
from ruter_dagster.orchestration.event_log import (
    asset_of_step,
    failed_checks,
    materialisations,
    newest_partition,
)
from ruter_dagster.orchestration.job_costs import costs_of_runs
from ruter_dagster.resources.merge_results import ROW_COUNT
from ruter_dagster.sensors.drift import DRIFT_ASSET, drift_rows

PERFORMANCE_ASSET = asset_of(FORECAST_PERFORMANCE.name)
NETWORK_METRICS = {
    "skill_against_ha4": metrics.SKILL,
    "bias": metrics.BIAS,
    "coverage_deviation": metrics.COVERAGE_DEVIATION,
    "matched_share": metrics.MATCHED_SHARE,
}
"""Metrics by the name of the drift metric whose value for the network they have."""
MAX_LAG = timedelta(days=7)
"""An older partition is part of a history that is filled. It has no lag."""

DailyAssets = Mapping[str, DailyPartitionsDefinition]
"""The partitions of assets, by asset key."""


def daily_assets(assets: Sequence[AssetsDefinition]) -> DailyAssets:
    """The assets with daily partitions."""
    return {
        asset.key.to_user_string(): asset.partitions_def
        for asset in assets
        if isinstance(asset.partitions_def, DailyPartitionsDefinition)
    }


def measurements_of(
    instance: DagsterInstance,
    record: RunRecord,
    result: DagsterEventType,
    is_final: bool,
    assets: DailyAssets,
) -> Iterator[Measurement]:
    """The measurements of one ended run, at the time of its end. `is_final`: the run is not retried."""
    run_id = record.dagster_run.run_id
    ended = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else get_current_datetime("UTC")
    events = materialisations(instance, run_id)
    for metric, value, asset in (
        *_result(record, result, is_final),
        *_steps(instance, run_id),
        *_cost(instance, run_id),
        *_rows(events),
        *_lags(instance, run_id, events, assets),
        *_publications(events),
        *_accuracy(events),
        *_drift(instance, run_id, events),
    ):
        yield Measurement(metric, value, ended, asset)


def freshness(instance: DagsterInstance, assets: DailyAssets, now: datetime) -> Iterator[Measurement]:
    """The age of each asset's newest partition with data at `now`. Assets without data are left out."""
    for asset, partitions in assets.items():
        if newest := newest_partition(instance, asset):
            age = (now - _beginning(partitions, newest)).total_seconds()
            yield Measurement(metrics.FRESHNESS, age, now, asset)


Value = tuple[Metric, float, str | None]
"""A metric, its value, and its asset."""


def _result(record: RunRecord, result: DagsterEventType, is_final: bool) -> Iterator[Value]:
    if result is DagsterEventType.RUN_SUCCESS:
        yield metrics.RUN_SUCCESSES, 1, None
    elif result is DagsterEventType.RUN_FAILURE and is_final:
        yield metrics.RUN_FAILURES, 1, None
    if record.start_time and record.end_time:
        yield metrics.RUN_SECONDS, record.end_time - record.start_time, None


def _steps(instance: DagsterInstance, run_id: str) -> Iterator[Value]:
    """The duration of each asset's step, and its repeated attempts if there are any."""
    for step in instance.get_run_step_stats(run_id):
        asset = asset_of_step(step.step_key)
        if step.start_time and step.end_time:
            yield metrics.ASSET_SECONDS, step.end_time - step.start_time, asset
        if (step.attempts or 1) > 1:
            yield metrics.RETRIES, (step.attempts or 1) - 1, asset


def _cost(instance: DagsterInstance, run_id: str) -> Iterator[Value]:
    """The estimated cost of each asset's jobs in US dollars. Jobs on this machine have none."""
    jobs = costs_of_runs(instance.event_log_storage, [run_id])
    for asset in dict.fromkeys(job.asset for job in jobs):
        yield metrics.JOB_COST, sum(job.cost for job in jobs if job.asset == asset), asset


def _rows(events: Sequence[AssetMaterialization]) -> Iterator[Value]:
    rows: Counter[str] = Counter()
    for event in events:
        if (count := _number(event, ROW_COUNT)) is not None:
            rows[event.asset_key.to_user_string()] += int(count)
    yield from ((metrics.ROWS, count, asset) for asset, count in rows.items())


def _lags(
    instance: DagsterInstance, run_id: str, events: Sequence[AssetMaterialization], assets: DailyAssets
) -> Iterator[Value]:
    """The lag of each asset whose newest partition this run materialised for the first time."""
    newest: dict[str, str] = {}
    for event in events:
        if event.partition and "content_hash" in event.metadata:
            asset = event.asset_key.to_user_string()
            newest[asset] = max(event.partition, newest.get(asset, ""))
    for asset, partition in newest.items():
        if asset in assets and partition == newest_partition(instance, asset):
            first = _first_materialised(instance, asset, partition, run_id)
            if first and (lag := first - _beginning(assets[asset], partition)) <= MAX_LAG:
                yield metrics.LAG, lag.total_seconds(), asset


def _publications(events: Sequence[AssetMaterialization]) -> Iterator[Value]:
    """The number of issue dates that the run published. A publication that was repeated sent nothing, and is not counted."""
    published = _of(events, PUBLISHED_FORECASTS)
    if not published:
        return
    repeated = {day for event in published for day in _json(event, "already_published")}
    dates = {event.partition for event in published if "content_hash" in event.metadata}
    yield metrics.PUBLICATIONS, len(dates - repeated), None


def _accuracy(events: Sequence[AssetMaterialization]) -> Iterator[Value]:
    """The mean WAPE of the operating dates that the run measured."""
    values = [
        value for event in _of(events, PERFORMANCE_ASSET) if (value := _number(event, "wape")) is not None
    ]
    if values:
        yield metrics.WAPE, sum(values) / len(values), None


def _drift(instance: DagsterInstance, run_id: str, events: Sequence[AssetMaterialization]) -> Iterator[Value]:
    """Verdicts and the network's values of the newest date of all. A run of older dates has none, so that it raises no alarm."""
    measured = [event for event in _of(events, DRIFT_ASSET) if event.partition]
    newest = max(measured, key=lambda event: event.partition or "", default=None)
    if newest is None or newest.partition != newest_partition(instance, DRIFT_ASSET):
        return
    checks = [c for c in failed_checks(instance, run_id) if c.asset_key.to_user_string() == DRIFT_ASSET]
    rows = [row for check in checks for row in drift_rows(check)]
    verdicts = Counter(row["verdict"] for row in rows if row["operating_date"] == newest.partition)
    yield metrics.DRIFT_WARNINGS, verdicts["warn"], None
    yield metrics.DRIFT_ALARMS, verdicts["act"], None
    values = ((metric, _number(newest, name)) for name, metric in NETWORK_METRICS.items())
    yield from ((metric, value, None) for metric, value in values if value is not None)


def _first_materialised(
    instance: DagsterInstance, asset: str, partition: str, run_id: str
) -> datetime | None:
    """When the partition was materialised first, if this run did it; else None."""
    records_filter = AssetRecordsFilter(AssetKey.from_user_string(asset), asset_partitions=[partition])
    records = instance.fetch_materializations(records_filter, limit=1, ascending=True).records
    if not records or records[0].run_id != run_id:
        return None
    return datetime.fromtimestamp(records[0].timestamp, UTC)


def _beginning(partitions: DailyPartitionsDefinition, partition: str) -> datetime:
    """When a partition began to exist: at the end of an operating date, and at the beginning of an issue date."""
    day = date.fromisoformat(partition) + timedelta(1 - partitions.end_offset)
    return datetime.combine(day, time(), ZoneInfo(partitions.timezone)).astimezone(UTC)


def _of(events: Sequence[AssetMaterialization], asset: str) -> list[AssetMaterialization]:
    return [event for event in events if event.asset_key.to_user_string() == asset]


def _number(event: AssetMaterialization, name: str) -> float | None:
    value = getattr(event.metadata.get(name), "value", None)
    return float(value) if isinstance(value, int | float) else None


def _json(event: AssetMaterialization, name: str) -> Any:
    return getattr(event.metadata.get(name), "data", None) or ()
