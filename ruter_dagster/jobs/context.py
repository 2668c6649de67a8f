"""What every job works with: settings, tables, artifacts, the source, and where to report.

Each is opened on first use, so that a job pays only for what it touches. No job's own logic belongs here.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from ruter_dagster.config.operator import Operator, operator_of
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.errors import NoDateThere
from ruter_dagster.contracts.jobs import DatesParameters, JobParameters, asset_of
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, Table
from ruter_dagster.forecasting.calendar import Event, OperatingCalendar, Rename
from ruter_dagster.forecasting.carry_over import CarryOver
from ruter_dagster.jobs.pipes import DateReport, Reporter, json_value
from ruter_dagster.jobs.provenance import commit, lock_hash

if TYPE_CHECKING:
    from ruter_dagster.sources.base import Source
    from ruter_dagster.storage.artifacts import ArtifactStore
    from ruter_dagster.storage.experiments import Experiments
    from ruter_dagster.storage.registry import ModelRegistry
    from ruter_dagster.storage.snapshots import TableSnapshot
    from ruter_dagster.storage.tables import TableStore, WriteResult
    from ruter_dagster.storage.verdicts import Verdicts

log = logging.getLogger("ruter_dagster.jobs")
T = TypeVar("T")


@dataclass
class JobContext:
    """Everything around one job. What it reads it notes down, so that a run can be repeated with the same inputs."""

    settings: Settings
    parameters: JobParameters
    container: Container
    report: Reporter
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was read: table -> snapshot_id and the content hash of each date."""
    refused: dict[str, list[str]] = field(default_factory=dict)
    """Dates of history without a passing verdict, left out."""

    @cached_property
    def operator(self) -> Operator:
        return operator_of(self.settings)

    @cached_property
    def calendar(self) -> OperatingCalendar:
        return calendar_of(self.operator)

    @cached_property
    def source(self) -> Source:
        from ruter_dagster.sources.open import open_source

        return open_source(self.settings, self.operator, self._stored_plans)

    @cached_property
    def store(self) -> TableStore:
        from ruter_dagster.storage.open import open_tables

        return open_tables(self.settings)

    @cached_property
    def artifacts(self) -> ArtifactStore:
        from ruter_dagster.storage.artifacts import ArtifactStore

        return ArtifactStore.at(self.settings.artifacts_place, self.settings.aws_region)

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
        from ruter_dagster.storage.experiments import Experiments

        folder, lake, address = (
            self.settings.source_dir / "mlflow",
            self.settings.lake_dir,
            self.settings.mlflow_tracking_uri,
        )
        if address and not address.startswith("sqlite:"):
            return Experiments(address)
        files = f"{lake}/mlflow" if lake else (folder / "artifacts").as_uri()
        return Experiments(address or sqlite_address(folder / "mlflow.db"), files)

    @cached_property
    def _snapshots(self) -> dict[str, TableSnapshot]:
        return {}

    def snapshot(self, table: Table) -> TableSnapshot:
        """The table as its pin says, or as it was when the job first looked: one job never sees two states of a table."""
        if table.name not in self._snapshots:
            self._snapshots[table.name] = self.store.snapshot(table, self.parameters.pins.get(table.name))
        return self._snapshots[table.name]

    def read(
        self, table: Table, dates: Collection[date], columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Rows of dates that must be there with a passing verdict; a PermanentFailure names those that are not."""
        self.verdicts.require(table, self.snapshot(table).versions(dates), dates)
        return self._read(table, dates, columns)

    def read_asked(self, table: Table, parameters: DatesParameters) -> tuple[pl.DataFrame, list[date]]:
        """Rows of the dates that the job was asked for, and those dates; in a range, absent dates are left out."""
        dates = self.dates_asked(table, parameters.dates, parameters.of_range)
        return self.read(table, dates), dates

    def dates_asked(self, table: Table, dates: Collection[date], of_range: bool) -> list[date]:
        """The dates that the table has of those asked for; DateMissing names those that it lacks where it is no range.

        Of a range that it has nothing of, NoDateThere names them.
        """
        from ruter_dagster.storage.snapshots import DateMissing

        found = self.snapshot(table).versions(dates) if of_range else self.require(table, dates)
        if dates and not found:
            missing = DateMissing(table, set(dates), self.parameters.pins.get(table.name))
            raise NoDateThere(str(missing))
        return list(found)

    def dates_passed(self, table: Table, dates: Collection[date], of_range: bool) -> list[date]:
        """As `dates_asked`; raises a PermanentFailure where one of them has no passing verdict."""
        known = self.dates_asked(table, dates, of_range)
        self.verdicts.require(table, self.snapshot(table).versions(known), known)
        return known

    def require(self, table: Table, dates: Collection[date]) -> dict[date, str]:
        """The content version of dates that must be there; DateMissing names those that are not, and what to materialise."""
        from ruter_dagster.storage.snapshots import DateMissing

        versions = self.snapshot(table).versions(dates)
        if missing := set(dates) - set(versions):
            raise DateMissing(table, missing, self.parameters.pins.get(table.name))
        return versions

    def read_history(
        self,
        table: Table,
        dates: Collection[date],
        columns: Sequence[str] | None = None,
        *,
        ordered: bool = True,
    ) -> pl.DataFrame:
        """Rows of former dates, as far as they are there with a passing verdict: one bad day does not stop the next eight weeks.

        Sorted by key, or in any order for those who only add them up.
        """
        return self._read(table, list(self.history(table, dates)), columns, ordered)

    def history(self, table: Table, dates: Collection[date]) -> dict[date, str]:
        """The content versions of those former dates that are there with a passing verdict, which `read_history` reads."""
        versions = self.snapshot(table).versions(dates)
        refused = self.verdicts.refused(table, versions)
        if refused:
            noted = {*self.refused.get(table.name, ()), *(day.isoformat() for day in refused)}
            self.refused[table.name] = sorted(noted)
        return {day: version for day, version in versions.items() if day not in refused}

    def read_unjudged(
        self,
        table: Table,
        dates: Collection[date],
        columns: Sequence[str] | None = None,
        *,
        where: pl.Expr | None = None,
    ) -> pl.DataFrame:
        """Rows of a table that has no expectation suite, or that is about to be judged; absent dates are left out.

        Of `where`, only rows for which it is true.
        """
        return self._read(table, list(self.snapshot(table).versions(dates)), columns, where=where)

    def _read(
        self,
        table: Table,
        dates: Collection[date],
        columns: Sequence[str] | None,
        ordered: bool = True,
        where: pl.Expr | None = None,
    ) -> pl.DataFrame:
        snapshot = self.snapshot(table)
        self.note(table, snapshot.versions(dates))
        return snapshot.read(dates, columns, ordered=ordered, where=where)

    def _stored_plans(self, dates: Sequence[date]) -> pl.DataFrame:
        """The plans that counts of dates are matched to, whatever their verdict: levels and performance are joined to them."""
        from ruter_dagster.sources.matching import PLAN_COLUMNS

        return self.read_unjudged(PLANNED_DEPARTURES, dates, PLAN_COLUMNS)

    def note(self, table: Table, versions: Mapping[date, str]) -> None:
        """Notes down that the job's result follows from these dates of a table."""
        snapshot_id = self.snapshot(table).snapshot_id
        if snapshot_id is not None:
            noted = self.inputs.setdefault(table.name, {"snapshot_id": snapshot_id, "dates": {}})
            noted["dates"] |= {day.isoformat(): version for day, version in versions.items()}

    def write(
        self,
        table: Table,
        frame: pl.DataFrame,
        dates: Sequence[date],
        *,
        made_from: Mapping[date, str] | None = None,
        standing: Mapping[date, str] | None = None,
        numbers: Mapping[date, Mapping[str, float | None]] | None = None,
        **metadata: Any,
    ) -> None:
        """Replaces exactly these dates of the table, and reports them with `metadata` and everything that the job used.

        `standing` are dates that the job was asked for and whose rows are right as they are: they are reported alike.
        `numbers` are metadata of single dates; numbers in `metadata` are of all dates together.
        Raises BadInput where the rows break the table's contract: then nothing is written.
        """
        result = self._store(table, frame, dates, made_from)
        rows = dict(frame.group_by(table.partition).len().iter_rows())
        if standing:
            rows |= self.store.snapshot(table).rows_by_date(standing)
        versions = dict(sorted({**result.hashes, **(standing or {})}.items()))
        self.report.materialised(
            asset_of(table.name),
            dates={
                day: DateReport(rows.get(day, 0), version, (numbers or {}).get(day, {}))
                for day, version in versions.items()
            },
            snapshot_id=str(result.snapshot_id),
            dates_unchanged=len(result.unchanged) + len(standing or {}),
            **metadata,
            **self.provenance(),
        )

    def write_part(
        self,
        table: Table,
        frame: pl.DataFrame,
        dates: Sequence[date],
        made_from: Mapping[date, str] | None = None,
    ) -> Mapping[date, str]:
        """Replaces some of a job's dates, so that memory does not hold them all. The versions are given to `write` as `standing`."""
        return self._store(table, frame, dates, made_from).hashes

    def _store(
        self, table: Table, frame: pl.DataFrame, dates: Sequence[date], made_from: Mapping[date, str] | None
    ) -> WriteResult:
        used = {name: str(noted["snapshot_id"]) for name, noted in self.inputs.items()}
        code_version = self.parameters.code_version
        return self.store.write(
            table, frame, dates, inputs=used, made_from=made_from, code_version=code_version
        )

    def provenance(self) -> dict[str, Any]:
        """What a run used, as metadata: inputs, parameters, code.

        Snapshot ids are strings, because a browser rounds whole numbers beyond 2^53.
        """
        inputs = {
            name: noted | {"snapshot_id": str(noted["snapshot_id"])} for name, noted in self.inputs.items()
        }
        parameters = self.parameters.model_dump(mode="json")
        parameters["pins"] = {name: str(snapshot) for name, snapshot in self.parameters.pins.items()}
        return {
            "inputs": json_value(inputs) if inputs else None,
            "dates_refused": json_value(self.refused) if self.refused else None,
            "parameters": json_value(parameters),
            "commit": commit(self.settings),
            "lock_hash": lock_hash(),
        }

    def track(self, items: Collection[T], title: str) -> Iterator[T]:
        """Goes through items, with a log line every tenth of the way."""
        step = max(1, len(items) // 10)
        for number, item in enumerate(items, 1):
            yield item
            if len(items) > 1 and (number % step == 0 or number == len(items)):
                log.info("%s: %d of %d", title, number, len(items))


def calendar_of(operator: Operator) -> OperatingCalendar:
    """The operator's holidays, events and renames, as plain values; raises OperatorError where its holidays are unknown."""
    operator.require_public_holidays()
    return OperatingCalendar(
        country=operator.country,
        time_zone=operator.time_zone,
        school_holidays=operator.school_holiday_dates(),
        subdivision=operator.subdivision,
        events=tuple(
            Event(event.date, event.from_hour, event.to_hour, event.lines, event.stops)
            for event in operator.events
        ),
        renames=tuple(
            Rename("line_id" if one.line else "stop_id", one.was, one.line or one.stop or "", one.first)
            for one in operator.renames
        ),
    )


def carry_over_of(operator: Operator) -> CarryOver:
    """Where the operator's loads are carried over from trip to trip, as plain values."""
    loads = operator.loads
    return CarryOver(loads.carry_over, loads.lines, loads.longest_wait_minutes)


def day_range(first: date, last: date) -> list[date]:
    """All dates from first to last, both included."""
    return pl.date_range(first, last, eager=True).to_list() if first <= last else []
