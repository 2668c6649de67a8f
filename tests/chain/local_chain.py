"""The real chain on a small TIDES folder: definitions, an instance and tables of its own, each job a process."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from dagster import AssetCheckSeverity, AssetKey, DagsterEventType, DagsterInstance, Definitions

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.tables import (
    LOAD_FORECASTS,
    PLANNED_DEPARTURES,
    STOP_LOADS,
    STOP_VISITS,
    WEATHER_FORECASTS,
    Table,
)
from ruter_dagster.contracts.validation import content_hash
from ruter_dagster.orchestration.chain import RUNS
from ruter_dagster.orchestration.event_log import asset_of_step, failed_checks, failure_cause
from ruter_dagster.orchestration.runs import RunRequest
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore

TABLES = (
    STOP_VISITS,
    PLANNED_DEPARTURES,
    WEATHER_FORECASTS,
    STOP_LOADS,
    LOAD_FORECASTS,
    DEPARTURE_FEATURES,
    LEVELS,
)

Content = dict[str, tuple[int | None, dict[date, str]]]
"""By table the newest snapshot and the hash of each date's rows, as they are read."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the message that a person reads, and the events that Dagster recorded."""

    run_id: str
    succeeded: bool
    asset: str | None
    """The asset whose step failed."""
    message: str
    started: Counter[str]
    """How often each asset's step was started."""
    retried: Counter[str]
    materialised: list[str]
    blocked: list[str]
    """Names of ERROR checks that failed."""
    warned: list[str]


@dataclass(frozen=True)
class Chain:
    """Runs of the chain, and the tables that they write."""

    settings: Settings
    definitions: Definitions
    instance: DagsterInstance
    tides: Path

    def run(self, job: str, *dates: date, assets: tuple[str, ...] = ()) -> Outcome:
        """Executes all or some assets of a job to the end, for a date or for a range from a first to a last date."""
        request = RunRequest(job, assets or RUNS[job], dates)
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=dates[0].isoformat() if len(dates) == 1 else None,
            asset_selection=[AssetKey.from_user_string(key) for key in request.assets],
            tags=request.tags(),
            raise_on_error=False,
        )
        return self._outcome(result.run_id, result.success)

    def refuse(self, asset: str, job: str, day: date) -> str:
        """Runs this asset alone, which must fail for good at its first attempt. Returns the message that a person reads."""
        outcome = self.run(job, day, assets=(asset,))
        assert not outcome.succeeded, f"{asset} ran"
        assert outcome.started == {asset: 1}
        assert not outcome.retried and not outcome.materialised
        return outcome.message

    def content(self, *tables: Table) -> Content:
        """Newest snapshot and hashes of the tables. Reads every row."""
        content: Content = {}
        for table in tables or TABLES:
            snapshot = self.store.snapshot(table)
            days = snapshot.dates()
            content[table.name] = (
                snapshot.snapshot_id,
                {day: content_hash(snapshot.read([day]), table) for day in days},
            )
        return content

    @property
    def warehouse(self) -> Path:
        return self.settings.source_dir / "warehouse"

    @property
    def store(self) -> TableStore:
        return TableStore(local_catalog(self.warehouse))

    def _outcome(self, run_id: str, succeeded: bool) -> Outcome:
        checks = failed_checks(self.instance, run_id)
        fault = None if succeeded else failure_cause(self.instance, run_id)
        return Outcome(
            run_id=run_id,
            succeeded=succeeded,
            asset=fault.asset if fault else None,
            message=fault.reason if fault else "",
            started=self._steps(run_id, DagsterEventType.STEP_START),
            retried=self._steps(run_id, DagsterEventType.STEP_UP_FOR_RETRY),
            materialised=list(self._steps(run_id, DagsterEventType.ASSET_MATERIALIZATION)),
            blocked=[check.check_name for check in checks if check.severity == AssetCheckSeverity.ERROR],
            warned=[check.check_name for check in checks if check.severity == AssetCheckSeverity.WARN],
        )

    def _steps(self, run_id: str, kind: DagsterEventType) -> Counter[str]:
        records = self.instance.get_records_for_run(run_id, of_type=kind).records
        return Counter(asset_of_step(record.event_log_entry.step_key or "") for record in records)


def environment(root: Path) -> dict[str, str]:
    """Variables of a chain with state and source below `root`. A failed step is repeated once, without delay."""
    return {
        "RUTER_ENVIRONMENT": "test",
        "RUTER_LAUNCHER": "local",
        "RUTER_SOURCE": "tides",
        "RUTER_TIDES_PATH": str(root / "counts"),
        "RUTER_STATE_DIR": str(root / "state"),
        "RUTER_HISTORY_START": "2025-03-03",
        "RUTER_STEP_RETRIES": "1",
        "RUTER_STEP_RETRY_DELAY": "0",
    }


def foreign_variables() -> list[str]:
    """Names of the variables of this process that would change the settings of the chain."""
    return [name for name in os.environ if name.startswith(("RUTER_", "KAFKA_")) or name == "DAGSTER_HOME"]
