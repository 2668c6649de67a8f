"""The runs that the dashboard shows, from the Dagster instance of the settings, with the estimated cost of their jobs."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter

from ruter_dagster.config.settings import Settings
from ruter_dagster.dashboards.data.runs import MAX_RUNS, RUNS_SCHEMA
from ruter_dagster.orchestration.event_log import describe_dates, failure_cause
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.orchestration.job_costs import costs_of_runs

_IMPLICIT_JOB = "__ASSET_JOB"
"""Beginning of the name of the job in which Dagster materialises assets without a job."""
_SHOWN_ASSETS = 3


def runs_reader(settings: Settings, time_zone: str) -> Callable[[date, date], pl.DataFrame] | None:
    """The function that the page Runs and cost calls; None if there is no history, because opening it would create one."""
    if not (os.environ.get("DAGSTER_HOME") or _has_history(settings)):
        return None

    def read(first: date, last: date) -> pl.DataFrame:
        with open_instance() as instance:
            return runs_between(instance, first, last, time_zone, settings.dagster_url)

    return read


def _has_history(settings: Settings) -> bool:
    """Whether the state has a history, and the working folder the dagster.yaml that names it."""
    return Path("dagster.yaml").is_file() and (settings.source_dir / "instance").is_dir()


def runs_between(
    instance: DagsterInstance, first: date, last: date, time_zone: str, address: str
) -> pl.DataFrame:
    """The newest runs that were created from `first` to `last`, local dates, with the columns of `RUNS_SCHEMA`.

    `address`: that of Dagster's UI.
    """
    zone = ZoneInfo(time_zone)
    after, before = (datetime.combine(day, time(), zone) for day in (first, last + timedelta(1)))
    created = RunsFilter(created_after=after.astimezone(UTC), created_before=before.astimezone(UTC))
    records = instance.get_run_records(created, limit=MAX_RUNS)
    rows = [_row(instance, record, address.rstrip("/")) for record in records]
    return pl.DataFrame(rows, schema=RUNS_SCHEMA, orient="row")


def _job(run: DagsterRun) -> str:
    """The job's name; the assets of a run that was started on assets, which has Dagster's hidden job `__ASSET_JOB`."""
    if not run.job_name.startswith(_IMPLICIT_JOB):
        return run.job_name
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    more = f" and {len(assets) - _SHOWN_ASSETS} more" if len(assets) > _SHOWN_ASSETS else ""
    return ", ".join(assets[:_SHOWN_ASSETS]) + more if assets else "assets"


def _row(instance: DagsterInstance, record: RunRecord, address: str) -> tuple[object, ...]:
    run = record.dagster_run
    ended = record.end_time or record.update_timestamp.timestamp()
    failed = run.status is DagsterRunStatus.FAILURE
    costs = costs_of_runs(instance.event_log_storage, [run.run_id])
    return (
        datetime.fromtimestamp(record.start_time, UTC) if record.start_time else record.create_timestamp,
        _job(run),
        describe_dates(run),
        run.status.value,
        round((ended - record.start_time) / 60, 2) if record.start_time else None,
        sum(cost.cost for cost in costs) if costs else None,
        str(failure_cause(instance, run.run_id)).splitlines()[0] if failed else None,
        f"{address}/runs/{run.run_id}",
    )
