"""A day of the chain at the size of Ruter, beside the bare cost: `python -m benchmarks.day --state FOLDER [--days 3]`.

The history and the model are made once, in this process, and stay in the folder. Then each issue date's runs go through
Dagster, raw snapshots to committed Kafka transaction; the last one goes bare: the same jobs on the same tables, called one
after the other in this process, imports done. Prints a table; `--json FILE` keeps the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table as Shown

from benchmarks.state import settings_of
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import (
    Balance,
    CheckQuality,
    Features,
    Forecast,
    JobParameters,
    Levels,
    Promote,
    Publish,
    Snapshot,
    Train,
)
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_LOADS, STOP_VISITS, WEATHER_FORECASTS
from ruter_dagster.settings import Settings, load_settings

FIRST_ISSUE_DATE = date(2026, 10, 20)
"""Far enough back that no issue date after it is one of the future, which has no partition."""
HISTORY_DAYS = 56
FEATURED_DAYS = 14
TRAINED_DAYS = 4
AHEAD = 3
_ENDED = re.compile(
    r"(\w+): ([\d.]+) CPU s, of them ([\d.]+) to start and import; (\d+) MB at most, ([\d.]+) s"
)


@dataclass
class Cost:
    """Of one step: wall seconds, CPU seconds, the job's peak memory in MB, the seconds of its own work, CPU seconds to import."""

    step: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    own_seconds: float = 0.0
    import_seconds: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--state", type=Path, required=True, help="folder of the state; kept")
    parser.add_argument("--days", type=int, default=3, help="issue dates through Dagster")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--prepare-only", action="store_true")
    given = parser.parse_args()
    settings = settings_of(given.state)
    prepare(settings)
    if given.prepare_only:
        return
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


def prepare(settings: Settings) -> None:
    """The history up to the day before the first issue date, each date as its own chain made it, and a champion."""
    first, last = FIRST_ISSUE_DATE - timedelta(HISTORY_DAYS + FEATURED_DAYS), FIRST_ISSUE_DATE - timedelta(1)
    dates = [first + timedelta(number) for number in range((last - first).days + 1)]
    known = set(_store(settings).dates(STOP_LOADS))
    for day in track([day for day in dates if day not in known], "Counts and loads", console=Console()):
        for parameters in (*plan((day,))[:2], *counts(day)):
            call(parameters, settings)
    featured = [last + timedelta(AHEAD + 1 - number) for number in range(FEATURED_DAYS + AHEAD + 1, 0, -1)]
    known = set(_store(settings).dates(DEPARTURE_FEATURES))
    for day in track([day for day in featured if day not in known], "Features", console=Console()):
        for parameters in plan((day,)):
            call(parameters, settings)
    known = set(_store(settings).dates(LEVELS))
    issued = [last - timedelta(number) for number in range(TRAINED_DAYS + AHEAD, -1, -1)]
    for day in track([day for day in issued if day not in known], "Levels", console=Console()):
        for parameters in (*weather(day), *recent(day)):
            call(parameters, settings)
    if not list((settings.source_dir / "artifacts").glob("models/**/model.json*")):
        train(settings, last)


def train(settings: Settings, cutoff: date) -> None:
    from ruter_dagster.contracts.jobs import MODEL_NAME
    from ruter_dagster.jobs.context import JobContext
    from ruter_dagster.jobs.pipes import Reporter

    parameters = Train(cutoff=cutoff, days=TRAINED_DAYS, held_out=1)
    call(parameters, settings)
    container = Container(settings.source_dir / "jobs" / "bare")
    models = JobContext(settings, parameters, container, Reporter(None)).models
    version = next(
        path.name for path in (settings.source_dir / "artifacts" / "models" / MODEL_NAME).iterdir()
    )
    record = models.load(MODEL_NAME, version)
    # Costs are measured here, not accuracy: the model stands without having been judged.
    models.attach(record, "evaluation.json", b'{"passed": true, "failed": [], "scores": {"wape": 0.0}}')
    call(Promote(model_version=version, promoted_at=datetime.now(UTC)), settings)


def counts(day: date) -> list[JobParameters]:
    return [
        Snapshot(table=STOP_VISITS.name, dates=(day,)),
        CheckQuality(tables={STOP_VISITS.name: (day,)}),
        Balance(dates=(day,)),
        CheckQuality(tables={STOP_LOADS.name: (day,)}),
    ]


def plan(days: tuple[date, ...]) -> list[JobParameters]:
    several = len(days) > 1
    return [
        Snapshot(table=PLANNED_DEPARTURES.name, dates=days, of_range=several),
        CheckQuality(tables={PLANNED_DEPARTURES.name: days}),
        Features(dates=days, of_range=several),
        CheckQuality(tables={DEPARTURE_FEATURES.name: days}),
    ]


def weather(day: date) -> list[JobParameters]:
    return [
        Snapshot(table=WEATHER_FORECASTS.name, dates=(day,)),
        CheckQuality(tables={WEATHER_FORECASTS.name: (day,)}),
    ]


def recent(day: date) -> list[JobParameters]:
    return [Levels(dates=(day,)), CheckQuality(tables={LEVELS.name: (day,)})]


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
        yield Cost(_name(parameters), *measured(), _peak())


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
            steps = list(_steps(instance, outcome.run_id, log))
            costs += [*steps, Cost(f"run {job}", measured()[0], 0, 0)]
    return costs


def _steps(instance, run_id: str, log: Path) -> Iterator[Cost]:
    from dagster import DagsterEventType

    ended = [match.groups() for match in _ENDED.finditer(log.read_text())]
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.STEP_SUCCESS).records
    for record, (_, cpu, imports, peak, own) in zip(records, ended, strict=True):
        event = record.event_log_entry.dagster_event
        seconds = event.step_success_data.duration_ms / 1000
        yield Cost(event.step_key, seconds, float(cpu), float(peak), float(own), float(imports))


def show(days: list[list[Cost]], bare: list[Cost]) -> None:
    console = Console(width=120)
    console.print(machine())
    shown = Shown(
        "step", "s", "CPU s", "own s", "import CPU s", "peak MB", title="A day through Dagster, median"
    )
    for same in zip(*days, strict=True):
        middle = sorted(same, key=lambda cost: cost.seconds)[len(same) // 2]
        shown.add_row(
            middle.step,
            *(
                f"{value:.1f}"
                for value in (
                    middle.seconds,
                    middle.cpu_seconds,
                    middle.own_seconds,
                    middle.import_seconds,
                    middle.peak_mb,
                )
            ),
        )
    total = statistics.median(
        sum(cost.seconds for cost in day if cost.step.startswith("run ")) for day in days
    )
    console.print(shown)
    table = Shown("job", "s", "CPU s", "peak MB", title="The same bare, in one process")
    for cost in bare:
        table.add_row(cost.step, f"{cost.seconds:.1f}", f"{cost.cpu_seconds:.1f}", f"{cost.peak_mb:.0f}")
    console.print(table)
    alone = sum(cost.seconds for cost in bare)
    console.print(f"A day: {total:.1f} s through Dagster, {alone:.1f} s bare: {total / alone:.2f} times")


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


@contextmanager
def _measured() -> Iterator[Callable[[], tuple[float, float]]]:
    wall, cpu = time.perf_counter(), time.process_time()
    ended: list[float] = []
    yield lambda: (ended[0], ended[1])
    ended += [time.perf_counter() - wall, time.process_time() - cpu]


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _name(parameters: JobParameters) -> str:
    subject = getattr(parameters, "table", None) or ", ".join(getattr(parameters, "tables", ()))
    return f"{parameters.job} {subject}".strip()


def _store(settings: Settings):
    from ruter_dagster.storage.catalog import local_catalog
    from ruter_dagster.storage.tables import TableStore

    return TableStore(local_catalog(settings.source_dir / "warehouse"))


def _newest_issue_date(settings: Settings) -> date:
    return max(_store(settings).dates(LEVELS)[-1], FIRST_ISSUE_DATE - timedelta(1))


def _import_what_jobs_import() -> None:
    for name in ("great_expectations", "lightgbm", "confluent_kafka", "pyiceberg.catalog.sql"):
        import_module(name)


if __name__ == "__main__":
    main()
