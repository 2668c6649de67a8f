"""The sensor of drift: reads the results of the drift checks, and requests a training if a metric requires action."""

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
NEWEST_RESULTS = 20
"""Number of newest failed results of each check that are read."""
DRIFT_ASSET = asset_of(DRIFT.name)


@dataclass(frozen=True)
class Drift:
    """The rows of monitoring.drift that exceed a threshold, from the checks of one run."""

    record: RunRecord
    rows: tuple[Mapping[str, Any], ...]

    @property
    def run(self) -> DagsterRun:
        return self.record.dagster_run

    @property
    def requires_action(self) -> bool:
        """Whether a metric has the verdict `act`, not only `warn`."""
        return any(row["verdict"] == "act" for row in self.rows)

    @property
    def operating_date(self) -> str:
        """The newest date with the verdict `act`; without one, the newest with `warn`."""
        return max(
            row["operating_date"] for row in self.rows if row["verdict"] == "act" or not self.requires_action
        )


def newest_drift(instance: DagsterInstance) -> list[Drift]:
    """Drift that the newest runs measured, the oldest first. Runs whose checks all passed are left out."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    records = sorted(
        (record for check in DRIFT_CHECKS for record in _failed_results(instance, check.name)),
        key=lambda record: record.id,
    )
    for record in records:
        event = record.event.dagster_event if record.event else None
        if event:
            rows.setdefault(record.run_id, []).extend(drift_rows(event.asset_check_evaluation_data))
    runs = {run_id: instance.get_run_record_by_id(run_id) for run_id, run_rows in rows.items() if run_rows}
    return [Drift(run, tuple(rows[run_id])) for run_id, run in runs.items() if run]


def drift_sensors(settings: Settings, jobs: Mapping[str, Any]) -> list[SensorDefinition]:
    """The sensor `drift_check`: one training for each operating date on which a metric requires action."""

    @sensor(
        job=jobs["training"],
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=sensor_status(settings),
        description="Requests one training for each operating date on which a drift metric requires action.",
    )
    def drift_check(context: SensorEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        last = context.cursor or ""
        dates = [drift.operating_date for drift in newest_drift(context.instance) if drift.requires_action]
        newest = max(dates, default="")
        if newest <= last:
            yield SkipReason("No drift metric requires action" + (f" after {last}" if last else ""))
            return
        yield RunRequest(run_key=f"training after drift {newest}", tags={"ruter/drift": newest})
        context.update_cursor(newest)

    return [drift_check]


def drift_rows(check: AssetCheckEvaluation, table: str = "beyond") -> list[Mapping[str, Any]]:
    """The rows of a table in a check's metadata: by default those of monitoring.drift that exceed a threshold."""
    rows = check.metadata.get(table)
    return [record.data for record in rows.records] if isinstance(rows, TableMetadataValue) else []


def _failed_results(instance: DagsterInstance, check: str) -> list[Any]:
    key = AssetCheckKey(AssetKey.from_user_string(DRIFT_ASSET), check)
    return list(
        instance.event_log_storage.get_asset_check_execution_history(
            key, limit=NEWEST_RESULTS, status={AssetCheckExecutionRecordStatus.FAILED}
        )
    )
