"""What a day costs does not grow with the history that is kept: counted in files opened, rows read and commits, not in seconds."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import (
    NEWEST,
    Balance,
    Drift,
    Evaluate,
    Features,
    Forecast,
    JobParameters,
    Levels,
    Performance,
    Publish,
    Snapshot,
)
from ruter_dagster.contracts.tables import (
    FORECAST_PERFORMANCE,
    LOAD_FORECASTS,
    PLANNED_DEPARTURES,
    STOP_LOADS,
    STOP_VISITS,
    WEATHER_FORECASTS,
    Table,
)
from ruter_dagster.forecasting.drift_sums import LOAD_COLUMNS as LOAD_COLUMNS_OF_DRIFT
from ruter_dagster.forecasting.features import LOAD_COLUMNS, lag_dates
from ruter_dagster.forecasting.model_rows import TRUTH
from ruter_dagster.jobs.model_inputs import read_inputs
from ruter_dagster.publishing.kafka import PublicationResult
from tests.jobs.demo_jobs import context_of, judged, make_loads, run
from tests.jobs.reads import Reads

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

ISSUED = date(2026, 11, 20)
TRIED = ISSUED - timedelta(4)
"""The newest issue date whose four operating dates have loads."""
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
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


def commits(table: Table, parameters: JobParameters, folder: Path) -> int:
    """Snapshots that the job added to a table."""

    def count() -> int:
        loaded = context_of(parameters, folder).store.snapshot(table)._loaded
        return len(loaded.snapshots()) if loaded else 0

    before = count()
    run(parameters, folder)
    return count() - before


def test_levels_open_two_weeks_of_loads_and_features_and_commit_once(folder: Path, reads: Reads) -> None:
    run(Levels(dates=(ISSUED,)), folder)
    assert reads.files == {STOP_LOADS.name: 14, DEPARTURE_FEATURES.name: 14}


def test_features_of_a_date_open_its_plan_and_the_lag_dates_that_there_are(
    folder: Path, reads: Reads
) -> None:
    context = run(Features(dates=(ISSUED,)), folder)
    lags = set(lag_dates(ISSUED, context.calendar)) & set(HISTORY)
    assert reads.files == {PLANNED_DEPARTURES.name: 1, STOP_LOADS.name: len(lags)}


def test_features_that_stand_open_no_file_at_all(folder: Path, reads: Reads) -> None:
    dates = tuple(HISTORY[2:])
    run(Features(dates=dates, of_range=True), folder)
    assert not reads.files


def test_a_quality_report_opens_its_dates_alone(folder: Path, reads: Reads) -> None:
    run(judged(DEPARTURE_FEATURES, HISTORY[-1]), folder)
    run(judged(STOP_VISITS, HISTORY[-1]), folder)
    assert reads.files == {DEPARTURE_FEATURES.name: 1, STOP_VISITS.name: 1, PLANNED_DEPARTURES.name: 2}, (
        "both beside the plan"
    )


def test_loads_of_a_date_open_that_date_alone(folder: Path, reads: Reads) -> None:
    run(Balance(dates=(HISTORY[-1],)), folder)
    assert reads.files == {STOP_VISITS.name: 1}


def test_a_range_is_one_commit_and_the_same_content_again_is_none(folder: Path) -> None:
    former = tuple(HISTORY[0] - timedelta(ago) for ago in (3, 2, 1))
    coming = tuple(ISSUED + timedelta(ahead) for ahead in (1, 2, 3))
    issued = tuple(HISTORY[-8:-5])
    for table, parameters in (
        (STOP_VISITS, Snapshot(table=STOP_VISITS.name, dates=former, of_range=True)),
        (None, judged(STOP_VISITS, *former)),
        (STOP_LOADS, Balance(dates=former, of_range=True)),
        (PLANNED_DEPARTURES, Snapshot(table=PLANNED_DEPARTURES.name, dates=coming, of_range=True)),
        (None, judged(PLANNED_DEPARTURES, *coming)),
        (DEPARTURE_FEATURES, Features(dates=coming, of_range=True)),
        (LEVELS, Levels(dates=issued, of_range=True)),
    ):
        if table is None:
            run(parameters, folder)
            continue
        assert commits(table, parameters, folder) == 1, table.name
        assert commits(table, parameters, folder) == 0, table.name


@pytest.fixture(scope="module")
def forecast_folder(folder: Path) -> Path:
    """With all that a forecast of `TRIED` needs, four days before the end of the loads, and the forecast."""
    days = (TRIED, TRIED + timedelta(1))
    for parameters in (
        Snapshot(table=WEATHER_FORECASTS.name, dates=days, of_range=True),
        judged(WEATHER_FORECASTS, *days),
        Levels(dates=days, of_range=True),
        judged(LEVELS, *days),
        Forecast(dates=(TRIED,)),
    ):
        run(parameters, folder)
    return folder


def test_a_forecast_opens_four_dates_of_features_and_its_own_levels_and_weather(
    forecast_folder: Path, reads: Reads
) -> None:
    run(Forecast(dates=(TRIED,)), forecast_folder)
    assert reads.files == {DEPARTURE_FEATURES.name: 4, LEVELS.name: 1, WEATHER_FORECASTS.name: 1}


def test_a_publication_opens_its_forecasts_once(
    forecast_folder: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def published(forecasts: pl.DataFrame, *_: Any, **__: Any) -> PublicationResult:
        return PublicationResult("an-id", forecasts.height, False, ("load-forecasts",), 0.0)

    monkeypatch.setattr("ruter_dagster.jobs.publish.open_cluster_connection", lambda _: nullcontext())
    monkeypatch.setattr("ruter_dagster.jobs.publish.ensure_topics", lambda _: None)
    monkeypatch.setattr("ruter_dagster.jobs.publish.publish", published)
    run(Publish(dates=(TRIED,), issued_at="04:30"), forecast_folder)
    assert reads.files == {LOAD_FORECASTS.name: 1}


def test_performance_takes_of_forecasts_the_rows_of_its_own_date_alone(
    forecast_folder: Path, reads: Reads
) -> None:
    run(Performance(dates=(HISTORY[-1],)), forecast_folder)
    assert reads.files == {STOP_LOADS.name: 1, LOAD_FORECASTS.name: 1}
    of_all = context_of(Balance(dates=()), forecast_folder).store.read(LOAD_FORECASTS, [TRIED]).height
    assert reads.rows[LOAD_FORECASTS.name] - of_all < of_all / 2, "one of four operating dates"


def test_drift_opens_each_date_that_it_compares_with_once_and_few_columns_of_it(
    forecast_folder: Path, reads: Reads
) -> None:
    run(Performance(dates=(HISTORY[-1],)), forecast_folder)
    reads.files.clear()
    reads.columns.clear()
    run(Drift(dates=(HISTORY[-1],)), forecast_folder)
    known = context_of(Drift(dates=()), forecast_folder).tables.versions(
        STOP_LOADS, HISTORY, missing="skip", verdict="skip"
    )
    assert reads.files == {STOP_LOADS.name: len(known), FORECAST_PERFORMANCE.name: 1, STOP_VISITS.name: 1}
    assert reads.columns[STOP_LOADS.name] == set(LOAD_COLUMNS_OF_DRIFT)


def test_features_take_of_loads_the_columns_that_they_need(folder: Path, reads: Reads) -> None:
    run(Features(dates=(ISSUED,), force=True), folder)
    assert reads.columns[STOP_LOADS.name] == set(LOAD_COLUMNS)


def test_training_reads_a_date_at_a_time_and_no_more_rows_than_it_may(
    forecast_folder: Path, reads: Reads
) -> None:
    context = context_of(Evaluate(model_version=NEWEST, days=10), forecast_folder)
    dates = HISTORY[-10:]
    rows = [inputs.features.height for inputs in read_inputs(context, dates, 20_000, seed=1)]
    assert len(rows) == len(dates)
    assert 19_000 < sum(rows) < 21_000
    assert reads.files[DEPARTURE_FEATURES.name] == reads.files[STOP_LOADS.name] == len(dates)
    issued = len(context.tables.versions(LEVELS, dates, missing="skip", verdict="skip"))
    assert reads.files[LEVELS.name] == issued > 1, "each once for all horizons"
    assert reads.columns[STOP_LOADS.name] == set(TRUTH)
    again = [inputs.features.height for inputs in read_inputs(context, dates, 20_000, seed=1)]
    other = [inputs.features.height for inputs in read_inputs(context, dates, 20_000, seed=2)]
    assert again == rows != other


def test_a_forecast_imports_nothing_that_only_other_jobs_need(forecast_folder: Path) -> None:
    heavy = {
        "mlflow",
        "great_expectations",
        "dagster",
    }  # pandas is imported by pyarrow, where it is installed
    code = f"""
import sys
from datetime import date
from pathlib import Path
from ruter_dagster.contracts.jobs import Forecast
from tests.jobs.demo_jobs import run
run(Forecast(dates=(date.fromisoformat("{TRIED}"),)), Path({str(forecast_folder)!r}))
print("imported:", *sorted({heavy} & sys.modules.keys()))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1].strip() == "imported:"
