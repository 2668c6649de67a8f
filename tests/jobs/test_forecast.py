"""The job forecast skips dates without service or levels, and replaces a model that fails by the baseline."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from obstore.exceptions import GenericError
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.errors import BadInput, NoDataForDates
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import MODEL_NAME, Features, Forecast, Levels, Snapshot
from ruter_dagster.contracts.tables import LOAD_FORECASTS, PLANNED_DEPARTURES, WEATHER_FORECASTS
from ruter_dagster.jobs.model_inputs import MODEL_FILE
from ruter_dagster.jobs.pipes import Reporter
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.registry import ModelRecord
from ruter_dagster.storage.snapshots import DateMissing
from tests.jobs.demo_jobs import context_of, quality_check, run, run_loads

ISSUED = date(2026, 11, 20)
AFTER = ISSUED + timedelta(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loads up to the day before the issue date. The issue date and the second day after it have no service."""
    folder = tmp_path_factory.mktemp("state")
    run_loads(folder, *(ISSUED - timedelta(days) for days in range(14, 0, -1)))
    planned = (ISSUED + timedelta(1), ISSUED + timedelta(3))
    for parameters in (
        Snapshot(table=PLANNED_DEPARTURES.name, dates=planned, of_range=True),
        quality_check(PLANNED_DEPARTURES, *planned),
        Features(dates=planned, of_range=True),
        quality_check(DEPARTURE_FEATURES, *planned),
        Snapshot(table=WEATHER_FORECASTS.name, dates=(ISSUED, AFTER), of_range=True),
        quality_check(WEATHER_FORECASTS, ISSUED, AFTER),
        Levels(dates=(ISSUED,)),
        quality_check(LEVELS, ISSUED),
    ):
        run(parameters, folder)
    return folder


@pytest.fixture
def damaged_champion(folder: Path) -> Iterator[str]:
    """The version of a champion whose model file was cut off while it was written."""
    models = context_of(Forecast(dates=(ISSUED,)), folder).models
    record = ModelRecord(MODEL_NAME, "damaged", ISSUED - timedelta(1), {}, "1", {}, ("hour",))
    models.save(record, {MODEL_FILE: b'{"format": 3, "means": {"poisson": "tree'})
    models.promote(MODEL_NAME, record.version, datetime(2026, 11, 19, tzinfo=UTC), {})
    yield record.version
    shutil.rmtree(models.uri(MODEL_NAME, "").removeprefix("file://"))


def test_dates_without_service_have_no_forecasts(folder: Path) -> None:
    store = run(Forecast(dates=(ISSUED,)), folder).store
    dates = set(store.read(LOAD_FORECASTS, [ISSUED])["operating_date"])
    assert dates == {ISSUED + timedelta(1), ISSUED + timedelta(3)}


def test_issue_dates_without_levels_are_left_out_of_a_range(folder: Path) -> None:
    """Examples: a Monday after a Sunday without service, or issue dates before the first counts."""
    dates = (ISSUED - timedelta(30), ISSUED, AFTER)
    store = run(Forecast(dates=dates, of_range=True), folder).store
    assert store.dates(LOAD_FORECASTS) == [ISSUED]


def test_issue_date_without_planned_departures_is_an_error(folder: Path) -> None:
    without_plan = ISSUED - timedelta(7)
    run(Levels(dates=(without_plan,)), folder)
    run(quality_check(LEVELS, without_plan), folder)
    with pytest.raises(
        NoDataForDates, match=f"features.departure_features has no service_date {without_plan}"
    ):
        run(Forecast(dates=(without_plan,)), folder)
    with pytest.raises(NoDataForDates, match="No departure is planned"):
        run(Forecast(dates=(without_plan,), of_range=True), folder)


def test_damaged_champion_is_replaced_by_the_baseline(
    folder: Path, damaged_champion: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: dict[str, Any] = {}
    monkeypatch.setattr(Reporter, "materialised", lambda _, asset, **metadata: reported.update(metadata))
    rows = run(Forecast(dates=(ISSUED,)), folder).store.read(LOAD_FORECASTS, [ISSUED])
    assert set(rows["source"]) == {"fallback"}
    assert rows["model_version"].null_count() == rows.height
    assert rows["reasons"].str.ends_with("modelFailed").all()
    assert rows["mean"].equals(rows["ha4"].fill_null(rows["mean"]).alias("mean"))
    assert reported["degraded"] is True
    assert "These bytes are not a load model" in reported["degraded_reason"]
    assert reported["degraded_dates"]["raw_value"] == [ISSUED.isoformat()]
    assert "Train a new model" in caplog.text


@pytest.mark.parametrize("method", ["list", "find"])
def test_unreachable_object_store_fails_the_step(
    folder: Path, damaged_champion: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry of the step may reach it, so that no baseline is published in place of a sound champion."""
    error, original = (
        GenericError("error sending request: connection timed out"),
        getattr(ArtifactStore, method),
    )

    def time_out(store: ArtifactStore, key: str) -> object:
        if "models/" in key:
            raise error
        return original(store, key)

    monkeypatch.setattr(ArtifactStore, method, time_out)
    with pytest.raises(GenericError, match="connection timed out"):
        run(Forecast(dates=(ISSUED,)), folder)


@pytest.mark.parametrize("damage", ["record", "file"])
def test_champion_with_a_damaged_record_or_no_file_is_replaced(
    folder: Path, damaged_champion: str, damage: str
) -> None:
    context = context_of(Forecast(dates=(ISSUED,)), folder)
    champion = f"models/{MODEL_NAME}/{damaged_champion}"
    if damage == "record":
        context.artifacts.put(f"{champion}/model.json", b'{"name": "load')
    else:
        context.artifacts.delete_all([f"{champion}/{MODEL_FILE}"])
    rows = run(Forecast(dates=(ISSUED,)), folder).store.read(LOAD_FORECASTS, [ISSUED])
    assert set(rows["source"]) == {"fallback"}


def halve_fullest(forecasts: pl.DataFrame, day: date, folder: Path) -> str:
    """Halves the planned seats and places of the trip of a date that is most likely full. Returns its id."""
    fullest = forecasts.filter(operating_date=day).sort("prob_above_seats", "mean")["trip_id"][-1]
    store = context_of(Forecast(dates=(ISSUED,)), folder).store
    plan = store.read(PLANNED_DEPARTURES, [day])
    halved = [
        pl.when(pl.col("trip_id") == fullest).then(pl.col(name) // 2).otherwise(name).alias(name)
        for name in ("seats", "total_capacity")
    ]
    store.write(PLANNED_DEPARTURES, plan.with_columns(halved), [day], code_version="1")
    return fullest


def test_changed_vehicle_gives_the_forecasts_of_a_full_run(folder: Path) -> None:
    """The cheap path reads the plan and the stored forecasts; the full one computes features and forecasts again."""
    day = ISSUED + timedelta(1)
    before = run(Forecast(dates=(ISSUED,)), folder).store.read(LOAD_FORECASTS, [ISSUED])
    trip = pl.col("trip_id") == halve_fullest(before, day, folder)
    run(quality_check(PLANNED_DEPARTURES, day), folder)

    cheap = run(Forecast(dates=(ISSUED,), capacities_only=True), folder).store.read(LOAD_FORECASTS, [ISSUED])
    changed = pl.col("operating_date").eq(day) & trip
    assert cheap.filter(~changed).equals(before.filter(~changed))
    assert (cheap.filter(changed)["seats"] == before.filter(changed)["seats"] // 2).all()
    probability = [rows.filter(changed)["prob_above_seats"].to_numpy().max() for rows in (before, cheap)]
    assert probability[0] < probability[1]
    run(Features(dates=(day,)), folder)
    run(quality_check(DEPARTURE_FEATURES, day), folder)
    full = run(Forecast(dates=(ISSUED,)), folder).store.read(LOAD_FORECASTS, [ISSUED])
    assert_frame_equal(cheap, full, rel_tol=1e-9, abs_tol=1e-9)


def test_later_full_run_keeps_a_changed_vehicle(folder: Path) -> None:
    """For example, late counts forecast the issue date again, with features of the former plan."""
    day = ISSUED + timedelta(1)
    before = run(Forecast(dates=(ISSUED,)), folder).store.read(LOAD_FORECASTS, [ISSUED])
    halve_fullest(before, day, folder)
    refused = run(Forecast(dates=(ISSUED,)), folder).store.read(LOAD_FORECASTS, [ISSUED])
    assert refused.equals(before), "the new plan has no verdict yet"
    run(quality_check(PLANNED_DEPARTURES, day), folder)
    cheap = run(Forecast(dates=(ISSUED,), capacities_only=True), folder).store.read(LOAD_FORECASTS, [ISSUED])
    assert not cheap.equals(before)
    full = run(Forecast(dates=(ISSUED,)), folder).store.read(LOAD_FORECASTS, [ISSUED])
    assert_frame_equal(full, cheap, rel_tol=1e-9, abs_tol=1e-9)


def test_capacities_of_an_issue_date_without_forecasts_are_an_error(folder: Path) -> None:
    with pytest.raises(DateMissing, match=f"forecasts.load_forecasts has no issue_date {AFTER}"):
        run(Forecast(dates=(AFTER,), capacities_only=True), folder)


def test_forecasts_without_champion_are_not_degraded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: dict[str, Any] = {}
    monkeypatch.setattr(Reporter, "materialised", lambda _, asset, **metadata: reported.update(metadata))
    rows = run(Forecast(dates=(ISSUED,)), folder).store.read(LOAD_FORECASTS, [ISSUED])
    assert "degraded" not in reported
    assert not rows["reasons"].str.contains("modelFailed").any()


def test_pinned_model_that_fails_fails_the_run(folder: Path, damaged_champion: str) -> None:
    with pytest.raises(BadInput, match="These bytes are not a load model"):
        run(Forecast(dates=(ISSUED,), model_version=damaged_champion), folder)
