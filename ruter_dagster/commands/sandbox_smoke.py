"""`ruter-dagster sandbox-smoke`: one run of Dagster in a sandbox, from the queue to rows in its tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from uuid import uuid4

from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus

from ruter_dagster.commands.sandbox_run import run_in_sandbox
from ruter_dagster.compat.tags import PARTITION_NAME_TAG
from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox
from ruter_dagster.orchestration.event_log import failure_cause
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.orchestration.partitions import partitions_of
from ruter_dagster.resources.merge_results import ROW_COUNT

JOB = "counts"
TABLES = ("raw/stop_visits", "loads/stop_loads")
MAX_MINUTES = 45
POLL_SECONDS = 5.0
WORKSPACE_VARIABLE = "DAGSTER_WORKSPACE"
"""The workspace as YAML, which Terraform gives to each container."""


def smoke(sandbox: Sandbox, day: date | None, report: Callable[[str], None]) -> int:
    """Starts the check in a task of the sandbox, and waits. Returns its exit code."""
    command = ["ruter-dagster", "sandbox-smoke", sandbox.id, "--inside"]
    return run_in_sandbox(
        sandbox, command + (["--date", day.isoformat()] if day else []), report, MAX_MINUTES + 5
    )


def smoke_inside(
    settings: Settings, sandbox: Sandbox, day: date | None, report: Callable[[str], None]
) -> None:
    """Queues the run `counts` of one date, waits for it and checks the rows that it wrote.

    The run takes the way of every other: code location, queue, daemon, launcher, job. `day` is by default the newest
    operating date. Raises `PermanentFailure` with the reason of a failed run.
    """
    if settings.environment != sandbox.id:
        raise PermanentFailure(f"These are the settings of {settings.environment}, not of {sandbox.id}.")
    partition = (day or _newest_date(settings)).isoformat()
    run_id = str(uuid4())
    _queue(run_id, partition)
    report(f"Run {run_id} of {JOB} for {partition}")
    with open_instance() as instance:
        _wait(instance, run_id, report)
        for asset in TABLES:
            report(f"{asset}: {_rows(instance, asset, run_id):,} rows")


def _newest_date(settings: Settings) -> date:
    key = partitions_of(settings, operator_of(settings)).operating.get_last_partition_key()
    if key is None:
        raise PermanentFailure("There is no closed operating date. Name one with --date.")
    return date.fromisoformat(key)


def _queue(run_id: str, partition: str) -> None:
    """Puts the run into the queue, as the UI does."""
    workspace = os.environ.get(WORKSPACE_VARIABLE)
    if not workspace:
        raise PermanentFailure(f"{WORKSPACE_VARIABLE} is not set: --inside is for containers of a sandbox.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "workspace.yaml"
        file.write_text(workspace)
        tags = json.dumps({PARTITION_NAME_TAG: partition})
        arguments = ["job", "launch", "-w", str(file), "-j", JOB, "--run-id", run_id, "--tags", tags]
        done = subprocess.run([sys.executable, "-m", "dagster", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise PermanentFailure(f"Dagster did not queue the run:\n{done.stdout}{done.stderr}")


def _wait(instance: DagsterInstance, run_id: str, report: Callable[[str], None]) -> None:
    """Raises `PermanentFailure` if the run fails, or has not ended within `MAX_MINUTES`."""
    deadline, reported = time.monotonic() + 60 * MAX_MINUTES, None
    while True:
        run = instance.get_run_by_id(run_id)
        status = run.status if run else None
        if status != reported:
            reported = status
            report(f"Run {run_id}: {status.value if status else 'not recorded'}")
        if status == DagsterRunStatus.SUCCESS:
            return
        if status in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED):
            raise PermanentFailure(f"Run {run_id} of {JOB} failed: {failure_cause(instance, run_id)}")
        if time.monotonic() > deadline:
            raise PermanentFailure(
                f"Run {run_id} of {JOB} has not ended within {MAX_MINUTES} minutes: {status.value if status else 'not recorded'}"
            )
        time.sleep(POLL_SECONDS)


def _rows(instance: DagsterInstance, asset: str, run_id: str) -> int:
    """Rows that the run wrote into the table of an asset. Raises `PermanentFailure` if there are none."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION).records
    rows = 0
    for record in records:
        event = record.event_log_entry.asset_materialization
        if event and event.asset_key.to_user_string() == asset and ROW_COUNT in event.metadata:
            rows += int(str(event.metadata[ROW_COUNT].value))
    if rows == 0:
        raise PermanentFailure(f"Run {run_id} succeeded, but wrote no rows of {asset}.")
    return rows
