"""Watches for drift: reads the drift checks' results, and asks for a training where a metric calls for action."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetKey,
    DagsterInstance,
    DagsterRun,
    RunRecord,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from ruter_dagster.contracts.jobs import asset_of
from ruter_dagster.contracts.model_checks import DRIFT_CHECKS
from ruter_dagster.contracts.tables import DRIFT
from ruter_dagster.records import last_date_of_run
from ruter_dagster.sensors.chain import sensor_status
from ruter_dagster.settings import Settings

INTERVAL_SECONDS = 300
NEWEST = 20
"""Failed results of each check that are looked at."""
DRIFT_ASSET = asset_of(DRIFT.name)


@dataclass(frozen=True)
class Drift:
    """The drift checks that failed in one run. `acts`: a metric calls for action, not only for attention."""

    record: RunRecord
    checks: tuple[AssetCheckEvaluation, ...]

    @property
    def run(self) -> DagsterRun:
        return self.record.dagster_run

    @property
    def operating_date(self) -> str:
        return last_date_of_run(self.run)

    @property
    def acts(self) -> bool:
        return any(verdict_of(check) == "act" for check in self.checks)


def verdict_of(check: AssetCheckEvaluation) -> str:
    """`act` or `warn`, as the failed check's metadata says."""
    return str(check.metadata["verdict"].value) if "verdict" in check.metadata else "warn"


def newest_drift(instance: DagsterInstance) -> list[Drift]:
    """Drift found by the newest runs, the oldest first; none where every check passed."""
    failed: dict[str, list[AssetCheckEvaluation]] = {}
    records = sorted(
        (record for check in DRIFT_CHECKS for record in _failed(instance, check.name)),
        key=lambda record: record.id,
    )
    for record in records:
        event = record.event.dagster_event if record.event else None
        if event:
            failed.setdefault(record.run_id, []).append(event.asset_check_evaluation_data)
    runs = {run_id: instance.get_run_record_by_id(run_id) for run_id in failed}
    return [Drift(run, tuple(failed[run_id])) for run_id, run in runs.items() if run]


def drift_sensors(settings: Settings, jobs: Mapping[str, Any]) -> list[SensorDefinition]:
    """The sensor `drift_check`: a training once for each operating date on which a metric calls for action."""

    @sensor(
        job=jobs["training"],
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=sensor_status(settings),
        description="Asks for a training, once for each operating date on which a drift metric calls for action.",
    )
    def drift_check(context: SensorEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        done = context.cursor or ""
        found = [
            drift for drift in newest_drift(context.instance) if drift.acts and drift.operating_date > done
        ]
        if not found:
            yield SkipReason(
                f"No drift metric calls for action after {done}"
                if done
                else "No drift metric calls for action"
            )
            return
        newest = max(drift.operating_date for drift in found)
        yield RunRequest(run_key=f"training after drift {newest}", tags={"ruter/drift": newest})
        context.update_cursor(newest)

    return [drift_check]


def _failed(instance: DagsterInstance, check: str) -> list[Any]:
    key = AssetCheckKey(AssetKey(DRIFT_ASSET.split("/")), check)
    return list(
        instance.event_log_storage.get_asset_check_execution_history(
            key, limit=NEWEST, status={AssetCheckExecutionRecordStatus.FAILED}
        )
    )
