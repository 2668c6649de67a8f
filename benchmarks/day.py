"""A day of the chain at the size of Ruter, beside the bare cost: `python -m benchmarks.day --state FOLDER [--days 3]`.

The folder is that of `benchmarks.season`, whose history and model it needs. The runs of each issue date go through Dagster,
raw snapshots to committed Kafka transaction; the last one goes bare: the same jobs on the same tables, called one after the
other in this process, imports done. Prints a table of the median day; `--json FILE` keeps the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, timedelta
from importlib import import_module
from pathlib import Path

from rich.console import Console

from benchmarks.costs import Cost, machine, steps_of, table_of
from benchmarks.state import settings_of
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import (
    PUBLISHED_FORECASTS,
    Balance,
    CheckQuality,
    Features,
    Forecast,
    JobParameters,
    Levels,
    Publish,
    Snapshot,
    asset_of,
    quality_asset_of,
)
from ruter_dagster.contracts.tables import (
    LOAD_FORECASTS,
    PLANNED_DEPARTURES,
    STOP_LOADS,
    STOP_VISITS,
    WEATHER_FORECASTS,
)
from ruter_dagster.settings import Settings, load_settings

AHEAD = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--state", type=Path, required=True, help="folder of the state; kept")
    parser.add_argument("--days", type=int, default=3, help="issue dates through Dagster")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    settings = settings_of(given.state)
    from ruter_dagster.publishing.broker import local_broker

    with local_broker(given.state / "broker") as broker:
        os.environ["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap_servers
        settings = load_settings(_env_file=None)
        newest = _newest_issue_date(settings)
        days = [through_dagster(newest + timedelta(1 + number), settings) for number in range(given.days)]
        bare = list(without_dagster(newest + timedelta(1 + given.days), settings))
    show(days, bare)
    if given.json:
        figures = {
            "machine": machine(),
            "days": [list(map(asdict, day)) for day in days],
            "bare": list(map(asdict, bare)),
        }
        given.json.write_text(json.dumps(figures, indent=2))


def call(parameters: JobParameters, settings: Settings) -> None:
    """A job in this process, reporting to nobody."""
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
    return [Forecast(dates=(day,)), Publish(dates=(day,), issued_at=settings.daily_at)]


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
    ]
    for name in {parameters.job for parameters in jobs}:
        import_module(f"ruter_dagster.jobs.{name}")
    _import_what_jobs_import()
    for parameters in jobs:
        with _measured() as measured:
            call(parameters, settings)
        yield Cost(_asset(parameters), *measured(), _peak())


def through_dagster(issue_date: date, settings: Settings) -> list[Cost]:
    """The runs of an issue date through Dagster, a step a cost."""
    from ruter_dagster.definitions import RUNS
    from ruter_dagster.resources.instance import open_instance
    from ruter_dagster.runs import RunRequest, execute

    costs: list[Cost] = []
    with open_instance() as instance:
        for job, dates in (
            ("counts", (issue_date - timedelta(1),)),
            ("plan", ahead(issue_date)),
            ("forecasting", (issue_date,)),
        ):
            log = settings.source_dir / "logs" / f"{job}-{issue_date}.log"
            log.unlink(missing_ok=True)
            with _measured() as measured:
                outcome = execute(RunRequest(job, RUNS[job], dates), instance, log, lambda _: None)
            if not outcome.succeeded:
                raise SystemExit(f"{job} of {issue_date}: {outcome.failure}; {log}")
            costs += [*steps_of(instance, outcome.run_id, log), Cost(f"run {job}", measured()[0], 0, 0)]
    return costs


def show(days: list[list[Cost]], bare: list[Cost]) -> None:
    console = Console(width=150)
    console.print(machine())
    alone = {cost.step: cost.seconds for cost in bare}
    middle = [sorted(same, key=lambda cost: cost.seconds)[len(same) // 2] for same in zip(*days, strict=True)]
    console.print(table_of(f"An issue date, median of {len(days)}", middle, alone))
    total = statistics.median(_whole(day) for day in days)
    quality = sum(cost.seconds for cost in middle if cost.step.startswith("quality/"))
    around = max(cost.seconds - cost.own_seconds for cost in middle if not cost.step.startswith("run "))
    whole = sum(alone.values())
    console.print(
        f"A day: {total:.1f} s through Dagster, {whole:.1f} s bare: {total / whole:.2f} times; quality {quality:.1f} s; "
        f"at most {around:.1f} s of a step are not its job's own work; peak {max(cost.peak_mb for cost in middle):,.0f} MB"
    )


def _whole(day: list[Cost]) -> float:
    return sum(cost.seconds for cost in day if cost.step.startswith("run "))


@contextmanager
def _measured() -> Iterator[Callable[[], tuple[float, float]]]:
    wall, cpu = time.perf_counter(), time.process_time()
    ended: list[float] = []
    yield lambda: (ended[0], ended[1])
    ended += [time.perf_counter() - wall, time.process_time() - cpu]


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _asset(parameters: JobParameters) -> str:
    """The asset that a job of the day makes."""
    if isinstance(parameters, CheckQuality):
        return quality_asset_of(parameters.table)
    if isinstance(parameters, Publish):
        return PUBLISHED_FORECASTS
    made = {
        Balance: STOP_LOADS, Features: DEPARTURE_FEATURES, Levels: LEVELS, Forecast: LOAD_FORECASTS,
    }  # fmt: skip
    return asset_of(parameters.table if isinstance(parameters, Snapshot) else made[type(parameters)].name)


def _store(settings: Settings):
    from ruter_dagster.storage.catalog import local_catalog
    from ruter_dagster.storage.tables import TableStore

    return TableStore(local_catalog(settings.source_dir / "warehouse"))


def _newest_issue_date(settings: Settings) -> date:
    return _store(settings).dates(LEVELS)[-1]


def _import_what_jobs_import() -> None:
    for name in ("great_expectations", "lightgbm", "confluent_kafka", "pyiceberg.catalog.sql"):
        import_module(name)


if __name__ == "__main__":
    main()
