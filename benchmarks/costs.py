"""Costs of steps and jobs from run logs and Dagster's events, and their table."""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dagster import DagsterEventType, DagsterInstance
from rich.table import Table

_MATERIALISED = re.compile(r"INFO (\S+) materialised: (?:\{'dates': (\d+), 'rows': (\d+)\})?")
_ENDED = re.compile(
    r"INFO (\w+): ([\d.]+) CPU s, ([\d.]+) of them for start and imports; (\d+) MB at most, ([\d.]+) s"
)
_LAUNCHED = re.compile(r" - (\S+) - Job \w+ ended with 0 after ([\d.]+) s")


@dataclass
class Cost:
    """The cost of one step, or of one of its jobs. Seconds are wall-clock seconds unless they are named CPU seconds.

    Attributes:
        cpu_seconds, peak_mb: CPU seconds and peak memory (MiB) of the job's process. Quality reports of a run share one.
        own_seconds: the job's own work.
        start_seconds: from the launch to that work, and from its end to the end of the job.
        import_seconds: CPU seconds to start the process and import modules.

    The rest of a step's `seconds` is Dagster's.
    """

    step: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    own_seconds: float = 0.0
    import_seconds: float = 0.0
    start_seconds: float = 0.0
    rows: int = 0
    dates: int = 0

    @property
    def dagster_seconds(self) -> float:
        return self.seconds - self.own_seconds - self.start_seconds

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0


def jobs_of(log: Path) -> Iterator[Cost]:
    """The jobs of a run, in order; a range has several per asset. `seconds` is the job's own work."""
    asset, dates, rows = "", 0, 0
    for line in log.read_text().splitlines():
        if match := _MATERIALISED.search(line):
            asset, dates, rows = match[1], int(match[2] or 0), int(match[3] or 0)
        elif match := _ENDED.search(line):
            cpu, imports, peak, own = (float(number) for number in match.groups()[1:])
            yield Cost(asset or match[1], own, cpu, peak, own, imports, 0.0, rows, dates)
            asset, dates, rows = "", 0, 0


def steps_of(instance: DagsterInstance, run_id: str, log: Path) -> Iterator[Cost]:
    """The steps of a run, each with the total cost of its jobs."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.STEP_SUCCESS).records
    jobs, launch_seconds = list(jobs_of(log)), launch_seconds_of(log)
    for record in records:
        event = record.event_log_entry.dagster_event
        asset = event.step_key.replace("__", "/")
        own = [job for job in jobs if job.step == asset]
        cost = sum_costs(asset, own, event.step_success_data.duration_ms / 1000)
        yield replace(cost, start_seconds=launch_seconds[asset] - cost.own_seconds)


def launch_seconds_of(log: Path) -> Counter[str]:
    """Seconds of each asset's jobs from launch to end, as measured by the launcher."""
    seconds: Counter[str] = Counter()
    for step, taken in _LAUNCHED.findall(log.read_text()):
        seconds[step.replace("__", "/")] += float(taken)
    return seconds


def sum_costs(step: str, jobs: Sequence[Cost], seconds: float | None = None) -> Cost:
    """The sum of several jobs, and the highest of their peaks."""
    return Cost(
        step,
        sum(job.seconds for job in jobs) if seconds is None else seconds,
        sum(job.cpu_seconds for job in jobs),
        max((job.peak_mb for job in jobs), default=0),
        sum(job.own_seconds for job in jobs),
        sum(job.import_seconds for job in jobs),
        sum(job.start_seconds for job in jobs),
        sum(job.rows for job in jobs),
        sum(job.dates for job in jobs),
    )


def table_of(title: str, costs: Sequence[Cost], bare: dict[str, float] | None = None) -> Table:
    """One row per step; `bare` has the seconds of the same step without Dagster, in one process."""
    table = Table(title=title)
    for name in (
        "step",
        "s",
        "CPU s",
        "own s",
        "start s",
        "Dagster's s",
        "import CPU s",
        "rows",
        "rows/s",
        "peak MiB",
        *(["bare s"] if bare else []),
    ):
        table.add_column(name, justify="left" if name == "step" else "right")
    for cost in costs:
        cells = [f"{cost.seconds:.1f}", f"{cost.cpu_seconds:.1f}", f"{cost.own_seconds:.1f}"]
        cells += [f"{cost.start_seconds:.2f}", f"{cost.dagster_seconds:.2f}", f"{cost.import_seconds:.1f}"]
        cells += [f"{cost.rows:,}", f"{cost.rows_per_second:,.0f}", f"{cost.peak_mb:,.0f}"]
        cells += [f"{bare.get(cost.step, 0):.1f}"] if bare else []
        table.add_row(cost.step, *cells)
    return table


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
