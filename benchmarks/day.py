"""A day of the chain at the size of Ruter, with and without Dagster: `python -m benchmarks.day --state FOLDER [--days 3]`.

The folder is that of `benchmarks.season`, whose history and model are needed. The runs of each issue date go through Dagster,
from raw snapshots to the committed Kafka transaction, and then the monitoring of the day before. Then the tables are restored, and the same jobs run one after the other
in this process, with imports done. Prints a table of the median day; `--json FILE` writes the figures.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import signal
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import date, timedelta
from importlib import import_module
from pathlib import Path

from rich.console import Console

from benchmarks.costs import Cost, machine, steps_of, table_of
from benchmarks.state import settings_of
from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.contracts.container import Container, is_alive
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import (
    FEEDS,
    PUBLISHED_FORECASTS,
    Balance,
    CheckQuality,
    Drift,
    Features,
    Feeds,
    Forecast,
    JobParameters,
    Levels,
    Performance,
    Publish,
    Scores,
    Snapshot,
    asset_of,
    quality_asset_of,
)
from ruter_dagster.contracts.scores import LINE_SCORES
from ruter_dagster.contracts.tables import (
    DRIFT,
    FORECAST_PERFORMANCE,
    LOAD_FORECASTS,
    PLANNED_DEPARTURES,
    STOP_LOADS,
    STOP_VISITS,
    WEATHER_FORECASTS,
)

AHEAD = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--state", type=Path, required=True, help="folder of the state; kept")
    parser.add_argument("--days", type=int, default=3, help="issue dates through Dagster")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    settings = settings_of(args.state)
    from ruter_dagster.publishing.broker import local_broker

    with local_broker(args.state / "broker") as broker:
        os.environ["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap_servers
        settings = load_settings(_env_file=None)
        newest = _newest_issue_date(settings)
        # The partitions of a demo end with its issue date.
        os.environ["RUTER_ISSUE_DATE"] = (newest + timedelta(args.days)).isoformat()
        days, bare = [], []
        for number in range(args.days):
            issue_date = newest + timedelta(1 + number)
            with _tables_restored(settings):
                days.append(through_dagster(issue_date, settings))
            # Its own topics: a forecast is published only once to the same topics.
            bare.append(
                list(without_dagster(issue_date, load_settings(_env_file=None, kafka_topic_prefix="bare.")))
            )
    show(days, bare)
    if args.json:
        figures = {
            "machine": machine(),
            "days": [list(map(asdict, day)) for day in days],
            "bare": [list(map(asdict, day)) for day in bare],
        }
        args.json.write_text(json.dumps(figures, indent=2))


def call(parameters: JobParameters, settings: Settings) -> None:
    """Runs a job in this process without reports."""
    from ruter_dagster.jobs.context import JobContext
    from ruter_dagster.jobs.pipes import Reporter

    container = Container(settings.source_dir / "jobs" / "bare")
    module = import_module(f"ruter_dagster.jobs.{parameters.job}")
    module.run(parameters, JobContext(settings, parameters, container, Reporter(None)))


def counts(day: date) -> list[JobParameters]:
    return [
        Snapshot(table=STOP_VISITS.name, dates=(day,)),
        CheckQuality(table=STOP_VISITS.name, dates=(day,)),
        Balance(dates=(day,)),
        CheckQuality(table=STOP_LOADS.name, dates=(day,)),
    ]


def plan(days: tuple[date, ...]) -> list[JobParameters]:
    several = len(days) > 1
    return [
        Snapshot(table=PLANNED_DEPARTURES.name, dates=days, of_range=several),
        CheckQuality(table=PLANNED_DEPARTURES.name, dates=days, of_range=len(days) > 1),
        Features(dates=days, of_range=several),
        CheckQuality(table=DEPARTURE_FEATURES.name, dates=days, of_range=len(days) > 1),
    ]


def weather(day: date) -> list[JobParameters]:
    return [
        Snapshot(table=WEATHER_FORECASTS.name, dates=(day,)),
        CheckQuality(table=WEATHER_FORECASTS.name, dates=(day,)),
    ]


def recent(day: date) -> list[JobParameters]:
    return [Levels(dates=(day,)), CheckQuality(table=LEVELS.name, dates=(day,))]


def forecasts(day: date, settings: Settings) -> list[JobParameters]:
    return [Forecast(dates=(day,)), Publish(dates=(day,), issued_at=settings.daily_at), Feeds(dates=(day,))]


def monitoring(day: date) -> list[JobParameters]:
    return [Performance(dates=(day,)), Scores(dates=(day,)), Drift(dates=(day,))]


def ahead(issue_date: date) -> tuple[date, ...]:
    return tuple(issue_date + timedelta(number) for number in range(AHEAD + 1))


def without_dagster(issue_date: date, settings: Settings) -> Iterator[Cost]:
    """The jobs of an issue date, one after the other in this process."""
    jobs = [
        *counts(issue_date - timedelta(1)),
        *plan(ahead(issue_date)),
        *weather(issue_date),
        *recent(issue_date),
        *forecasts(issue_date, settings),
        *monitoring(issue_date - timedelta(1)),
    ]
    for name in {parameters.job for parameters in jobs}:
        import_module(f"ruter_dagster.jobs.{name}")
    _import_libraries_of_jobs()
    # pyiceberg warns that metadata which was restored cannot be deleted.
    logging.getLogger("pyiceberg").setLevel(logging.ERROR)
    for parameters in jobs:
        with _measured() as measured:
            call(parameters, settings)
        yield Cost(_asset(parameters), *measured(), _peak())


def through_dagster(issue_date: date, settings: Settings) -> list[Cost]:
    """The runs of an issue date through Dagster, one cost per step."""
    from ruter_dagster.orchestration.chain import RUNS
    from ruter_dagster.orchestration.instance import open_instance
    from ruter_dagster.orchestration.runs import RunRequest, execute

    costs: list[Cost] = []
    with open_instance() as instance:
        for job, dates in (
            ("counts", (issue_date - timedelta(1),)),
            ("plan", ahead(issue_date)),
            ("forecasting", (issue_date,)),
            ("monitoring", (issue_date - timedelta(1),)),
        ):
            log = settings.source_dir / "logs" / f"{job}-{issue_date}.log"
            log.unlink(missing_ok=True)
            end_shared_process(settings)  # as under the daemon, where each run imports for itself
            with _measured() as measured:
                outcome = execute(RunRequest(job, RUNS[job], dates), instance, log, lambda _: None)
            if not outcome.succeeded:
                raise SystemExit(f"{job} of {issue_date}: {outcome.failure}; {log}")
            costs += [*steps_of(instance, outcome.run_id, log), Cost(f"run {job}", measured()[0], 0, 0)]
    return costs


def show(days: list[list[Cost]], bare: list[list[Cost]]) -> None:
    console = Console(width=170)
    console.print(machine())
    alone = {cost.step: cost.seconds for cost in _middle(bare)}
    middle = _middle(days)
    console.print(table_of(f"An issue date, median of {len(days)}", middle, alone))
    wholes = [
        (_run_seconds(day), sum(cost.seconds for cost in one)) for day, one in zip(days, bare, strict=True)
    ]
    steps = [cost for cost in middle if not cost.step.startswith("run ")]
    quality = [cost for cost in steps if cost.step.startswith("quality/")]
    console.print(
        f"Counts to publication: {statistics.median(_run_seconds(day, without='run monitoring') for day in days):.1f} s through Dagster\n"
        f"A day: {statistics.median(whole for whole, _ in wholes):.1f} s through Dagster, "
        f"{statistics.median(one for _, one in wholes):.1f} s bare: "
        f"{statistics.median(whole / one for whole, one in wholes):.2f} times\n"
        f"Quality: {sum(cost.seconds for cost in quality):.1f} s of steps, waiting for the imports of their runs' processes included; "
        f"{sum(cost.own_seconds for cost in quality):.1f} s own, {sum(cost.import_seconds for cost in quality):.1f} CPU s to import\n"
        f"Of a step Dagster takes {_span([cost.dagster_seconds for cost in steps])} s, to start and import "
        f"{_span([cost.start_seconds for cost in steps])} s\n"
        f"Peak: {max(cost.peak_mb for day in days for cost in day):,.0f} MiB"
    )


def _middle(days: list[list[Cost]]) -> list[Cost]:
    """For each step, the cost on the day with its median seconds."""
    by_step = [
        sorted((cost for day in days for cost in day if cost.step == one.step), key=lambda cost: cost.seconds)
        for one in days[0]
    ]
    return [same[len(same) // 2] for same in by_step]


def _span(seconds: list[float]) -> str:
    return f"{min(seconds):.2f} to {max(seconds):.2f} (median {statistics.median(seconds):.2f})"


@contextmanager
def _tables_restored(settings: Settings) -> Iterator[None]:
    """Restores every table afterwards. Data files are never rewritten, so that restoring the catalog is enough."""
    catalog = settings.source_dir / "warehouse" / "catalog.db"
    with closing(sqlite3.connect(":memory:")) as kept:
        with closing(sqlite3.connect(catalog)) as now:
            now.backup(kept)
        yield
        end_shared_process(settings)
        with closing(sqlite3.connect(catalog)) as now:
            kept.backup(now)


def end_shared_process(settings: Settings) -> None:
    """Ends the shared process of quality reports, as the end of a run's worker does."""
    for address in (settings.source_dir / "jobs").glob(f"{CheckQuality.job}-*.json"):
        process = json.loads(address.read_text())["process"]
        while is_alive(process):
            os.kill(process, signal.SIGKILL)
            time.sleep(0.05)


def _run_seconds(day: list[Cost], without: str = "") -> float:
    """The seconds of a day's runs, but for the run that `without` names."""
    return sum(cost.seconds for cost in day if cost.step.startswith("run ") and cost.step != without)


@contextmanager
def _measured() -> Iterator[Callable[[], tuple[float, float]]]:
    wall, cpu = time.perf_counter(), time.process_time()
    ended: list[float] = []
    yield lambda: (ended[0], ended[1])
    ended += [time.perf_counter() - wall, time.process_time() - cpu]


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _asset(parameters: JobParameters) -> str:
    """The asset that a job of the day materialises."""
    if isinstance(parameters, CheckQuality):
        return quality_asset_of(parameters.table)
    if isinstance(parameters, Publish):
        return PUBLISHED_FORECASTS
    if isinstance(parameters, Feeds):
        return FEEDS
    tables = {
        Balance: STOP_LOADS, Features: DEPARTURE_FEATURES, Levels: LEVELS, Forecast: LOAD_FORECASTS,
        Performance: FORECAST_PERFORMANCE, Scores: LINE_SCORES, Drift: DRIFT,
    }  # fmt: skip
    return asset_of(parameters.table if isinstance(parameters, Snapshot) else tables[type(parameters)].name)


def _store(settings: Settings):
    from ruter_dagster.storage.catalog import local_catalog
    from ruter_dagster.storage.tables import TableStore

    return TableStore(local_catalog(settings.source_dir / "warehouse"))


def _newest_issue_date(settings: Settings) -> date:
    return _store(settings).dates(LEVELS)[-1]


def _import_libraries_of_jobs() -> None:
    for name in ("great_expectations", "lightgbm", "confluent_kafka", "pyiceberg.catalog.sql"):
        import_module(name)


if __name__ == "__main__":
    main()
