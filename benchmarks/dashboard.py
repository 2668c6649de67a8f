"""Times of the dashboard at Ruter's size: `python -m benchmarks.dashboard --state FOLDER [--days 30]`.

Writes synthetic tables with 535,000 planned departures a day: forecasts of one issue date (4 operating dates), performance of 30
operating dates at 4 horizons, and their scores. A folder that has them is used again. Then times each query, and each page in
a new session: its first load, with empty caches, and its second.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.dashboard_browser import PATHS, browser, free_port, load, reload, served
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.drift import DRIFT_METRICS
from ruter_dagster.contracts.scores import LINE_SCORES, STOP_SCORES
from ruter_dagster.contracts.tables import (
    DRIFT,
    FORECAST_PERFORMANCE,
    LOAD_FORECASTS,
    MODES,
    PLANNED_DEPARTURES,
    Table,
)
from ruter_dagster.contracts.validation import conform
from ruter_dagster.dashboards.engine import Engine, Query
from ruter_dagster.dashboards.queries import QUERIES
from ruter_dagster.forecasting.occupancy import occupancy
from ruter_dagster.forecasting.scores import departure_scores, score_sums
from ruter_dagster.sources.demo.source import DemoSource
from ruter_dagster.sources.demo.timetable import Scale
from ruter_dagster.storage.configured_tables import open_tables
from ruter_dagster.storage.tables import TableStore

ISSUE_DATE = date(2026, 11, 20)
CROWDED_PROBABILITY = 0.3
CODE = "benchmark"
RUNS = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--state", type=Path, required=True, help="folder of the tables, which are written if missing"
    )
    parser.add_argument("--days", type=int, default=30, help="operating dates with performance")
    parser.add_argument("--scale", choices=["demo", "ruter"], default="ruter")
    args = parser.parse_args()
    os.environ |= {"RUTER_STATE_DIR": str(args.state.absolute()), "RUTER_DEMO_SCALE": args.scale}
    store = open_tables(load_settings(_env_file=None))
    if not store.dates(DRIFT):
        print(f"Wrote the tables in {seconds_of(lambda: write_tables(store, args.days, args.scale)):.0f} s")
    time_queries(store)
    time_pages()


def time_queries(store: TableStore) -> None:
    """Prints the first and the median time of each query, with a new reader each time, as a page has."""
    engine = Engine(store)
    for name, query in QUERIES.items():
        parameters = parameters_of(query, store)
        run = partial(run_query, engine, query, parameters)
        seconds = [seconds_of(run) for _ in range(RUNS)]
        print(
            f"{name.lower():<20} {seconds[0] * 1000:6.0f} ms first {statistics.median(seconds) * 1000:6.0f} ms median"
        )


def run_query(engine: Engine, query: Query, parameters: dict[str, Any]) -> pl.DataFrame:
    return engine.reader().run(query, **parameters)


def parameters_of(query: Query, store: TableStore) -> dict[str, Any]:
    """Parameters that select the newest dates, and everything in them that the query can select."""
    newest = store.dates(DRIFT)[-1]
    observed = FORECAST_PERFORMANCE in query.tables
    row = one_departure(store, newest)
    values: dict[str, Any] = {
        "issue_date": ISSUE_DATE, "operating_date": newest if observed else ISSUE_DATE + timedelta(1), "service_date": newest,
        "first": store.dates(DRIFT)[0], "last": newest, "horizon": 1, "first_hour": 0, "last_hour": 47,
        "mode": None, "line": row["line_id"] if observed or STOP_SCORES in query.tables else None, "stop": None, "trip": row["trip_id"],
        "order": "surprise", "crowded_probability": 0.2,
    }  # fmt: skip
    bounds = {name for dates in query.tables.values() for name in (dates.first, dates.last)}
    return {name: values[name] for name in query.parameters | bounds}


@lru_cache
def one_departure(store: TableStore, day: date) -> dict[str, str]:
    return store.read(FORECAST_PERFORMANCE, [day], columns=("trip_id", "line_id")).row(0, named=True)


def time_pages() -> None:
    """Prints the time of each page in Chromium, from the request to a page that is drawn.

    The first time is that of a new browser, and for the first page of a new server. Later ones are reloads: new sessions of the same
    browser, which has Streamlit's program.
    """
    port = free_port()
    with served(port), browser() as chromium:
        for path in PATHS:
            start = time.perf_counter()
            page = load(chromium, f"http://127.0.0.1:{port}/{path}")
            first = time.perf_counter() - start
            seconds = [seconds_of(partial(reload, page)) for _ in range(RUNS)]
            page.context.close()
            print(
                f"{path or 'tomorrow':<20} {first:6.2f} s first  {statistics.median(seconds):6.2f} s median"
            )


def write_tables(store: TableStore, days: int, scale: Scale) -> None:
    """Writes every table that the pages read. DRIFT is the last one."""
    source = DemoSource(scale=scale)
    dates = [ISSUE_DATE + timedelta(offset) for offset in range(-days, HORIZON_DAYS + 1)]
    write(store, LOAD_FORECASTS, forecasts(source, ISSUE_DATE), ISSUE_DATE)
    for day in dates[days - 1 :]:
        write(store, PLANNED_DEPARTURES, named_plan(source, day), day)
    for number, day in enumerate(dates[:days]):
        performance = performance_of(source, day)
        write(store, FORECAST_PERFORMANCE, performance, day)
        for table, sums in zip(
            (LINE_SCORES, STOP_SCORES), score_sums(performance, performance, CROWDED_PROBABILITY), strict=True
        ):
            write(store, table, sums, day)
        print(f"{day}: {performance.height:,} rows, {number + 1} of {days}", flush=True)
    for day in dates[:days]:
        write(store, DRIFT, drift(day), day)


def write(store: TableStore, table: Table, frame: pl.DataFrame, day: date) -> None:
    store.write(table, conform(frame.select(table.column_names), table), [day], code_version=CODE)


def named_plan(source: DemoSource, day: date) -> pl.DataFrame:
    """The plan of a date, with names and coordinates, which the demo network lacks."""
    number = pl.col("stop_id").str.extract(r"(\d+)$").cast(pl.Int64)
    return source.planned_departures(day).with_columns(
        line_name=pl.col("line_id").str.split(":").list.last(),
        stop_name=pl.format("Stop {}", number // 2),
        latitude=59.8 + (number * 7919 % 2000) / 10_000,
        longitude=10.6 + (number * 104729 % 4000) / 10_000,
    )


def forecasts(source: DemoSource, issue_date: date) -> pl.DataFrame:
    parts = [
        forecast(source, issue_date + timedelta(horizon), horizon) for horizon in range(HORIZON_DAYS + 1)
    ]
    return pl.concat(parts)


def forecast(source: DemoSource, day: date, horizon: int) -> pl.DataFrame:
    """Random forecasts of every planned departure of a date, with the columns of LOAD_FORECASTS."""
    plan = source.planned_departures(day)
    random = np.random.default_rng([day.toordinal(), horizon])
    mean = random.gamma(1.6, 14.0, plan.height)
    spread = 1.0 + mean * random.uniform(0.2, 0.5, plan.height)
    frame = plan.rename({"service_date": "operating_date"}).with_columns(
        issue_date=pl.lit(day - timedelta(horizon)),
        horizon_days=pl.lit(horizon, pl.Int32),
        slot_hour=pl.col("scheduled_departure_time").dt.convert_time_zone("Europe/Oslo").dt.hour().cast(pl.Int32),
        mean=mean, p10=np.maximum(mean - spread, 0), p50=mean, p90=mean + spread,
        prob_above_seats=1 / (1 + (pl.col("seats") / pl.lit(pl.Series(mean))).pow(4)),
        **{name: np.maximum(mean + random.normal(0, 3, plan.height), 0) for name in ("last_week", "ha4", "ha8")},
        history_count=pl.lit(8, pl.Int32),
        source=pl.lit("model"), expected_tier=pl.lit("departure"), model_version=pl.lit("1"),
        reasons=pl.lit(""), thresholds_version=pl.lit("benchmark"),
    )  # fmt: skip
    return frame.with_columns(occupancy())


def performance_of(source: DemoSource, day: date) -> pl.DataFrame:
    parts = []
    for horizon in range(HORIZON_DAYS + 1):
        frame = forecast(source, day, horizon)
        random = np.random.default_rng([day.toordinal(), 99])
        load = random.poisson(
            np.maximum(frame["mean"].to_numpy() * random.normal(1, 0.2, frame.height), 0)
        ).astype(float)
        parts.append(frame.with_columns(load=load, is_final=pl.lit(False)).with_columns(departure_scores()))
    return pl.concat(parts)


def drift(day: date) -> pl.DataFrame:
    """One row for each metric and scope."""
    random = np.random.default_rng(day.toordinal())
    rows = [
        {
            "operating_date": day, "metric": metric.name, "scope": scope, "value": float(random.normal(0, 0.05)),
            "warn": float(metric.warn), "act": metric.act, "verdict": "ok",
        }
        for metric in DRIFT_METRICS
        for scope in ("network", *MODES)
    ]  # fmt: skip
    return (
        pl.DataFrame(rows, schema_overrides={"act": pl.Float64})
        .with_columns(detail=pl.lit(None, pl.String))
        .select(DRIFT.column_names)
    )


def seconds_of(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
