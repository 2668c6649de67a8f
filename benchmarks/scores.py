"""Scores at the size of Ruter: `python -m benchmarks.scores [--departures 500000]`, two minutes and 4 GiB on 2 cores.

Made-up forecasts of one operating date at each horizon, and its loads, in a new folder. Then the jobs `performance` and
`scores` as processes: seconds and peak memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.jobs import DatesParameters, Performance, Scores
from ruter_dagster.contracts.tables import LOAD_FORECASTS, STOP_LOADS, Table
from ruter_dagster.contracts.validation import conform
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore
from ruter_dagster.storage.verdicts import Verdicts

DAY = date(2026, 11, 20)
STOPS = 20
LINES, STOPS_OF_LINE = 300, 40


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--departures", type=int, default=500_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_state(Path(folder) / "demo", args.departures)
        for parameters in (Performance(dates=(DAY,)), Scores(dates=(DAY,))):
            run_job(parameters, Path(folder))


def write_state(folder: Path, departures: int) -> None:
    """Writes the forecasts and the loads of `DAY`, with a passed verdict on the loads."""
    store = TableStore(local_catalog(folder / "warehouse"))
    for horizon in range(HORIZON_DAYS + 1):
        issue_date = DAY - timedelta(horizon)
        store.write(LOAD_FORECASTS, forecasts(issue_date, departures), [issue_date], code_version="1")
    loads = loads_of(forecasts(DAY, departures).filter(operating_date=DAY))
    version = store.write(STOP_LOADS, loads, [DAY], code_version="1").hashes[DAY]
    Verdicts(ArtifactStore.at(folder / "artifacts")).record(STOP_LOADS, DAY, version, {"passed": True}, "")


def forecasts(issue_date: date, departures: int) -> pl.DataFrame:
    """Forecasts of `departures` departures on each of the four operating dates of an issue date."""
    frames = [
        _forecasts_of(issue_date, issue_date + timedelta(ahead), departures)
        for ahead in range(HORIZON_DAYS + 1)
    ]
    return pl.concat(frames)


def _forecasts_of(issue_date: date, day: date, departures: int) -> pl.DataFrame:
    rng = np.random.default_rng(day.toordinal())
    number, journey = np.arange(departures), np.arange(departures) // STOPS
    mean = rng.gamma(1.2, 10.0, departures)
    hour = 5 + journey % 20
    frame = pl.DataFrame(
        {
            "trip_id": pl.Series(journey).cast(pl.String).str.pad_start(8, "0"),
            "stop_sequence": number % STOPS + 1,
            "line_id": pl.Series(journey % LINES).cast(pl.String),
            "direction_id": journey % 2,
            "stop_id": pl.Series(journey % LINES * STOPS_OF_LINE + number % STOPS).cast(pl.String),
            "slot_hour": hour,
            "mean": mean,
            "p10": mean * 0.5,
            "p50": mean * 0.95,
            "p90": mean * 1.6,
            "prob_above_seats": np.clip(mean / 90, 0, 1),
            "last_week": mean * rng.gamma(10, 0.1, departures),
            "ha4": mean * rng.gamma(20, 0.05, departures),
            "ha8": mean * rng.gamma(20, 0.05, departures),
        }
    ).with_columns(
        issue_date=pl.lit(issue_date),
        operating_date=pl.lit(day),
        horizon_days=pl.lit((day - issue_date).days),
        mode=pl.lit("bus"),
        seats=pl.lit(34),
        total_capacity=pl.lit(75),
        scheduled_departure_time=pl.lit(datetime(day.year, day.month, day.day, tzinfo=UTC))
        + pl.duration(hours=pl.col("slot_hour")),
        occupancy_level=pl.lit("manySeatsAvailable"),
        occupancy_status=pl.lit(1),
        history_count=pl.lit(8),
        source=pl.lit("model"),
        model_version=pl.lit("0123456789abcdef"),
        reasons=pl.lit(""),
        thresholds_version=pl.lit("0123456789ab"),
    )
    return _of_table(frame, LOAD_FORECASTS)


def loads_of(forecasts: pl.DataFrame) -> pl.DataFrame:
    """A load of each departure, drawn around its forecast."""
    rng = np.random.default_rng(7)
    frame = forecasts.with_columns(
        service_date="operating_date",
        trip_id_performed="trip_id",
        load=pl.Series(rng.poisson(forecasts["mean"].to_numpy() * rng.gamma(10, 0.1, forecasts.height))).clip(
            0, 140
        ),
        weight=pl.lit(1.0),
    )
    return _of_table(frame, STOP_LOADS)


def _of_table(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    absent = [name for name in table.column_names if name not in frame.columns]
    complete = frame.with_columns(pl.lit(None).alias(name) for name in absent)
    return conform(complete.select(table.column_names), table)


def run_job(parameters: DatesParameters, folder: Path) -> None:
    """Runs a job as a process of its own. The job prints its seconds and its memory."""
    command = [
        sys.executable,
        "-m",
        "ruter_dagster.jobs",
        parameters.job,
        "--parameters",
        parameters.model_dump_json(),
    ]
    settings = {"RUTER_STATE_DIR": str(folder), "RUTER_SOURCE": "demo", "RUTER_ENV_FILE": ""}
    subprocess.run(command, check=True, env={**os.environ, **settings})


if __name__ == "__main__":
    main()
