"""A state with the tables that the dashboard reads: forecasts of one issue date, three operating dates with scores, names."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from benchmarks.dashboard import ISSUE_DATE, write, write_tables
from ruter_dagster.contracts.scores import CHALLENGER, LINE_SCORES, PUBLISHED
from ruter_dagster.contracts.tables import REJECTED_VISITS
from ruter_dagster.storage.tables import TableStore

DAYS = 3
OBSERVED = [ISSUE_DATE - timedelta(days) for days in (3, 2, 1)]
"""Operating dates with observed loads, the newest last."""
YESTERDAY = OBSERVED[-1]
TOMORROW = ISSUE_DATE + timedelta(1)
TIME_ZONE = "Europe/Oslo"


def write_state(store: TableStore) -> None:
    """Writes the tables, at the size of the demo network."""
    write_tables(store, DAYS, "demo")
    add_challenger(store, YESTERDAY)
    add_rejected_visits(store, YESTERDAY)


def add_challenger(store: TableStore, day: date) -> None:
    """A challenger with nine tenths of the champion's errors."""
    scores = store.read(LINE_SCORES, [day])
    challenger = scores.filter(pl.col("variant") == PUBLISHED).with_columns(
        variant=pl.lit(CHALLENGER), absolute_error=0.9 * pl.col("absolute_error")
    )
    write(store, LINE_SCORES, pl.concat([scores, challenger]), day)


def add_rejected_visits(store: TableStore, day: date) -> None:
    """Three visits, two of them for the same reason."""
    reasons = ("negative counts", "negative counts", "unknown stop")
    rows = pl.DataFrame(
        {
            "service_date": day, "file": "stop_visits.csv", "line_number": pl.Series([2, 3, 4]), "reason": pl.Series(reasons),
            "trip_id_performed": "trip", "vehicle_id": "vehicle", "line_id": "RUT:Line:21", "vehicle_type": "bus",
            "kept_without_counts": pl.Series([True, False, False]), "date_blocked": False, "row": "{}",
        }
    )  # fmt: skip
    write(store, REJECTED_VISITS, rows, day)
