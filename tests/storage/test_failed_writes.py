"""A failed or killed write leaves the table unchanged, and the error names the remedy."""

import os
import resource
import signal
import sqlite3
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore
from tests.storage.frames import DAY, NEXT_DAY, VISITS, visits

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    store = TableStore(local_catalog(tmp_path))
    store.write(VISITS, visits(), [DAY], code_version="1")
    return store


def in_another_process(work, folder: Path) -> int | None:
    process = get_context("spawn").Process(target=work, args=(folder,))
    process.start()
    process.join()
    return process.exitcode


def die_at_the_commit(folder: Path) -> None:
    SqlCatalog.commit_table = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    TableStore(local_catalog(folder)).write(VISITS, visits(load=99.0), [DAY], code_version="2")


def write_to_a_full_disk(folder: Path) -> None:
    """Limits files to 2,000 bytes, which fails like a full disk."""
    store = TableStore(local_catalog(folder))
    assert store.dates(VISITS) == [DAY]
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    with pytest.raises(
        PermanentFailure, match=r"No space left to write tables: .*Free space for /.*/tables"
    ) as error:
        store.write(VISITS, visits(load=99.0, rows=50_000), [DAY], code_version="2")
    assert "the table is unchanged" in str(error.value)
    with pytest.raises(
        PermanentFailure, match=r"file://.*/artifacts/big cannot be written: .*Free space there"
    ):
        ArtifactStore.at(folder / "artifacts").put("big", bytes(100_000))


def test_process_killed_at_the_commit_leaves_the_table_unchanged(store: TableStore, tmp_path: Path):
    before = store.current_snapshot(VISITS)
    assert in_another_process(die_at_the_commit, tmp_path) == -signal.SIGKILL
    assert store.current_snapshot(VISITS) == before
    assert store.read(VISITS, [DAY])["load"].unique().to_list() == [12.0]
    store.write(VISITS, visits(load=99.0), [DAY], code_version="2")
    assert store.read(VISITS, [DAY])["load"].to_list() == [99.0] * 20


def test_full_disk_is_an_error_that_names_the_warehouse(store: TableStore, tmp_path: Path):
    before = store.current_snapshot(VISITS)
    assert in_another_process(write_to_a_full_disk, tmp_path) == 0
    assert store.current_snapshot(VISITS) == before
    assert store.read(VISITS, [DAY])["load"].unique().to_list() == [12.0]
    assert not ArtifactStore.at(tmp_path / "artifacts").exists("big")


def test_damaged_catalog_is_named(store: TableStore, tmp_path: Path):
    (tmp_path / "catalog.db").write_bytes(b"not a database" * 1000)
    for use in (
        lambda: TableStore(local_catalog(tmp_path)).read(VISITS, [DAY]),
        lambda: TableStore(local_catalog(tmp_path)).write(VISITS, visits(), [DAY], code_version="1"),
    ):
        with pytest.raises(
            PermanentFailure,
            match=r"catalog sqlite:///.*catalog\.db.* cannot be used: file is not a database",
        ):
            use()


def test_unreadable_catalog_is_named_with_the_remedy(tmp_path: Path):
    (tmp_path / "catalog.db").mkdir()
    with pytest.raises(PermanentFailure, match=r"unable to open database file.*restore it from a backup"):
        TableStore(local_catalog(tmp_path)).dates(VISITS)


def test_missing_warehouse_is_named(store: TableStore, tmp_path: Path):
    (tmp_path / "tables").rename(tmp_path / "elsewhere")
    with pytest.raises(PermanentFailure, match=r"is missing in the warehouse /.*tables: "):
        store.read(VISITS, [DAY])


def test_truncated_data_file_is_named_and_repaired_by_a_write(store: TableStore, tmp_path: Path):
    store.write(VISITS, visits(NEXT_DAY), [NEXT_DAY], code_version="1")
    file = next((tmp_path / "tables").rglob(f"*{DAY}/*.parquet"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(PermanentFailure, match=rf"raw\.visits.*{file.name}.*materialise raw/visits"):
        store.read(VISITS, [DAY, NEXT_DAY])
    both = pl.concat([visits(DAY), visits(NEXT_DAY)])
    assert store.write(VISITS, both, [DAY, NEXT_DAY], code_version="1").unchanged == (NEXT_DAY,)
    assert store.read(VISITS, [DAY, NEXT_DAY]).height == 40


def test_missing_data_file_is_named_and_repaired_by_a_write(store: TableStore, tmp_path: Path):
    file = next((tmp_path / "tables").rglob("*.parquet"))
    file.unlink()
    with pytest.raises(PermanentFailure, match=file.name):
        store.read(VISITS, [DAY])
    assert store.write(VISITS, visits(), [DAY], code_version="1").unchanged == ()
    assert store.read(VISITS, [DAY]).height == 20


def test_writer_waits_for_a_locked_catalog(store: TableStore, tmp_path: Path):
    """The lock is held for longer than the 5 s that SQLite waits by default."""
    holder = sqlite3.connect(tmp_path / "catalog.db", isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    context = get_context("spawn")
    commits = context.Event()
    process = context.Process(target=write_next_day, args=(tmp_path, commits))
    process.start()
    assert commits.wait(timeout=300)
    process.join(timeout=7)
    assert process.is_alive()
    holder.execute("COMMIT")
    process.join()
    assert process.exitcode == 0
    assert store.dates(VISITS) == [DAY, NEXT_DAY]


def write_next_day(folder: Path, commits: Event) -> None:
    commit_table = SqlCatalog.commit_table

    def announced_commit(*arguments: Any) -> Any:
        commits.set()
        return commit_table(*arguments)

    SqlCatalog.commit_table = announced_commit  # type: ignore[method-assign]
    TableStore(local_catalog(folder)).write(VISITS, visits(NEXT_DAY), [NEXT_DAY], code_version="1")
