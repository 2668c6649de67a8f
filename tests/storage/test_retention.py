"""Retention deletes old dates, snapshots and files of real Iceberg tables, and nothing that is still needed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import Retention
from ruter_dagster.contracts.tables import FORECAST_PERFORMANCE, LOAD_FORECASTS, PUBLICATIONS
from ruter_dagster.contracts.validation import empty_frame
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.clones import clone_state
from ruter_dagster.storage.publications import (
    Publication,
    newest_publication,
    read_published,
    record_publication,
)
from ruter_dagster.storage.retention import (
    Files,
    delete_dates,
    delete_files,
    expire_snapshots,
    old_dates,
    old_snapshots,
    referenced_files,
)
from ruter_dagster.storage.tables import TableStore
from tests.commands.compared_states import ISSUE_DATE, NEXT, forecasts, write
from tests.jobs.demo_jobs import run

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

DAYS = 60
START = datetime.now(UTC) + timedelta(minutes=1)
"""A time after every file of these tests is written. All times are days after it."""


class State:
    """A state with forecasts of two issue dates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = TableStore(local_catalog(folder / "warehouse"))
        self.artifacts = ArtifactStore.at(folder / "artifacts")
        self.write(1.0, ISSUE_DATE, NEXT)

    def write(self, factor: float, *days: date) -> None:
        write(self.store, forecasts(factor, days))

    def replace_and_expire(self) -> set[Path]:
        """Replaces the forecasts of `ISSUE_DATE`, and expires the earlier snapshots. Returns the files of the replaced rows."""
        self.write(1.0, ISSUE_DATE)
        before = self.data_files()
        self.write(2.0, ISSUE_DATE)
        expire_snapshots(self.store, LOAD_FORECASTS, self.old_snapshots(1))
        loaded = self.store.load(LOAD_FORECASTS)
        assert loaded is not None
        return {file for file in before if str(file) not in referenced_files(loaded)}

    def old_snapshots(self, day: int) -> list[int]:
        return old_snapshots(self.store, LOAD_FORECASTS, START + timedelta(day))

    def delete_files(self, day: int, *clones: TableStore, dry_run: bool = False) -> Files:
        at = START + timedelta(day)
        return delete_files(self.store, LOAD_FORECASTS, self.artifacts, at, DAYS, clones, dry_run=dry_run)

    def data_files(self) -> set[Path]:
        return set((self.folder / "warehouse").rglob("*.parquet"))

    def publish(self, day: date) -> Publication:
        """Records a publication of the present forecasts of an issue date."""
        snapshot = self.store.snapshot(LOAD_FORECASTS)
        assert snapshot.snapshot_id is not None
        publication = Publication(
            issue_date=day,
            publication_id=f"publication of {day}",
            content_hash=snapshot.versions([day])[day],
            snapshot_id=snapshot.snapshot_id,
            schema_version=2,
            issued_at=START,
            published_at=START,
            journeys=1,
            calls=1,
            tombstones=0,
            thresholds_version="1",
            degraded=False,
        )
        record_publication(self.store, publication)
        return publication

    def clone(self, folder: Path) -> TableStore:
        target = TableStore(local_catalog(folder / "warehouse"))
        clone_state(self.store, target, ArtifactStore.at(folder / "artifacts"), None, "original")
        return target


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "original")


def test_dates_older_than_the_limit_are_deleted(state: State) -> None:
    assert old_dates(state.store, LOAD_FORECASTS, 0) == []
    assert old_dates(state.store, LOAD_FORECASTS, 1) == []
    late = NEXT + timedelta(30)
    state.write(1.0, late)
    old = old_dates(state.store, LOAD_FORECASTS, 30)
    assert old == [ISSUE_DATE]
    kept = state.store.read(LOAD_FORECASTS, [NEXT, late])
    delete_dates(state.store, LOAD_FORECASTS, old)
    assert state.store.dates(LOAD_FORECASTS) == [NEXT, late]
    assert state.store.read(LOAD_FORECASTS, [NEXT, late]).equals(kept)
    loaded = state.store.load(LOAD_FORECASTS)
    assert loaded is not None
    assert not [name for name in loaded.properties if str(ISSUE_DATE) in name]


def test_deleted_date_can_be_written_again(state: State) -> None:
    rows = state.store.read(LOAD_FORECASTS, [ISSUE_DATE])
    delete_dates(state.store, LOAD_FORECASTS, [ISSUE_DATE])
    state.write(1.0, ISSUE_DATE, NEXT)
    assert state.store.read(LOAD_FORECASTS, [ISSUE_DATE]).equals(rows)


def test_newest_publication_is_never_deleted(state: State) -> None:
    publication = state.publish(ISSUE_DATE)
    state.write(1.0, NEXT + timedelta(500))
    assert old_dates(state.store, LOAD_FORECASTS, 400) == [NEXT]
    assert old_dates(state.store, PUBLICATIONS, 400) == []
    delete_dates(state.store, LOAD_FORECASTS, [NEXT])
    assert newest_publication(state.store) == publication
    assert read_published(state.store, publication).height > 0


def test_old_snapshots_expire_except_the_current(state: State) -> None:
    state.write(2.0, ISSUE_DATE)
    assert state.old_snapshots(-1) == []
    current = state.store.current_snapshot(LOAD_FORECASTS)
    expire_snapshots(state.store, LOAD_FORECASTS, state.old_snapshots(1))
    loaded = state.store.load(LOAD_FORECASTS)
    assert loaded is not None
    assert [snapshot.snapshot_id for snapshot in loaded.snapshots()] == [current]


def test_snapshot_of_a_replaced_publication_is_kept(state: State) -> None:
    publication = state.publish(ISSUE_DATE)
    published = state.store.read(LOAD_FORECASTS, [ISSUE_DATE])
    state.write(2.0, ISSUE_DATE)
    expire_snapshots(state.store, LOAD_FORECASTS, state.old_snapshots(1))
    state.delete_files(0)
    state.delete_files(10 * DAYS)
    assert read_published(state.store, publication).equals(published)


def test_publication_is_read_across_expired_snapshots(state: State) -> None:
    publication = state.publish(ISSUE_DATE)
    published = state.store.read(LOAD_FORECASTS, [ISSUE_DATE])
    state.write(2.0, ISSUE_DATE)
    state.write(3.0, NEXT)
    replacing = state.old_snapshots(1)
    assert replacing and publication.snapshot_id not in replacing
    expire_snapshots(state.store, LOAD_FORECASTS, replacing)
    assert read_published(state.store, publication).equals(published)


def test_file_is_deleted_after_it_was_unreferenced_for_the_days(state: State) -> None:
    unreferenced = state.replace_and_expire()
    rows = state.store.read(LOAD_FORECASTS, [ISSUE_DATE, NEXT])
    # An old file that becomes unreferenced is first seen on day 100, and waits from then on.
    first = state.delete_files(100)
    assert (first.due, first.waiting > 0) == (0, True)
    assert state.delete_files(100 + DAYS - 1).due == 0
    assert unreferenced and unreferenced <= state.data_files()
    last = state.delete_files(100 + DAYS)
    assert (last.due, last.waiting) == (first.waiting, 0)
    assert last.due_bytes > 0
    assert not unreferenced & state.data_files()
    assert state.store.read(LOAD_FORECASTS, [ISSUE_DATE, NEXT]).equals(rows)
    state.write(3.0, NEXT)
    assert state.delete_files(500).due == 0


def test_dry_run_deletes_and_records_nothing(state: State) -> None:
    unreferenced = state.replace_and_expire()
    assert state.delete_files(100, dry_run=True).waiting > 0
    assert state.delete_files(100 + DAYS, dry_run=True).due == 0, "the first run recorded nothing"
    state.delete_files(100)
    assert state.delete_files(100 + DAYS, dry_run=True).due > 0
    assert unreferenced <= state.data_files()


def test_other_files_of_the_folder_are_never_deleted(state: State) -> None:
    table = next((state.folder / "warehouse").rglob("metadata"))
    others = [table.parent / "notes.txt", table / "notes.parquet", table.parent / "copy.parquet"]
    for file in others:
        file.write_text("not of the table")
    state.delete_files(0)
    state.delete_files(10 * DAYS)
    assert all(file.exists() for file in others)


def test_clone_younger_than_the_days_keeps_its_files(state: State, tmp_path: Path) -> None:
    cloned = state.clone(tmp_path / "elsewhere")
    rows = cloned.read(LOAD_FORECASTS, [ISSUE_DATE, NEXT])
    state.replace_and_expire()
    for day in range(0, DAYS, 20):
        state.delete_files(day)
    assert cloned.read(LOAD_FORECASTS, [ISSUE_DATE, NEXT]).equals(rows)


def test_known_clone_keeps_its_files_for_ever(state: State, tmp_path: Path) -> None:
    cloned = state.clone(tmp_path / "clone")
    rows = cloned.read(LOAD_FORECASTS, [ISSUE_DATE, NEXT])
    state.replace_and_expire()
    state.delete_files(0, cloned)
    assert state.delete_files(10 * DAYS, cloned).due > 0, "files that the clone does not refer to"
    assert cloned.read(LOAD_FORECASTS, [ISSUE_DATE, NEXT]).equals(rows)


def test_clone_deletes_no_file_of_its_original(state: State, tmp_path: Path) -> None:
    state.write(2.0, NEXT)
    cloned = state.clone(tmp_path / "clone")
    files = state.data_files()
    assert old_snapshots(cloned, LOAD_FORECASTS, START + timedelta(1)) == []
    artifacts = ArtifactStore.at(tmp_path / "clone" / "artifacts")
    for day in (0, 10 * DAYS):
        assert delete_files(cloned, LOAD_FORECASTS, artifacts, START + timedelta(day), DAYS) == Files()
    assert state.data_files() == files


def test_table_that_was_moved_loses_no_file(state: State) -> None:
    files = next((state.folder / "warehouse").rglob("metadata")).parent
    files.rename(files.with_name("moved"))
    with pytest.raises((PermanentFailure, FileNotFoundError)):
        state.delete_files(0)
    assert list(files.with_name("moved").rglob("*.parquet"))


def parameters(day: int, **values: object) -> Retention:
    common = {"forecast_days": 30, "performance_days": 30, "score_days": 30, "file_days": DAYS}
    return Retention(at=START + timedelta(day), **{**common, **values})  # pyright: ignore[reportArgumentType]


def test_job_deletes_in_every_table_and_keeps_local_clones(tmp_path: Path) -> None:
    state = State(tmp_path / "demo")
    cloned = state.clone(tmp_path / "copy")
    cloned_rows = cloned.read(LOAD_FORECASTS, [ISSUE_DATE])
    state.write(1.0, NEXT + timedelta(40))
    state.store.write(FORECAST_PERFORMANCE, empty_frame(FORECAST_PERFORMANCE), [ISSUE_DATE], code_version="1")
    run(parameters(100, dry_run=True), tmp_path)
    assert len(state.store.dates(LOAD_FORECASTS)) == 3
    for day in (100, 100 + DAYS, 100 + 2 * DAYS):
        run(parameters(day), tmp_path)
    assert state.store.dates(LOAD_FORECASTS) == [NEXT + timedelta(40)]
    assert state.store.dates(FORECAST_PERFORMANCE) == [ISSUE_DATE], "the newest date of its own table"
    assert cloned.read(LOAD_FORECASTS, [ISSUE_DATE]).equals(cloned_rows)


def test_job_deletes_nothing_beside_an_unreadable_state(tmp_path: Path) -> None:
    state = State(tmp_path / "demo")
    state.write(1.0, NEXT + timedelta(40))
    other = tmp_path / "other" / "warehouse"
    other.mkdir(parents=True)
    (other / "catalog.db").write_text("no database")
    with pytest.raises(PermanentFailure, match=r"other may be a clone of .*Nothing was deleted"):
        run(parameters(100), tmp_path)
    assert len(state.store.dates(LOAD_FORECASTS)) == 3
