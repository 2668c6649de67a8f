"""Runs jobs of the demo network in this process, without Dagster."""

from __future__ import annotations

from datetime import date
from importlib import import_module
from pathlib import Path

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.jobs import Balance, CheckQuality, JobParameters, Snapshot
from ruter_dagster.contracts.tables import STOP_LOADS, STOP_VISITS, Table
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import Reporter


def context_of(parameters: JobParameters, folder: Path) -> JobContext:
    """The context of a job with its state in `folder`."""
    settings = Settings(source="demo", state_dir=folder, _env_file=None)  # pyright: ignore[reportCallIssue]
    return JobContext(settings, parameters, Container(folder), Reporter(None))


def run(parameters: JobParameters, folder: Path) -> JobContext:
    """Runs a job with its state in `folder`, and returns its context."""
    context = context_of(parameters, folder)
    import_module(f"ruter_dagster.jobs.{parameters.job}").run(parameters, context)
    return context


def quality_check(table: Table, *dates: date) -> CheckQuality:
    return CheckQuality(table=table.name, dates=dates, of_range=len(dates) > 1)


def run_loads(folder: Path, *dates: date) -> None:
    """Copies visits of dates, computes their loads, and checks both."""
    is_range = len(dates) > 1
    for parameters in (
        Snapshot(table=STOP_VISITS.name, dates=dates, of_range=is_range),
        quality_check(STOP_VISITS, *dates),
        Balance(dates=dates, of_range=is_range),
        quality_check(STOP_LOADS, *dates),
    ):
        run(parameters, folder)
