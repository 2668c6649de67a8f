"""What a day costs does not grow with the history that is kept: counted in files opened, rows read and commits, not in seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import Balance, Features, JobParameters, Levels, Snapshot
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_LOADS, STOP_VISITS, Table
from ruter_dagster.forecasting.features import lag_dates
from ruter_dagster.jobs.models import read_inputs
from ruter_dagster.storage.snapshots import TableSnapshot
from tests.jobs.demo_jobs import context_of, judged, make_loads, run

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

ISSUED = date(2026, 11, 20)
HISTORY = [ISSUED - timedelta(ago) for ago in range(20, 0, -1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loads of 20 dates, and features of the 18 newest of them."""
    folder = tmp_path_factory.mktemp("state")
    make_loads(folder, *HISTORY)
    planned = tuple(HISTORY[2:])
    for parameters in (
        Snapshot(table=PLANNED_DEPARTURES.name, dates=(*planned, ISSUED), of_range=True),
        judged(PLANNED_DEPARTURES, *planned, ISSUED),
        Features(dates=planned, of_range=True),
        judged(DEPARTURE_FEATURES, *planned),
    ):
        run(parameters, folder)
    return folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Data files opened, by table."""
    files: Counter[str] = Counter()
    scan = TableSnapshot._scan

    def counting(self: TableSnapshot, paths: list[str]) -> pl.LazyFrame:
        files[self._table.name] += len(paths)
        return scan(self, paths)

    monkeypatch.setattr(TableSnapshot, "_scan", counting)
    yield files


def commits(table: Table, parameters: JobParameters, folder: Path) -> int:
    """Snapshots that the job added to a table."""

    def count() -> int:
        loaded = context_of(parameters, folder).store.snapshot(table)._loaded
        return len(loaded.snapshots()) if loaded else 0

    before = count()
    run(parameters, folder)
    return count() - before


def test_levels_open_two_weeks_of_loads_and_features_and_commit_once(
    folder: Path, opened: Counter[str]
) -> None:
    run(Levels(dates=(ISSUED,)), folder)
    assert opened == {STOP_LOADS.name: 14, DEPARTURE_FEATURES.name: 14}


def test_features_of_a_date_open_its_plan_and_the_lag_dates_that_there_are(
    folder: Path, opened: Counter[str]
) -> None:
    context = run(Features(dates=(ISSUED,)), folder)
    lags = set(lag_dates(ISSUED, context.calendar)) & set(HISTORY)
    assert opened == {PLANNED_DEPARTURES.name: 1, STOP_LOADS.name: len(lags)}


def test_features_that_stand_open_no_file_at_all(folder: Path, opened: Counter[str]) -> None:
    dates = tuple(HISTORY[2:])
    run(Features(dates=dates, of_range=True), folder)
    assert not opened


def test_a_quality_report_opens_its_dates_alone(folder: Path, opened: Counter[str]) -> None:
    run(judged(DEPARTURE_FEATURES, HISTORY[-1]), folder)
    run(judged(STOP_VISITS, HISTORY[-1]), folder)
    assert opened == {DEPARTURE_FEATURES.name: 1, STOP_VISITS.name: 1, PLANNED_DEPARTURES.name: 2}, (
        "both beside the plan"
    )


def test_training_reads_a_date_at_a_time_and_no_more_rows_than_it_may(
    folder: Path, opened: Counter[str]
) -> None:
    context = context_of(Balance(dates=()), folder)
    dates = HISTORY[-10:]
    rows = [inputs.features.height for inputs in read_inputs(context, dates, 20_000, seed=1)]
    assert len(rows) == len(dates)
    assert 19_000 < sum(rows) < 21_000
    assert opened[DEPARTURE_FEATURES.name] == len(dates)
    again = [inputs.features.height for inputs in read_inputs(context, dates, 20_000, seed=1)]
    other = [inputs.features.height for inputs in read_inputs(context, dates, 20_000, seed=2)]
    assert again == rows != other


def test_loads_of_a_date_open_that_date_alone(folder: Path, opened: Counter[str]) -> None:
    run(Balance(dates=(HISTORY[-1],)), folder)
    assert opened == {STOP_VISITS.name: 1}


def test_a_range_is_one_commit(folder: Path) -> None:
    days = tuple(HISTORY[-3:])
    added = commits(LEVELS, Levels(dates=tuple(day + timedelta(1) for day in days), of_range=True), folder)
    assert added <= 2, "pyiceberg deletes and appends: two snapshots of one transaction"
    assert commits(LEVELS, Levels(dates=(days[-1] + timedelta(1),)), folder) == 0, "the same content again"
