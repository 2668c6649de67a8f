"""The job features computes the same rows in blocks and parts, and skips dates with unchanged inputs."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ruter_dagster.contracts.features import DEPARTURE_FEATURES
from ruter_dagster.contracts.jobs import Features, Snapshot
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_LOADS
from ruter_dagster.forecasting.features import departure_features, lag_dates
from ruter_dagster.jobs import features
from ruter_dagster.jobs.context import JobContext
from tests.jobs.demo_jobs import quality_check, run, run_loads

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

PLANNED = tuple(date(2026, 11, 20) + timedelta(ahead) for ahead in range(4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Loads of a week, and plans of four dates."""
    run_loads(tmp_path, *(PLANNED[0] - timedelta(days) for days in range(9, 2, -1)))
    run(Snapshot(table=PLANNED_DEPARTURES.name, dates=PLANNED, of_range=True), tmp_path)
    run(quality_check(PLANNED_DEPARTURES, *PLANNED), tmp_path)
    return tmp_path


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[date]:
    """The dates whose features were computed."""
    dates: list[date] = []

    def recording(plan: pl.DataFrame, *others: object) -> pl.DataFrame:
        dates.extend(plan["service_date"].unique().sort())
        return departure_features(plan, *others)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(features, "departure_features", recording)
    return dates


def run_features(folder: Path, *dates: date, **parameters: Any) -> JobContext:
    return run(Features(dates=dates or PLANNED, of_range=len(dates) != 1, **parameters), folder)


def test_dates_computed_singly_equal_those_computed_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = run_features(folder)
    versions = together.store.versions(DEPARTURE_FEATURES, PLANNED)
    monkeypatch.setattr(features, "MAX_LOADS", 1)
    monkeypatch.setattr(features, "code_hash", lambda *_: "another")
    one_by_one = run_features(folder)
    assert one_by_one.tables.used == together.tables.used
    assert len(versions) == 4
    assert one_by_one.store.versions(DEPARTURE_FEATURES, PLANNED) == versions
    assert one_by_one.store.read(DEPARTURE_FEATURES, PLANNED)["history_count"].max() == 1


def test_dates_written_in_parts_equal_those_written_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = run_features(folder).store.versions(DEPARTURE_FEATURES, PLANNED)
    monkeypatch.setattr(features, "code_hash", lambda *_: "another")
    monkeypatch.setattr(features, "MAX_LOADS", 1)
    monkeypatch.setattr(features, "MAX_FEATURES", 1)
    in_parts = run_features(folder)
    assert in_parts.store.versions(DEPARTURE_FEATURES, PLANNED) == versions
    assert run_features(folder).tables.used == in_parts.tables.used


def test_failure_between_parts_leaves_complete_dates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "MAX_LOADS", 1)
    monkeypatch.setattr(features, "MAX_FEATURES", 1)
    real = departure_features

    def failing(plan: pl.DataFrame, *others: object) -> pl.DataFrame:
        if plan["service_date"][0] == PLANNED[3]:
            raise MemoryError
        return real(plan, *others)  # pyright: ignore[reportArgumentType]

    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(features, "departure_features", failing)
        run_features(folder)
    store = run(quality_check(PLANNED_DEPARTURES, *PLANNED), folder).store
    assert list(store.versions(DEPARTURE_FEATURES, PLANNED)) == list(PLANNED[:3])
    run_features(folder)
    assert list(store.versions(DEPARTURE_FEATURES, PLANNED)) == list(PLANNED)


def test_dates_with_unchanged_inputs_are_skipped(folder: Path, computed: list[date]) -> None:
    first = run_features(folder, *PLANNED[:3])
    repeated = run_features(folder)
    assert computed == [*PLANNED[:3], PLANNED[3]]
    assert repeated.tables.used["raw.planned_departures"]["dates"].keys() == {str(day) for day in PLANNED}
    assert (
        repeated.tables.used["loads.stop_loads"]["dates"].items()
        >= first.tables.used["loads.stop_loads"]["dates"].items()
    )
    assert run_features(folder, PLANNED[1]).store.read(DEPARTURE_FEATURES, PLANNED).height > 0
    assert len(computed) == 4


def test_force_computes_unchanged_dates_and_pins_do_not(folder: Path, computed: list[date]) -> None:
    pins = {STOP_LOADS.name: run_features(folder).tables.used[STOP_LOADS.name]["snapshot_id"]}
    run_features(folder, PLANNED[0], pins=pins)
    assert computed == [*PLANNED]
    run_features(folder, PLANNED[0], pins=pins, force=True)
    assert computed == [*PLANNED, PLANNED[0]]


def test_changed_lag_date_recomputes_the_dates_that_read_it(folder: Path, computed: list[date]) -> None:
    context = run_features(folder)
    changed = PLANNED[0] - timedelta(7)
    loads = context.store.read(STOP_LOADS, [changed]).with_columns(pl.col("load") + 1)
    context.store.write(STOP_LOADS, loads, [changed], code_version="1")
    run(quality_check(STOP_LOADS, changed), folder)
    run_features(folder)
    readers = [day for day in PLANNED if changed in lag_dates(day, context.calendar)]
    assert 0 < len(readers) < len(PLANNED)
    assert computed == [*PLANNED, *readers]


def test_changed_rows_and_lost_files_are_computed_again(folder: Path, computed: list[date]) -> None:
    store = run_features(folder).store
    versions = store.versions(DEPARTURE_FEATURES, PLANNED)
    changed = store.read(DEPARTURE_FEATURES, PLANNED[:1]).with_columns(expected=pl.lit(1.0))
    store.write(DEPARTURE_FEATURES, changed, PLANNED[:1], code_version="1")
    data = folder / "demo" / "warehouse" / "tables" / "features" / "departure_features" / "data"
    for file in (data / f"service_date={PLANNED[1]}").iterdir():
        file.unlink()
    assert run_features(folder).store.versions(DEPARTURE_FEATURES, PLANNED) == versions
    assert computed == [*PLANNED, *PLANNED[:2]]
