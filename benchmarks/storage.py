"""Times of the table store: `python -m benchmarks.storage [commits]`. One line per figure, in seconds; the folder is temporary."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from ruter_dagster.contracts.tables import STOP_LOADS
from ruter_dagster.contracts.validation import conform, content_hash, validate
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore

FIRST = date(2025, 1, 1)
HISTORY = 84
ROWS_A_DAY = 6000


def stop_loads(days: int, rows: int, first: date = FIRST) -> pl.DataFrame:
    """Random loads of `rows` visits on each of `days` dates."""
    number = np.arange(days * rows)
    random = np.random.default_rng(1)
    frame = pl.DataFrame({"number": number}).select(
        service_date=pl.lit(first) + pl.duration(days=pl.col("number") // rows),
        trip_id="RUT:ServiceJourney:" + (pl.col("number") % rows // 20).cast(pl.String),
        stop_sequence=1 + pl.col("number") % 20,
        trip_id_performed="performed:" + (pl.col("number") // 20).cast(pl.String),
        line_id="RUT:Line:" + (pl.col("number") % 97).cast(pl.String),
        mode=pl.lit("bus"),
        direction_id=pl.col("number") % 2,
        stop_id="NSR:Quay:" + (pl.col("number") % 1009).cast(pl.String),
        vehicle_id=pl.lit("8001"),
        scheduled_departure_time=pl.from_epoch(1_735_700_000 + pl.col("number")).dt.replace_time_zone("UTC"),
        slot_hour=pl.col("number") % 24,
        boardings=pl.Series(random.random(len(number))),
        alightings=pl.Series(random.random(len(number))),
        load=pl.Series(random.random(len(number)) * 80),
        initial_load=None,
        final_load=None,
        seats=pl.lit(45),
        total_capacity=pl.lit(90),
        imbalance=pl.lit(0.02),
        weight=pl.lit(1.0),
    )
    return conform(frame, STOP_LOADS)


@contextmanager
def timed(name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    print(f"{time.perf_counter() - start:8.3f}  {name}", flush=True)


def frames() -> None:
    frame = stop_loads(1, 500_000)
    with timed("content hash of 500,000 rows, sorted by key"):
        content_hash(frame, STOP_LOADS)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=1)
    with timed("content hash of 500,000 rows, shuffled"):
        content_hash(shuffled, STOP_LOADS)
    with timed("validate 500,000 rows"):
        validate(frame, STOP_LOADS, [FIRST])


def history(store: TableStore) -> None:
    days = [FIRST + timedelta(days=number) for number in range(HISTORY)]
    frame = stop_loads(HISTORY, ROWS_A_DAY)
    for name in ("write", "write the same again"):
        with timed(f"{name}: {HISTORY} dates, {frame.height:,} rows"):
            store.write(STOP_LOADS, frame, days, code_version="1")
    with timed(f"read {HISTORY} dates"):
        store.read(STOP_LOADS, days)
    with timed("read 1 date"):
        store.read(STOP_LOADS, days[:1])


def commits(store: TableStore, count: int) -> None:
    frame = stop_loads(1, 20)
    took: list[float] = []
    for number in range(1, count + 1):
        day = FIRST + timedelta(days=number)
        start = time.process_time()
        store.write(STOP_LOADS, frame.with_columns(service_date=pl.lit(day)), [day], code_version="1")
        took.append(time.process_time() - start)
        if number in (25, 100, 200, count):
            middle = statistics.median(took[-20:])
            print(f"{middle:8.3f}  CPU s a commit of one date, 20 rows, up to commit {number}", flush=True)
    with timed(f"read 1 date after {count} commits"):
        store.read(STOP_LOADS, [FIRST + timedelta(days=1)])
    with timed(f"versions of all dates after {count} commits"):
        store.versions(STOP_LOADS, store.dates(STOP_LOADS))


def main() -> None:
    parser = argparse.ArgumentParser(
        description="The table store's times, in seconds; the folder is temporary."
    )
    parser.add_argument(
        "commits", nargs="?", type=int, default=400, help="Dates that are committed one by one."
    )
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        frames()
        history(TableStore(local_catalog(Path(folder) / "history")))
        # Today's snapshots would be kept; this expires them as in a table whose commits are days apart.
        aged = TableStore(local_catalog(Path(folder) / "commits"), keep_for=timedelta(0))
        commits(aged, arguments.commits)


if __name__ == "__main__":
    main()
