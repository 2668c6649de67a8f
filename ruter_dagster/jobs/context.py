"""The context of a job: settings, tables, artifacts, the source and the reports, each opened on first use.

The computation of a job belongs in its own module.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from ruter_dagster.config.aws import NO_MLFLOW
from ruter_dagster.config.operator import Operator, operator_of
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.jobs import JobParameters, asset_of
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, Table
from ruter_dagster.forecasting.calendar import OperatingCalendar
from ruter_dagster.jobs.operator_rules import calendar_of
from ruter_dagster.jobs.pipes import DateReport, Reporter, json_value
from ruter_dagster.jobs.provenance import commit, lock_hash

if TYPE_CHECKING:
    from ruter_dagster.jobs.input_tables import InputTables
    from ruter_dagster.sources.base import Source
    from ruter_dagster.storage.artifacts import ArtifactStore
    from ruter_dagster.storage.experiments import Experiments
    from ruter_dagster.storage.registry import ModelRegistry
    from ruter_dagster.storage.tables import TableStore, WriteResult
    from ruter_dagster.storage.verdicts import Verdicts

log = logging.getLogger("ruter_dagster.jobs")
T = TypeVar("T")


@dataclass
class JobContext:
    """Everything that one job reads from, writes to and reports to."""

    settings: Settings
    parameters: JobParameters
    container: Container
    report: Reporter

    @cached_property
    def operator(self) -> Operator:
        return operator_of(self.settings)

    @cached_property
    def calendar(self) -> OperatingCalendar:
        return calendar_of(self.operator)

    @cached_property
    def source(self) -> Source:
        from ruter_dagster.sources.configured_source import open_source

        return open_source(self.settings, self.operator, self._stored_plans)

    @cached_property
    def store(self) -> TableStore:
        from ruter_dagster.storage.configured_tables import open_tables

        return open_tables(self.settings)

    @cached_property
    def artifacts(self) -> ArtifactStore:
        from ruter_dagster.storage.artifacts import ArtifactStore

        return ArtifactStore.at(self.settings.artifacts_location, self.settings.aws_region)

    @cached_property
    def verdicts(self) -> Verdicts:
        from ruter_dagster.storage.verdicts import Verdicts

        return Verdicts(self.artifacts)

    @cached_property
    def models(self) -> ModelRegistry:
        from ruter_dagster.storage.registry import ModelRegistry

        return ModelRegistry(self.artifacts)

    @cached_property
    def experiments(self) -> Experiments:
        from ruter_dagster.storage.catalog import sqlite_address
        from ruter_dagster.storage.experiments import Experiments, NoExperiments

        folder, lake, address = (
            self.settings.source_dir / "mlflow",
            self.settings.lake_dir,
            self.settings.mlflow_tracking_uri,
        )
        if address == NO_MLFLOW:
            return NoExperiments()
        if address and not address.startswith("sqlite:"):
            return Experiments(address, prefix=f"{self.settings.environment}-")
        files = f"{lake}/mlflow" if lake else (folder / "artifacts").as_uri()
        return Experiments(address or sqlite_address(folder / "mlflow.db"), files)

    @cached_property
    def tables(self) -> InputTables:
        from ruter_dagster.jobs.input_tables import InputTables

        return InputTables(self.store, self.verdicts, self.parameters)

    def _stored_plans(self, dates: Sequence[date]) -> pl.DataFrame:
        """The stored plans of dates, with any verdict. Counts are matched to them, because levels and performance join them."""
        from ruter_dagster.sources.matching import PLAN_COLUMNS

        return self.tables.read(PLANNED_DEPARTURES, dates, PLAN_COLUMNS, missing="skip", verdict="ignore")

    def write(
        self,
        table: Table,
        frame: pl.DataFrame,
        dates: Sequence[date],
        *,
        input_hashes: Mapping[date, str] | None = None,
        stored: Mapping[date, str] | None = None,
        numbers: Mapping[date, Mapping[str, float | None]] | None = None,
        **metadata: Any,
    ) -> None:
        """Replaces the rows of these dates, and reports a materialisation with `metadata` and everything that the job used.

        `stored` has the versions of further dates whose rows are stored already; they are reported too. `numbers` are
        metadata of single dates; numbers in `metadata` are totals of all dates.
        Raises `BadInput` if the rows break the table's contract. Nothing is written then.
        """
        result = self._store(table, frame, dates, input_hashes)
        rows = dict(frame.group_by(table.partition).len().iter_rows())
        if stored:
            rows |= self.store.snapshot(table).rows_by_date(stored)
        versions = dict(sorted({**result.hashes, **(stored or {})}.items()))
        self.report.materialised(
            asset_of(table.name),
            dates={
                day: DateReport(rows.get(day, 0), version, (numbers or {}).get(day, {}))
                for day, version in versions.items()
            },
            snapshot_id=str(result.snapshot_id),
            dates_unchanged=len(result.unchanged) + len(stored or {}),
            **metadata,
            **self.provenance(),
        )

    def write_part(
        self,
        table: Table,
        frame: pl.DataFrame,
        dates: Sequence[date],
        input_hashes: Mapping[date, str] | None = None,
    ) -> Mapping[date, str]:
        """Writes a part of the dates, to limit memory. Returns their versions, which `write` takes as `stored`."""
        return self._store(table, frame, dates, input_hashes).hashes

    def _store(
        self,
        table: Table,
        frame: pl.DataFrame,
        dates: Sequence[date],
        input_hashes: Mapping[date, str] | None,
    ) -> WriteResult:
        inputs = {name: str(used["snapshot_id"]) for name, used in self.tables.used.items()}
        code_version = self.parameters.code_version
        return self.store.write(
            table, frame, dates, inputs=inputs, input_hashes=input_hashes, code_version=code_version
        )

    def provenance(self) -> dict[str, Any]:
        """Metadata of everything that the run used: inputs, parameters and code.

        Snapshot ids are strings, because a browser rounds integers beyond 2^53.
        """
        inputs = {
            name: used | {"snapshot_id": str(used["snapshot_id"])} for name, used in self.tables.used.items()
        }
        refused = self.tables.dates_refused
        parameters = self.parameters.model_dump(mode="json")
        parameters["pins"] = {name: str(snapshot) for name, snapshot in self.parameters.pins.items()}
        return {
            "inputs": json_value(inputs) if inputs else None,
            "dates_refused": json_value(refused) if refused else None,
            "parameters": json_value(parameters),
            "commit": commit(self.settings),
            "lock_hash": lock_hash(),
        }

    def track(self, items: Collection[T], title: str) -> Iterator[T]:
        """Yields the items, and logs the progress ten times."""
        step = max(1, len(items) // 10)
        for number, item in enumerate(items, 1):
            yield item
            if len(items) > 1 and (number % step == 0 or number == len(items)):
                log.info("%s: %d of %d", title, number, len(items))
