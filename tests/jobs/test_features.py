"""The job features: the same rows however its dates are read, and none made again that would come out the same."""

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
from tests.jobs.demo_jobs import judged, make_loads, run

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

PLANNED = tuple(date(2026, 11, 20) + timedelta(ahead) for ahead in range(4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A week of loads, and the plans of four dates."""
    make_loads(tmp_path, *(PLANNED[0] - timedelta(days) for days in range(9, 2, -1)))
    run(Snapshot(table=PLANNED_DEPARTURES.name, dates=PLANNED, of_range=True), tmp_path)
    run(judged(PLANNED_DEPARTURES, *PLANNED), tmp_path)
    return tmp_path


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[date]:
    """The dates whose features were made."""
    dates: list[date] = []

    def noting(plan: pl.DataFrame, *others: object) -> pl.DataFrame:
        dates.extend(plan["service_date"].unique().sort())
        return departure_features(plan, *others)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(features, "departure_features", noting)
    return dates


def make(folder: Path, *dates: date, **more: Any) -> JobContext:
    return run(Features(dates=dates or PLANNED, of_range=len(dates) != 1, **more), folder)


def test_dates_made_one_by_one_equal_those_made_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = make(folder)
    versions = together.store.versions(DEPARTURE_FEATURES, PLANNED)
    monkeypatch.setattr(features, "MAX_LOADS", 1)
    monkeypatch.setattr(features, "code_hash", lambda: "another")
    one_by_one = make(folder)
    assert one_by_one.tables.used == together.tables.used
    assert len(versions) == 4
    assert one_by_one.store.versions(DEPARTURE_FEATURES, PLANNED) == versions
    assert one_by_one.store.read(DEPARTURE_FEATURES, PLANNED)["history_count"].max() == 1


def test_dates_written_in_parts_equal_those_written_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = make(folder).store.versions(DEPARTURE_FEATURES, PLANNED)
    monkeypatch.setattr(features, "code_hash", lambda: "another")
    monkeypatch.setattr(features, "MAX_LOADS", 1)
    monkeypatch.setattr(features, "MAX_FEATURES", 1)
    in_parts = make(folder)
    assert in_parts.store.versions(DEPARTURE_FEATURES, PLANNED) == versions
    assert make(folder).tables.used == in_parts.tables.used


def test_a_failure_between_two_parts_leaves_whole_dates(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "MAX_LOADS", 1)
    monkeypatch.setattr(features, "MAX_FEATURES", 1)
    real = departure_features

    def failing(plan: pl.DataFrame, *others: object) -> pl.DataFrame:
        if plan["service_date"][0] == PLANNED[3]:
            raise MemoryError
        return real(plan, *others)  # pyright: ignore[reportArgumentType]

    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(features, "departure_features", failing)
        make(folder)
    store = run(judged(PLANNED_DEPARTURES, *PLANNED), folder).store
    assert list(store.versions(DEPARTURE_FEATURES, PLANNED)) == list(PLANNED[:3])
    make(folder)
    assert list(store.versions(DEPARTURE_FEATURES, PLANNED)) == list(PLANNED)


def test_dates_that_follow_from_the_same_inputs_stand(folder: Path, made: list[date]) -> None:
    first = make(folder, *PLANNED[:3])
    again = make(folder)
    assert made == [*PLANNED[:3], PLANNED[3]]
    assert again.tables.used["raw.planned_departures"]["dates"].keys() == {str(day) for day in PLANNED}
    assert (
        again.tables.used["loads.stop_loads"]["dates"].items()
        >= first.tables.used["loads.stop_loads"]["dates"].items()
    )
    assert make(folder, PLANNED[1]).store.read(DEPARTURE_FEATURES, PLANNED).height > 0
    assert len(made) == 4


def test_a_repeated_run_makes_them_again_and_a_range_s_pins_do_not(folder: Path, made: list[date]) -> None:
    pins = {STOP_LOADS.name: make(folder).tables.used[STOP_LOADS.name]["snapshot_id"]}
    make(folder, PLANNED[0], pins=pins)
    assert made == [*PLANNED]
    make(folder, PLANNED[0], pins=pins, force=True)
    assert made == [*PLANNED, PLANNED[0]]


def test_a_changed_lag_day_remakes_the_dates_that_read_it(folder: Path, made: list[date]) -> None:
    context = make(folder)
    changed = PLANNED[0] - timedelta(7)
    loads = context.store.read(STOP_LOADS, [changed]).with_columns(pl.col("load") + 1)
    context.store.write(STOP_LOADS, loads, [changed], code_version="1")
    run(judged(STOP_LOADS, changed), folder)
    make(folder)
    readers = [day for day in PLANNED if changed in lag_dates(day, context.calendar)]
    assert 0 < len(readers) < len(PLANNED)
    assert made == [*PLANNED, *readers]


def test_rows_of_another_writer_or_a_lost_file_are_made_again(folder: Path, made: list[date]) -> None:
    store = make(folder).store
    right = store.versions(DEPARTURE_FEATURES, PLANNED)
    other = store.read(DEPARTURE_FEATURES, PLANNED[:1]).with_columns(expected=pl.lit(1.0))
    store.write(DEPARTURE_FEATURES, other, PLANNED[:1], code_version="1")
    lost = folder / "demo" / "warehouse" / "tables" / "features" / "departure_features" / "data"
    for file in (lost / f"service_date={PLANNED[1]}").iterdir():
        file.unlink()
    assert make(folder).store.versions(DEPARTURE_FEATURES, PLANNED) == right
    assert made == [*PLANNED, *PLANNED[:2]]
