"""The feeds of one issue date of Ruter's size: `python -m benchmarks.feeds`. Times are of the job, reading and writing included.

The forecasts are the plan of the demo network at Ruter's size, with a level for each call.
"""

from __future__ import annotations

import resource
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.feeds import DEFAULT_FEEDS, FEED_NAMES
from ruter_dagster.contracts.jobs import Feeds
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.contracts.validation import polars_schema
from ruter_dagster.forecasting.occupancy import GTFS_STATUS
from ruter_dagster.jobs import feeds
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import Reporter
from ruter_dagster.sources.demo.source import DemoSource
from ruter_dagster.storage.feed_files import FeedFiles
from ruter_dagster.storage.publications import Publication, record_publication

ISSUE_DATE = date(2026, 11, 16)
DAYS = 4
LEVELS = {level: status for level, status in GTFS_STATUS.items() if level != "unknown"}


def main() -> None:
    with TemporaryDirectory() as folder:
        context = context_of(Path(folder), *FEED_NAMES)
        calls = publish(context)
        print(f"{calls:,} calls of {DAYS} days")
        for names in (DEFAULT_FEEDS, *((name,) for name in FEED_NAMES)):
            report(names, Path(folder))
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB at most, forecasts included")


def report(names: tuple[str, ...], folder: Path) -> None:
    """Runs the job with these feeds, and prints its time and the size of its files."""
    context = context_of(folder, *names)
    wall, cpu = time.perf_counter(), time.process_time()
    feeds.run(context.parameters, context)  # pyright: ignore[reportArgumentType]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    latest = FeedFiles(context.artifacts).latest() or {}
    size = sum(file["bytes"] for file in latest["files"])
    print(f"{wall:6.1f} s  {cpu:6.1f} CPU s  {size / 1e6:6.1f} MB  {', '.join(names)}")


def context_of(folder: Path, *names: str) -> JobContext:
    settings = Settings(state_dir=folder, operator="ruter", feeds=names, _env_file=None)  # pyright: ignore[reportCallIssue]
    return JobContext(settings, Feeds(dates=(ISSUE_DATE,)), Container(folder), Reporter(None))


def publish(context: JobContext) -> int:
    """Writes the forecasts and records their publication. Returns the number of calls."""
    rows = forecasts()
    written = context.store.write(LOAD_FORECASTS, rows, [ISSUE_DATE], code_version="1")
    issued_at = datetime(2026, 11, 16, 3, 30, tzinfo=UTC)
    record_publication(
        context.store,
        Publication(
            ISSUE_DATE, "benchmark", written.hashes[ISSUE_DATE], written.snapshot_id, 2, issued_at, issued_at,
            rows.n_unique(["operating_date", "trip_id"]), rows.height, 0, "nordic", degraded=False,
        ),
    )  # fmt: skip
    return rows.height


def forecasts() -> pl.DataFrame:
    """A row of each planned call. Columns that no feed reads have any valid value."""
    source = DemoSource(scale="ruter")
    plan = pl.concat([source.planned_departures(ISSUE_DATE + timedelta(day)) for day in range(DAYS)])
    level = pl.col("stop_id").hash(1).mod(len(LEVELS))
    values = {
        "issue_date": pl.lit(ISSUE_DATE),
        "operating_date": pl.col("service_date"),
        "horizon_days": (pl.col("service_date") - pl.lit(ISSUE_DATE)).dt.total_days(),
        "occupancy_level": level.replace_strict(dict(enumerate(LEVELS)), return_dtype=pl.String),
        "occupancy_status": level.replace_strict(dict(enumerate(LEVELS.values()))),
        "source": pl.lit("baseline"),
        "reasons": pl.lit(""),
        "thresholds_version": pl.lit("nordic"),
    }
    schema = polars_schema(LOAD_FORECASTS)
    columns = [
        values.get(name, pl.col(name) if name in plan.columns else pl.lit(0 if _is_required(name) else None))
        .cast(dtype)
        .alias(name)
        for name, dtype in schema.items()
    ]
    return plan.select(columns)


def _is_required(name: str) -> bool:
    return next(column.required for column in LOAD_FORECASTS.columns if column.name == name)


if __name__ == "__main__":
    main()
