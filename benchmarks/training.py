"""Training at the size of Ruter: `python -m benchmarks.training [--dates 400] [--rows 5000]`, 3 minutes and 4 GiB on 2 cores.

A training sample of made-up departures in a new folder, as the chain keeps it, then the job that trains on it: seconds and peak
memory, beside LightGBM's own training on the ready matrix.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.features import TRAINING_SAMPLE
from ruter_dagster.contracts.jobs import Train
from ruter_dagster.contracts.tables import Column
from ruter_dagster.contracts.validation import polars_schema
from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.training import training_dates
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import Reporter
from ruter_dagster.jobs.training import train_version

NEWEST = date(2026, 11, 19)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dates", type=int, default=400)
    parser.add_argument("--rows", type=int, default=5000, help="rows of each date")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(source="demo", state_dir=Path(folder), _env_file=None)  # pyright: ignore[reportCallIssue]
        parameters = Train(days=args.dates, held_out=0)
        context = JobContext(settings, parameters, Container(Path(folder)), Reporter(None))
        dates = training_dates(NEWEST, args.dates)
        for start in range(0, len(dates), 20):
            block = dates[start : start + 20]
            context.store.write(
                TRAINING_SAMPLE,
                pl.concat(sample_of(day, args.rows) for day in block),
                block,
                inputs={},
                code_version="1",
            )
        started, cpu = time.perf_counter(), time.process_time()
        record = train_version(dates, ModelParameters(), "1", context)
        print(
            f"{record.metrics['rows']:,.0f} rows of {args.dates} dates: {time.perf_counter() - started:.0f} s, "
            f"{time.process_time() - cpu:.0f} CPU s, "
            f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB"
        )


def sample_of(day: date, rows: int) -> pl.DataFrame:
    """Rows of one date whose loads depend on a few features. The date is the seed."""
    rng = np.random.default_rng(day.toordinal())
    expected = rng.gamma(2.0, 8.0, rows)
    known = {
        "service_date": [day] * rows,
        "trip_id": [f"journey-{row // 20}" for row in range(rows)],
        "stop_sequence": [row % 20 + 1 for row in range(rows)],
        "expected": expected,
        "mode": rng.choice(["bus", "tram", "metro", "boat"], rows),
        "issue_date": [day - timedelta(row % 4) for row in range(rows)],
        "horizon_days": [row % 4 for row in range(rows)],
        "history_count": rng.integers(1, 9, rows),
        "load": rng.poisson(expected).astype(float),
        "weight": np.ones(rows),
        "sample_weight": np.full(rows, 100.0),
    }
    values = {
        column.name: known.get(column.name, _values(column, expected, rng))
        for column in TRAINING_SAMPLE.columns
    }
    return pl.DataFrame(values, schema=polars_schema(TRAINING_SAMPLE)).sort(TRAINING_SAMPLE.key)


def _values(column: Column, expected: np.ndarray, rng: np.random.Generator) -> object:
    rows = len(expected)
    if column.allowed:
        return rng.choice(column.allowed, rows)
    if column.type == "float64":
        return np.clip(expected * rng.gamma(20.0, 0.05, rows), column.minimum, column.maximum)
    if column.type == "int32":
        return np.clip(rng.integers(0, 7, rows), column.minimum, column.maximum)
    if column.type == "boolean":
        return rng.random(rows) < 0.1
    if column.type == "date":
        return [date(2025, 1, 1)] * rows
    return [datetime(2026, 1, 1, tzinfo=UTC) if column.type == "timestamp" else "any"] * rows


if __name__ == "__main__":
    main()
