"""`ruter-dagster rejected`: lists the rejected stop visits of a date with their reasons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Column, Table

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import REJECTED_VISITS, STOP_VISITS
from ruter_dagster.quality.rejects import rejects_by_reason
from ruter_dagster.storage.configured_tables import open_tables

_SHOWN = ("file", "line_number", "reason", "trip_id_performed", "vehicle_id", "line_id")


@dataclass(frozen=True)
class RejectedRows:
    """Rejected rows of a date. `blocked`: so many rows were rejected that `raw.stop_visits` was not changed."""

    date: date
    rows: pl.DataFrame

    @property
    def blocked(self) -> bool:
        return bool(self.rows["date_blocked"].any())

    def to_json(self) -> dict[str, Any]:
        return {
            "service_date": self.date.isoformat(),
            "blocked": self.blocked,
            "reasons": rejects_by_reason(self.rows),
            "rows": self.rows.drop("service_date", "date_blocked").to_dicts(),
        }


def rejected_rows(settings: Settings, day: date) -> RejectedRows:
    """The rows of `day` that the newest reading rejected. Raises `PermanentFailure` if the date was never read."""
    unread = PermanentFailure(
        f"raw.stop_visits has no service_date {day} in {settings.lake_dir or settings.source_dir}. "
        "If the source has the date, materialise raw/stop_visits for it first"
    )
    if settings.lake_dir is None and not (settings.source_dir / "warehouse").is_dir():
        raise unread
    store = open_tables(settings)
    rejected = store.snapshot(REJECTED_VISITS)
    if not rejected.versions([day]) and not store.versions(STOP_VISITS, [day]):
        raise unread
    return RejectedRows(day, rejected.read(list(rejected.versions([day]))))


def show(rejected: RejectedRows, console: Console) -> None:
    """Prints all rows, then the number of rows for each reason."""
    if rejected.rows.is_empty():
        console.print(f"No row of {rejected.date} was rejected")
        return
    table = Table(
        *(Column(name, overflow="fold") for name in _SHOWN),
        title=f"Rejected stop visits of {rejected.date}",
    )
    for row in rejected.rows.select(_SHOWN).rows():
        table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table)
    for reason, rows in rejects_by_reason(rejected.rows).items():
        console.print(f"{rows:,} {'row' if rows == 1 else 'rows'}: {reason}")
    if rejected.blocked:
        console.print("The date is blocked: raw.stop_visits was not changed. --json prints the original rows")
