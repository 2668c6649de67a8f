"""The job `forecast_challenger` forecasts with a model that is not the champion, and never one that knows the truth."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from benchmarks.training import sample_of
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import MODEL_NAME, Features, Forecast, ForecastChallenger, Levels, Snapshot
from ruter_dagster.contracts.tables import (
    CHALLENGER_FORECASTS,
    LOAD_FORECASTS,
    PLANNED_DEPARTURES,
    WEATHER_FORECASTS,
)
from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.training import train_on
from ruter_dagster.jobs.model_inputs import MODEL_FILE
from ruter_dagster.storage.registry import ModelRecord
from tests.jobs.demo_jobs import context_of, quality_check, run, run_loads

pytestmark = [
    pytest.mark.extended,
    pytest.mark.filterwarnings("ignore:Delete operation did not match any records"),
]

ISSUED = date(2026, 11, 20)
CHALLENGER = "0123456789abcdef"
SECOND = "fedcba9876543210"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs of the forecasts of an issue date with two planned dates."""
    folder = tmp_path_factory.mktemp("inputs")
    run_loads(folder, *(ISSUED - timedelta(days) for days in range(14, 0, -1)))
    planned = (ISSUED, ISSUED + timedelta(3))
    for parameters in (
        Snapshot(table=PLANNED_DEPARTURES.name, dates=planned, of_range=True),
        quality_check(PLANNED_DEPARTURES, *planned),
        Features(dates=planned, of_range=True),
        quality_check(DEPARTURE_FEATURES, *planned),
        Snapshot(table=WEATHER_FORECASTS.name, dates=(ISSUED,)),
        quality_check(WEATHER_FORECASTS, ISSUED),
        Levels(dates=(ISSUED,)),
        quality_check(LEVELS, ISSUED),
        Forecast(dates=(ISSUED,)),
    ):
        run(parameters, folder)
    for version, day in ((CHALLENGER, ISSUED - timedelta(8)), (SECOND, ISSUED)):
        add_model(folder, version, day)
    return folder


def add_model(folder: Path, version: str, cutoff: date) -> None:
    """Saves a small model, trained on made-up departures, as the model that was trained last."""
    parameters = ModelParameters(trees=5, spread_trees=5)
    model = train_on([pl.concat(sample_of(cutoff - timedelta(ago), 300) for ago in range(14))], parameters)
    record = ModelRecord(MODEL_NAME, version, cutoff, {}, "1", {}, ())
    models = context_of(ForecastChallenger(dates=()), folder).models
    models.save(record, {MODEL_FILE: model.to_bytes()})
    models.set_newest(record)


def challenger_rows(folder: Path, version: str) -> pl.DataFrame:
    run(ForecastChallenger(dates=(ISSUED,), model_version=version), folder)
    return context_of(ForecastChallenger(dates=()), folder).store.read(CHALLENGER_FORECASTS, [ISSUED])


def test_challenger_forecasts_the_departures_of_the_champion(inputs: Path) -> None:
    rows = challenger_rows(inputs, CHALLENGER)
    store = context_of(ForecastChallenger(dates=()), inputs).store
    published = store.read(LOAD_FORECASTS, [ISSUED])
    key = list(LOAD_FORECASTS.key)
    assert rows.select(key).equals(published.select(key))
    assert set(rows["model_version"]) == {CHALLENGER}
    assert not rows["mean"].equals(published["mean"])


def test_model_that_was_trained_on_the_issue_date_is_no_challenger(
    inputs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "ruter_dagster.jobs"):
        assert challenger_rows(inputs, SECOND).is_empty()
    assert f"model {SECOND} was trained on loads up to {ISSUED}" in caplog.text


def test_newest_model_is_the_one_that_was_trained_last(
    inputs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "ruter_dagster.jobs"):
        challenger_rows(inputs, "newest")
    assert f"model {SECOND} was trained" in caplog.text


def test_champion_is_no_challenger(inputs: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = context_of(ForecastChallenger(dates=()), inputs).models
    models.promote(MODEL_NAME, CHALLENGER, datetime(2026, 11, 19, tzinfo=UTC), {})
    with caplog.at_level("INFO", "ruter_dagster.jobs"):
        assert challenger_rows(inputs, CHALLENGER).is_empty()
    assert f"model {CHALLENGER} is the champion" in caplog.text


def test_newest_challenger_waits_for_the_first_training(inputs: Path) -> None:
    context = context_of(ForecastChallenger(dates=()), inputs)
    newest = context.artifacts.get(f"models/{MODEL_NAME}/trained_last.txt")
    context.artifacts.put(f"models/{MODEL_NAME}/trained_last.txt", b"none")
    assert challenger_rows(inputs, "newest").is_empty()
    context.artifacts.put(f"models/{MODEL_NAME}/trained_last.txt", newest)


def test_unknown_version_is_an_error(inputs: Path) -> None:
    with pytest.raises(PermanentFailure, match="Version unknown of load_model does not exist"):
        run(ForecastChallenger(dates=(ISSUED,), model_version="unknown"), inputs)
