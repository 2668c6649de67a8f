"""The tables that a job reads, each at one snapshot. Writing belongs in context.py."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any, Literal

import polars as pl

from ruter_dagster.contracts.errors import NoDataForDates
from ruter_dagster.contracts.jobs import JobParameters
from ruter_dagster.contracts.tables import Table
from ruter_dagster.storage.snapshots import DateMissing, TableSnapshot
from ruter_dagster.storage.tables import TableStore
from ruter_dagster.storage.verdicts import Verdicts

Missing = Literal["error", "skip", "error_if_all"]
"""What to do with dates that the table lacks. `error_if_all`: skip them, but fail if the table has none of the dates."""
Verdict = Literal["require", "skip", "ignore"]
"""What to do with dates without a passed verdict: fail, skip the dates, or read them."""


class InputTables:
    """Reads the tables that the job's parameters declare, and records what was read.

    A table is read at its pinned snapshot, or at the snapshot that was current on first use.
    """

    def __init__(self, store: TableStore, verdicts: Verdicts, parameters: JobParameters) -> None:
        self._store, self._verdicts, self._parameters = store, verdicts, parameters
        self._snapshots: dict[str, TableSnapshot] = {}
        self.used: dict[str, dict[str, Any]] = {}
        """By table: `snapshot_id`, and `dates` with the content version of each used date."""
        self.dates_refused: dict[str, list[str]] = {}
        """By table: the dates that were skipped because they have no passed verdict."""

    def snapshot(self, table: Table) -> TableSnapshot:
        """The snapshot at which this job reads the table. The job's parameters must declare the table."""
        names = [declared.name for declared in self._parameters.input_tables]
        assert table.name in names, (
            f"{type(self._parameters).__name__} does not declare {table.name}: add it to its `reads` in contracts/jobs.py"
        )
        if table.name not in self._snapshots:
            pin = self._parameters.pins.get(table.name)
            self._snapshots[table.name] = self._store.snapshot(table, pin)
        return self._snapshots[table.name]

    def versions(
        self,
        table: Table,
        dates: Collection[date],
        *,
        missing: Missing = "error",
        verdict: Verdict = "require",
    ) -> dict[date, str]:
        """The content version of each date, in order. Opens no data file.

        Raises `DateMissing`, `NoDataForDates` (with `error_if_all`) or `NoPassingVerdict`.
        """
        versions = self.snapshot(table).versions(dates)
        self._require_dates(table, dates, versions, missing)
        if verdict == "require":
            self._verdicts.require(table, versions)
        if verdict == "skip":
            refused = self._verdicts.refused_dates(table, versions)
            self._record_refused(table, refused)
            versions = {day: version for day, version in versions.items() if day not in refused}
        return versions

    def read(
        self,
        table: Table,
        dates: Collection[date],
        columns: Sequence[str] | None = None,
        *,
        missing: Missing = "error",
        verdict: Verdict = "require",
        where: pl.Expr | None = None,
        ordered: bool = True,
    ) -> pl.DataFrame:
        """The rows of the dates, sorted by key. Records the dates as used.

        `ordered=False` is faster and leaves the rows unsorted. `where` keeps the rows for which it is true. Raises the errors
        of `versions`.
        """
        versions = self.versions(table, dates, missing=missing, verdict=verdict)
        self.record(table, versions)
        return self.snapshot(table).read(versions, columns, ordered=ordered, where=where)

    def record(self, table: Table, versions: Mapping[date, str]) -> None:
        """Records dates of a table as used, because the job's result depends on them."""
        snapshot_id = self.snapshot(table).snapshot_id
        if snapshot_id is not None:
            used = self.used.setdefault(table.name, {"snapshot_id": snapshot_id, "dates": {}})
            used["dates"] |= {day.isoformat(): version for day, version in versions.items()}

    def _require_dates(
        self, table: Table, dates: Collection[date], present: Collection[date], missing: Missing
    ) -> None:
        absent = set(dates) - set(present)
        if not absent or missing == "skip" or (missing == "error_if_all" and present):
            return
        error = DateMissing(table, absent, self._parameters.pins.get(table.name))
        raise NoDataForDates(str(error)) if missing == "error_if_all" else error

    def _record_refused(self, table: Table, dates: Collection[date]) -> None:
        if dates:
            recorded = self.dates_refused.get(table.name, ())
            self.dates_refused[table.name] = sorted({*recorded, *map(str, dates)})
