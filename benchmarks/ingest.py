"""A week of TIDES tables read, checked and written: 1,150,000 visits of 49,000 trips, some of them bad.

`python -m benchmarks.ingest` makes the tables in a temporary folder, as CSV and as Parquet, and runs the job that copies stop
visits, once each, in a process of its own. Goals on 2 cores: 30 s and 1 GB.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

FIRST = date(2026, 11, 16)
DAYS, TRIPS, VISITS, VEHICLES, LINES = 7, 49_000, 1_150_000, 1_000, 150
BAD_ROWS = 27
"""The number of visits in a real week."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, help="run on this folder of tables, as the benchmark itself does"
    )
    arguments = parser.parse_args()
    if arguments.folder:
        _ingest(arguments.folder)
        return
    for form in ("csv", "parquet"):
        with tempfile.TemporaryDirectory() as folder:
            _write_tables(Path(folder), form)
            command = [sys.executable, "-m", "benchmarks.ingest", "--folder", folder]
            print(
                f"{form}: {subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()}"
            )


def _ingest(folder: Path) -> None:
    """Runs the job on the folder and prints seconds, CPU seconds and peak memory."""
    from ruter_dagster.config.settings import load_settings
    from ruter_dagster.contracts.container import Container
    from ruter_dagster.contracts.jobs import Snapshot
    from ruter_dagster.contracts.tables import REJECTED_VISITS, STOP_VISITS
    from ruter_dagster.jobs import snapshot
    from ruter_dagster.jobs.context import JobContext
    from ruter_dagster.jobs.pipes import Reporter

    os.environ |= {
        "RUTER_STATE_DIR": str(folder / "state"),
        "RUTER_SOURCE": "tides",
        "RUTER_TIDES_PATH": str(folder),
    }
    dates = tuple(FIRST + timedelta(days) for days in range(DAYS))
    parameters = Snapshot(table=STOP_VISITS.name, dates=dates, of_range=True)
    context = JobContext(load_settings(_env_file=None), parameters, Container(folder), Reporter(None))
    began, cpu = time.perf_counter(), time.process_time()
    snapshot.run(parameters, context)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rejected = context.store.read(REJECTED_VISITS, context.store.dates(REJECTED_VISITS)).height
    kept = sum(context.store.snapshot(STOP_VISITS).rows_by_date(dates).values())
    print(
        f"{kept:,} visits kept, {rejected} rejected: {seconds:.1f} s ({cpu:.1f} CPU s), {megabytes:,.0f} MB at most"
    )


def _write_tables(folder: Path, form: str) -> None:
    trips = _trips()
    visits = _with_bad_counts(_visits(trips))
    vehicles = pl.DataFrame({"vehicle_id": [f"v{number}" for number in range(VEHICLES)]}).with_columns(
        capacity_seated=pl.lit(40), capacity_standing=pl.lit(60)
    )
    trips = trips.with_columns(
        trip_id_scheduled=pl.format("s{}", "trip"),
        route_type=pl.lit("Bus Service"),
        direction_id=pl.col("trip") % 2,
        trip_type=pl.lit("In service"),
        schedule_relationship=pl.lit("Scheduled"),
    ).drop("trip", "start", "stops")
    _write(vehicles, folder / f"vehicles.{form}")
    for name, table in (("stop_visits", visits), ("trips_performed", trips)):
        (folder / name).mkdir()
        for (day,), rows in table.partition_by("service_date", as_dict=True).items():
            _write(rows, folder / name / f"{day}.{form}")


def _write(table: pl.DataFrame, path: Path) -> None:
    if path.suffix == ".csv":
        table.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S%:z")
    else:
        table.write_parquet(path)


def _trips() -> pl.DataFrame:
    """One row per trip. Some trips have one stop more, so that the number of visits is exact."""
    shorter = VISITS // TRIPS
    number = pl.int_range(TRIPS, eager=True).alias("trip")
    midnight = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    day = pl.col("trip") % DAYS
    return number.to_frame().with_columns(
        (pl.lit(FIRST) + pl.duration(days=day)).cast(pl.Date).alias("service_date"),
        pl.format("p{}", "trip").alias("trip_id_performed"),
        pl.format("v{}", pl.col("trip") % VEHICLES).alias("vehicle_id"),
        pl.format("{}", pl.col("trip") % LINES).alias("route_id"),
        start=pl.lit(midnight) + pl.duration(days=day, minutes=240 + pl.col("trip") // DAYS % 1000),
        stops=shorter + (pl.col("trip") < VISITS - shorter * TRIPS).cast(pl.Int64),
    )


def _visits(trips: pl.DataFrame) -> pl.DataFrame:
    """Visits two minutes apart, with counts that almost agree."""
    draw = np.random.default_rng(20)
    sequence = pl.int_ranges(1, pl.col("stops") + 1)
    visits = trips.with_columns(trip_stop_sequence=sequence).explode("trip_stop_sequence")
    at = pl.col("start") + pl.duration(minutes=2 * pl.col("trip_stop_sequence"))
    counts = {
        name: draw.poisson(1.5, visits.height)
        for name in ("boarding_1", "alighting_1", "boarding_2", "alighting_2")
    }
    return visits.with_columns(**{name: pl.Series(values) for name, values in counts.items()}).select(
        "service_date",
        "trip_id_performed",
        "trip_stop_sequence",
        "vehicle_id",
        pl.format("stop{}", pl.col("trip_stop_sequence") + 31 * pl.col("route_id").cast(pl.Int64)).alias(
            "stop_id"
        ),
        schedule_arrival_time=at,
        schedule_departure_time=at,
        actual_arrival_time=at + pl.duration(seconds=20),
        actual_departure_time=at + pl.duration(seconds=40),
        **{name: pl.col(name) for name in counts},
        departure_load=pl.lit(12),
        schedule_relationship=pl.lit("Scheduled"),
    )


def _with_bad_counts(visits: pl.DataFrame) -> pl.DataFrame:
    """The visits, some of them with a count below 0."""
    bad = pl.int_range(pl.len()) % (VISITS // BAD_ROWS) == VISITS // BAD_ROWS - 1
    return visits.with_columns(boarding_1=pl.when(bad).then(-1).otherwise("boarding_1"))


if __name__ == "__main__":
    main()
