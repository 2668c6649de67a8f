"""One run of the chain, executed from the command line with its progress told. What is out of date belongs in staleness.py.

Each run is a process of its own, so that its steps' output goes to Dagster's logs and not through a progress bar.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from dagster import AssetKey, DagsterEventType, DagsterInstance
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from dagster._core.utils import make_new_run_id

from ruter_dagster.resources.instance import open_instance

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class RunRequest:
    """One run: a job of the definitions, the dates it is for (none for models), and which of its assets."""

    job: str
    assets: tuple[str, ...]
    dates: tuple[date, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)

    def tags(self) -> dict[str, str]:
        if len(self.dates) < 2:
            return {}
        return {
            ASSET_PARTITION_RANGE_START_TAG: self.dates[0].isoformat(),
            ASSET_PARTITION_RANGE_END_TAG: self.dates[-1].isoformat(),
        }


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended. `failure` is the first failed step's own words."""

    run_id: str
    succeeded: bool
    failure: str | None
    log: Path


def execute(
    request: RunRequest, instance: DagsterInstance, log: Path, on_step: Callable[[str], None]
) -> RunOutcome:
    """Executes a run to its end; `on_step` is told each asset as its step ends."""
    run_id = make_new_run_id()
    log.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ruter_dagster.definitions"])
    process = context.Process(target=_execute_in_child, args=(request, run_id, str(log)))
    process.start()
    try:
        seen: set[str] = set()
        while process.is_alive():
            process.join(POLL_SECONDS)
            _tell_new_steps(instance, run_id, seen, on_step)
        _tell_new_steps(instance, run_id, seen, on_step)
    finally:
        if process.is_alive():
            process.terminate()
            process.join()
    run = instance.get_run_by_id(run_id)
    succeeded = run is not None and run.status == DagsterRunStatus.SUCCESS
    return RunOutcome(run_id, succeeded, None if succeeded else failure_of(instance, run_id), log)


def _execute_in_child(request: RunRequest, run_id: str, log: str) -> None:
    with Path(log).open("ab", buffering=0) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    from ruter_dagster.definitions import defs

    with open_instance() as instance:
        defs.resolve_job_def(request.job).execute_in_process(
            instance=instance,
            partition_key=request.dates[0].isoformat() if len(request.dates) == 1 else None,
            asset_selection=[AssetKey(key.split("/")) for key in request.assets],
            run_config=request.config or None,
            tags=request.tags(),
            run_id=run_id,
            raise_on_error=False,
        )


def _tell_new_steps(
    instance: DagsterInstance, run_id: str, seen: set[str], on_step: Callable[[str], None]
) -> None:
    if not instance.has_run(run_id):
        return
    for stats in instance.get_run_step_stats(run_id):
        if stats.end_time and stats.step_key not in seen:
            seen.add(stats.step_key)
            on_step(stats.step_key.replace("__", "/"))


def failure_of(instance: DagsterInstance, run_id: str) -> str:
    """What went wrong first in a run, in the failed step's own words."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.STEP_FAILURE).records
    for record in records:
        event = record.event_log_entry.dagster_event
        data = event.step_failure_data if event else None
        if event and data:
            failure = data.user_failure_data
            cause = data.error.cause if data.error and data.error.cause else data.error
            reason = (failure.description if failure else None) or (
                cause.message.strip() if cause else "failed"
            )
            return f"{(event.step_key or '').replace('__', '/')}: {reason}"
    return "the run ended before a step could fail; see its log"
