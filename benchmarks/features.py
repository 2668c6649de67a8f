"""The features job of one date, compared with a plain polars scan of the same rows and a write of its result.

`python -m benchmarks.features --state FOLDER`, the folder of benchmarks.season. Nothing in the folder changes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import polars as pl

from benchmarks.state import parsed_settings
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.features import DEPARTURE_FEATURES
from ruter_dagster.contracts.jobs import Features
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_LOADS, Table
from ruter_dagster.forecasting.features import LOAD_COLUMNS, departure_features, lag_dates
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import Reporter
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore

ROUNDS = 5


def main() -> None:
    context = JobContext(parsed_settings(__doc__), Features(dates=()), Container(Path()), Reporter(None))
    planned = context.store.dates(PLANNED_DEPARTURES)[-7:]
    past = {day: _lag_dates(day, context) for day in planned}
    day, lags = max(past.items(), key=lambda item: len(item[1]))
    rounds = [_round(day, lags, context) for _ in range(ROUNDS)]
    middle = {name: statistics.median(seconds[name] for seconds in rounds) for name in rounds[0]}
    plain = middle["plain scan"] + middle["plain write"]
    ours = sum(middle.values()) - plain
    print(f"Features of {day} from {len(lags)} dates of loads, median of {ROUNDS}")
    print(", ".join(f"{name} {seconds:.2f} s" for name, seconds in middle.items()))
    print(f"{ours:.2f} s, plain {plain:.2f} s: {ours / plain:.1f} times")


def _round(day: date, lags: list[date], context: JobContext) -> dict[str, float]:
    """Seconds of each part. The rows are written to a new table each time."""
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        with timed(seconds, "read"):
            plan = context.tables.read(PLANNED_DEPARTURES, [day])
            loads = context.tables.read(STOP_LOADS, lags, LOAD_COLUMNS, ordered=False)
        with timed(seconds, "make"):
            features = departure_features(plan, loads, context.calendar)
        store = TableStore(local_catalog(Path(folder)))
        # The table exists before, as on every day but the first.
        store.write(DEPARTURE_FEATURES, features.head(1), [day], code_version="1")
        with timed(seconds, "write"):
            store.write(DEPARTURE_FEATURES, features, [day], code_version="1")
        with timed(seconds, "plain scan"):
            pl.read_parquet(_files(STOP_LOADS, lags, context), columns=list(LOAD_COLUMNS))
            pl.read_parquet(_files(PLANNED_DEPARTURES, [day], context))
        with timed(seconds, "plain write"):
            features.write_parquet(Path(folder) / "plain.parquet", compression="zstd")
    return seconds


def _lag_dates(day: date, context: JobContext) -> list[date]:
    lags = lag_dates(day, context.calendar)
    return list(context.tables.versions(STOP_LOADS, lags, missing="skip", verdict="skip"))


def _files(table: Table, dates: list[date], context: JobContext) -> list[Path]:
    namespace, name = table.name.split(".")
    data = context.settings.source_dir / "warehouse" / "tables" / namespace / name / "data"
    return [file for day in dates for file in (data / f"{table.partition}={day}").glob("*.parquet")]


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started


if __name__ == "__main__":
    main()
