"""The job snapshot: what of the source is kept, and what is told of what is not."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.jobs import Snapshot
from ruter_dagster.contracts.tables import STOP_VISITS
from ruter_dagster.jobs import snapshot
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import Reporter
from ruter_dagster.settings import Settings
from ruter_dagster.sources.base import DateAbsent
from tests.sources.tides_folder import DAY, TRIPS, VEHICLES, VISITS

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

WEEKS = [DAY + timedelta(weeks=week) for week in range(6)]
"""More dates than are read in one pass."""


class Recorder(Reporter):
    """Keeps what the job reports."""

    def __init__(self) -> None:
        super().__init__(None)
        self.told: dict[str, Any] = {}

    def materialised(self, asset: str, **metadata: Any) -> None:
        self.told.update(metadata)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same visits on every date of WEEKS, a file a date; on the first of them one visit that nobody counted."""
    for table, rows in (("stop_visits", VISITS), ("trips_performed", TRIPS)):
        (tmp_path / table).mkdir()
        for day in WEEKS:
            (tmp_path / table / f"{day}.csv").write_text(rows.replace(str(DAY), str(day)))
    first = tmp_path / "stop_visits" / f"{DAY}.csv"
    first.write_text(first.read_text().replace("4,0,0,0,4,Scheduled", "4,0,,,,Scheduled"))
    (tmp_path / "vehicles.csv").write_text(VEHICLES)
    return tmp_path


def copy(folder: Path, *dates: date) -> tuple[JobContext, dict[str, Any]]:
    """Runs the job on dates of the folder: its context and what it reported."""
    settings = Settings(
        source="tides", tides_path=str(folder), operator="ruter", state_dir=folder / "state", _env_file=None
    )  # pyright: ignore[reportCallIssue]
    parameters = Snapshot(table=STOP_VISITS.name, dates=dates, of_range=len(dates) > 1, code_version="1")
    report = Recorder()
    context = JobContext(settings, parameters, Container(folder), report)
    snapshot.run(parameters, context)
    return context, report.told


def test_visits_without_counts_are_reported(folder: Path) -> None:
    _, told = copy(folder, DAY)
    left_out = told["rows_of_source"]["raw_value"]
    assert (left_out["visits"], left_out["kept, visit not counted"]) == (4, 1)
    assert told["dates"][DAY].rows == 4


def test_a_range_is_read_in_passes_and_lists_the_dates_that_are_absent(folder: Path) -> None:
    span = [DAY + timedelta(offset) for offset in range(36)]
    context, told = copy(folder, *span)
    assert context.store.dates(STOP_VISITS) == WEEKS
    assert len(span) > snapshot.BATCH_DATES
    assert told["dates_absent"]["raw_value"] == [str(day) for day in span if day not in WEEKS]
    assert told["rows_of_source"]["raw_value"]["visits"] == 4 * len(WEEKS)


def test_a_date_asked_for_by_itself_must_be_there(folder: Path) -> None:
    with pytest.raises(DateAbsent, match="no counted visit on 2026-11-21; it has 6 dates from 2026-11-20"):
        copy(folder, DAY + timedelta(1))
