"""The cost of a day's jobs: files opened, rows and columns read, and commits."""

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
    DRIFT_SUMS,
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
from ruter_dagster.forecasting.sensor_health import PLAN_COLUMNS, SENSOR_LOAD_COLUMNS
from ruter_dagster.jobs.model_inputs import read_inputs
from ruter_dagster.publishing.kafka import PublicationResult
from tests.jobs.demo_jobs import context_of, quality_check, run, run_loads
from tests.jobs.reads import Reads
from tests.publishing.samples import publication_result

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

ISSUED = date(2026, 11, 20)
OLDER_ISSUE_DATE = ISSUED - timedelta(4)
"""The newest issue date whose four operating dates have loads."""
HISTORY = [ISSUED - timedelta(ago) for ago in range(20, 0, -1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loads of 20 dates, and features of the newest 18 of them."""
    folder = tmp_path_factory.mktemp("state")
    run_loads(folder, *HISTORY)
    planned = tuple(HISTORY[2:])
    for parameters in (
        Snapshot(table=PLANNED_DEPARTURES.name, dates=(*planned, ISSUED), of_range=True),
        quality_check(PLANNED_DEPARTURES, *planned, ISSUED),
        Features(dates=planned, of_range=True),
        quality_check(DEPARTURE_FEATURES, *planned),
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


def test_levels_open_two_weeks_of_loads_and_features(folder: Path, reads: Reads) -> None:
    run(Levels(dates=(ISSUED,)), folder)
    assert reads.files == {STOP_LOADS.name: 14, DEPARTURE_FEATURES.name: 14}


def test_features_open_their_plan_and_lag_dates(folder: Path, reads: Reads) -> None:
    context = run(Features(dates=(ISSUED,)), folder)
    lags = set(lag_dates(ISSUED, context.calendar)) & set(HISTORY)
    assert reads.files == {PLANNED_DEPARTURES.name: 1, STOP_LOADS.name: len(lags)}


def test_unchanged_features_open_no_file(folder: Path, reads: Reads) -> None:
    dates = tuple(HISTORY[2:])
    run(Features(dates=dates, of_range=True), folder)
    assert not reads.files


def test_quality_check_opens_its_dates_only(folder: Path, reads: Reads) -> None:
    run(quality_check(DEPARTURE_FEATURES, HISTORY[-1]), folder)
    run(quality_check(STOP_VISITS, HISTORY[-1]), folder)
    assert reads.files == {DEPARTURE_FEATURES.name: 1, STOP_VISITS.name: 1, PLANNED_DEPARTURES.name: 2}, (
        "each check reads the plan"
    )


def test_balance_opens_its_date_only(folder: Path, reads: Reads) -> None:
    run(Balance(dates=(HISTORY[-1],)), folder)
    assert reads.files == {STOP_VISITS.name: 1}


def test_range_is_one_commit_and_its_repetition_none(folder: Path) -> None:
    earlier = tuple(HISTORY[0] - timedelta(ago) for ago in (3, 2, 1))
    later = tuple(ISSUED + timedelta(ahead) for ahead in (1, 2, 3))
    issued = tuple(HISTORY[-8:-5])
    for table, parameters in (
        (STOP_VISITS, Snapshot(table=STOP_VISITS.name, dates=earlier, of_range=True)),
        (None, quality_check(STOP_VISITS, *earlier)),
        (STOP_LOADS, Balance(dates=earlier, of_range=True)),
        (PLANNED_DEPARTURES, Snapshot(table=PLANNED_DEPARTURES.name, dates=later, of_range=True)),
        (None, quality_check(PLANNED_DEPARTURES, *later)),
        (DEPARTURE_FEATURES, Features(dates=later, of_range=True)),
        (LEVELS, Levels(dates=issued, of_range=True)),
    ):
        if table is None:
            run(parameters, folder)
            continue
        assert commits(table, parameters, folder) == 1, table.name
        assert commits(table, parameters, folder) == 0, table.name


@pytest.fixture(scope="module")
def forecast_folder(folder: Path) -> Path:
    """The folder with all inputs of a forecast of `OLDER_ISSUE_DATE`, and the forecast."""
    days = (OLDER_ISSUE_DATE, OLDER_ISSUE_DATE + timedelta(1))
    for parameters in (
        Snapshot(table=WEATHER_FORECASTS.name, dates=days, of_range=True),
        quality_check(WEATHER_FORECASTS, *days),
        Levels(dates=days, of_range=True),
        quality_check(LEVELS, *days),
        Forecast(dates=(OLDER_ISSUE_DATE,)),
    ):
        run(parameters, folder)
    return folder


def test_forecast_opens_four_dates_of_features(forecast_folder: Path, reads: Reads) -> None:
    run(Forecast(dates=(OLDER_ISSUE_DATE,)), forecast_folder)
    assert reads.files == {
        DEPARTURE_FEATURES.name: 4,
        PLANNED_DEPARTURES.name: 4,
        LEVELS.name: 1,
        WEATHER_FORECASTS.name: 1,
    }


def test_publication_opens_its_forecasts_once(
    forecast_folder: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def published(forecasts: pl.DataFrame, *_: Any, **__: Any) -> PublicationResult:
        return publication_result(forecasts)

    monkeypatch.setattr("ruter_dagster.jobs.publish.open_cluster_connection", lambda _: nullcontext())
    monkeypatch.setattr("ruter_dagster.jobs.publish.ensure_topics", lambda _: None)
    monkeypatch.setattr("ruter_dagster.jobs.publish.publish", published)
    run(Publish(dates=(OLDER_ISSUE_DATE,), issued_at="04:30"), forecast_folder)
    assert reads.files[LOAD_FORECASTS.name] == 1


def test_performance_reads_forecasts_of_its_own_date_only(forecast_folder: Path, reads: Reads) -> None:
    run(Performance(dates=(HISTORY[-1],)), forecast_folder)
    assert reads.files == {STOP_LOADS.name: 1, LOAD_FORECASTS.name: 1}
    all_rows = (
        context_of(Balance(dates=()), forecast_folder).store.read(LOAD_FORECASTS, [OLDER_ISSUE_DATE]).height
    )
    assert reads.rows[LOAD_FORECASTS.name] - all_rows < all_rows / 2, "one of four operating dates"


def test_drift_opens_rows_of_changed_dates_only(forecast_folder: Path, reads: Reads) -> None:
    run(Performance(dates=(HISTORY[-1],)), forecast_folder)
    reads.files.clear()
    reads.columns.clear()
    parameters = Drift(dates=(HISTORY[-1],))
    run(parameters, forecast_folder)
    tables = context_of(Drift(dates=()), forecast_folder).tables
    compared, visits, planned = (
        len(tables.versions(table, HISTORY, missing="skip", verdict="skip"))
        for table in (STOP_LOADS, STOP_VISITS, PLANNED_DEPARTURES)
    )
    assert reads.files == {
        STOP_LOADS.name: compared,
        FORECAST_PERFORMANCE.name: 1,
        STOP_VISITS.name: visits,
        PLANNED_DEPARTURES.name: planned,
    }
    assert reads.columns[STOP_LOADS.name] == {*LOAD_COLUMNS_OF_DRIFT, *SENSOR_LOAD_COLUMNS}
    assert reads.columns[PLANNED_DEPARTURES.name] == set(PLAN_COLUMNS)

    reads.files.clear()
    run(parameters, forecast_folder)
    assert reads.files == {DRIFT_SUMS.name: 2 * compared}, "the journeys, and all other sums"


def test_features_read_only_the_needed_load_columns(folder: Path, reads: Reads) -> None:
    run(Features(dates=(ISSUED,), force=True), folder)
    assert reads.columns[STOP_LOADS.name] == set(LOAD_COLUMNS)


def test_model_inputs_are_read_by_date_and_sampled(forecast_folder: Path, reads: Reads) -> None:
    context = context_of(Evaluate(model_version=NEWEST, days=10), forecast_folder)
    dates = HISTORY[-10:]
    rows = [inputs.features.height for inputs in read_inputs(context, dates, 20_000, seed=1)]
    assert len(rows) == len(dates)
    assert 19_000 < sum(rows) < 21_000
    assert reads.files[DEPARTURE_FEATURES.name] == reads.files[STOP_LOADS.name] == len(dates)
    issued = len(context.tables.versions(LEVELS, dates, missing="skip", verdict="skip"))
    assert reads.files[LEVELS.name] == issued > 1, "each issue date is read once for all horizons"
    assert reads.columns[STOP_LOADS.name] == set(TRUTH)
    repeated = [inputs.features.height for inputs in read_inputs(context, dates, 20_000, seed=1)]
    other = [inputs.features.height for inputs in read_inputs(context, dates, 20_000, seed=2)]
    assert repeated == rows != other


def test_forecast_imports_no_heavy_library_of_other_jobs(forecast_folder: Path) -> None:
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
run(Forecast(dates=(date.fromisoformat("{OLDER_ISSUE_DATE}"),)), Path({str(forecast_folder)!r}))
print("imported:", *sorted({heavy} & sys.modules.keys()))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1].strip() == "imported:"
