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
    TableMetadataValue,
    sensor,
)

from ruter_dagster.compat.checks import AssetCheckExecutionRecordStatus
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.jobs import asset_of
from ruter_dagster.contracts.model_checks import DRIFT_CHECKS
from ruter_dagster.contracts.tables import DRIFT
from ruter_dagster.sensors.chain import sensor_status

INTERVAL_SECONDS = 300
NEWEST = 20
"""Failed results of each check that are looked at."""
DRIFT_ASSET = asset_of(DRIFT.name)


@dataclass(frozen=True)
class Drift:
    """What the drift checks of one run found beyond a threshold: rows of monitoring.drift."""

    record: RunRecord
    rows: tuple[Mapping[str, Any], ...]

    @property
    def run(self) -> DagsterRun:
        return self.record.dagster_run

    @property
    def acts(self) -> bool:
        """Whether a metric calls for action, not only for attention."""
        return any(row["verdict"] == "act" for row in self.rows)

    @property
    def operating_date(self) -> str:
        """The newest date that calls for action, else the newest that warns."""
        return max(row["operating_date"] for row in self.rows if row["verdict"] == "act" or not self.acts)


def newest_drift(instance: DagsterInstance) -> list[Drift]:
    """Drift found by the newest runs, the oldest first; none where every check passed."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    records = sorted(
        (record for check in DRIFT_CHECKS for record in _failed(instance, check.name)),
        key=lambda record: record.id,
    )
    for record in records:
        event = record.event.dagster_event if record.event else None
        if event:
            rows.setdefault(record.run_id, []).extend(_rows(event.asset_check_evaluation_data))
    runs = {run_id: instance.get_run_record_by_id(run_id) for run_id, found in rows.items() if found}
    return [Drift(run, tuple(rows[run_id])) for run_id, run in runs.items() if run]


def _rows(check: AssetCheckEvaluation) -> list[Mapping[str, Any]]:
    beyond = check.metadata.get("beyond")
    return [record.data for record in beyond.records] if isinstance(beyond, TableMetadataValue) else []


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
    key = AssetCheckKey(AssetKey.from_user_string(DRIFT_ASSET), check)
    return list(
        instance.event_log_storage.get_asset_check_execution_history(
            key, limit=NEWEST, status={AssetCheckExecutionRecordStatus.FAILED}
        )
    )
