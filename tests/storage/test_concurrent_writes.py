"""Parallel writers in different processes lose no commit and duplicate no row."""

from collections.abc import Callable
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest

from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore
from tests.storage.frames import DAY, VISITS, visits

WRITERS = 4
WRITES = 4


def write_own_date(folder: Path, number: int, start) -> None:
    """Each process opens the catalog, creates the table and writes its own date several times."""
    day = DAY + timedelta(days=number)
    start.wait()
    store = TableStore(local_catalog(folder))
    for attempt in range(WRITES):
        store.write(VISITS, visits(day, load=float(attempt)), [day], code_version="1")


def write_the_same_date(folder: Path, number: int, start) -> None:
    store = TableStore(local_catalog(folder))
    start.wait()
    for attempt in range(WRITES):
        store.write(VISITS, visits(DAY, load=float(number * WRITES + attempt)), [DAY], code_version="1")


def run_at_once(folder: Path, work: Callable[..., None]) -> None:
    context = get_context("spawn")
    start = context.Barrier(WRITERS)
    processes = [context.Process(target=work, args=(folder, number, start)) for number in range(WRITERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * WRITERS


@pytest.fixture
def days() -> list[date]:
    return [DAY + timedelta(days=number) for number in range(WRITERS)]


def test_parallel_writers_of_a_new_table_lose_no_commit(tmp_path: Path, days: list[date]):
    run_at_once(tmp_path, write_own_date)
    store = TableStore(local_catalog(tmp_path))
    assert store.dates(VISITS) == days
    rows = store.read(VISITS, days)
    assert rows.group_by("service_date").len().sort("service_date")["len"].to_list() == [20] * WRITERS
    assert rows["load"].unique().to_list() == [float(WRITES - 1)]


def test_parallel_writers_of_one_date_leave_one_result(tmp_path: Path):
    run_at_once(tmp_path, write_the_same_date)
    store = TableStore(local_catalog(tmp_path))
    rows = store.read(VISITS, [DAY])
    assert rows.height == 20
    assert rows["load"].n_unique() == 1
    assert store.versions(VISITS, [DAY]) == store.write(VISITS, rows, [DAY], code_version="1").hashes
    assert store.write(VISITS, rows, [DAY], code_version="1").unchanged == (DAY,)
