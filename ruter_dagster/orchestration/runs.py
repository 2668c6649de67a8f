"""Executes, retries and re-executes runs for the command line, and reports their progress.

Each run is a process of its own, so that the output of its steps goes to a log and not through a progress bar.
`orchestration/staleness.py` decides what is out of date, `orchestration/replay.py` pins the inputs of a repeated run.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

from dagster import (
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    Definitions,
    JobDefinition,
)

from ruter_dagster.compat.execution import (
    InMemoryJob,
    KnownExecutionState,
    create_execution_plan,
    execute_run,
    make_new_run_id,
)
from ruter_dagster.compat.instance import InstanceRef
from ruter_dagster.compat.tags import (
    GRPC_INFO_TAG,
    PARENT_RUN_ID_TAG,
    PARTITION_NAME_TAG,
    RESUME_RETRY_TAG,
    ROOT_RUN_ID_TAG,
    TAGS_TO_MAYBE_OMIT_ON_RETRY,
)
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.orchestration.event_log import asset_of_step, failure_cause
from ruter_dagster.orchestration.partitions import PART_OF_RANGE_TAG, range_tags
from ruter_dagster.orchestration.run_history import job_origin
from ruter_dagster.resources.parent_process import end_with_parent

DEFINITIONS = "ruter_dagster.definitions"
"""The module of the definitions whose jobs are executed."""
POLL_SECONDS = 0.25
FAILED = (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
SINGLE_RUN_TAGS = {*TAGS_TO_MAYBE_OMIT_ON_RETRY, GRPC_INFO_TAG}
"""Tags that describe a single run: a child run must not inherit them."""
MIN_ID_LENGTH = 6
"""The fewest characters that identify a run."""
RECENT_RUNS = 1000
"""Number of newest runs that are searched for the beginning of an id."""


@dataclass(frozen=True)
class RunRequest:
    """A run to execute: the job, which of its assets, and the dates (none for models).

    `part_of_range`: the other dates of the range are up to date and are not in this run.
    """

    job: str
    assets: tuple[str, ...]
    dates: tuple[date, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    part_of_range: bool = False

    def tags(self) -> dict[str, str]:
        """Dagster's tags for the partition or the range of partitions. The UI shows them in its list of runs."""
        part = {PART_OF_RANGE_TAG: "true"} if self.part_of_range else {}
        if not self.dates:
            return part
        first, last = self.dates[0], self.dates[-1]
        if first == last:
            return part | {PARTITION_NAME_TAG: first.isoformat()}
        return part | range_tags(first, last)


@dataclass(frozen=True)
class RunOutcome:
    """The result of a run. `failure` is the message of the first failed step, None if the run succeeded."""

    run_id: str
    succeeded: bool
    failure: str | None
    log: Path


def new_log(folder: Path, name: str) -> Path:
    """Creates an empty log `0017-<name>.log` in `folder` for one run. Each log has the next number."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [log.name.partition("-")[0] for log in folder.glob("*.log")]
    number = max((int(number) for number in numbers if number.isdecimal()), default=0)
    while True:
        number += 1
        log = folder / f"{number:04}-{name}.log"
        # Another command may take the same number at the same moment.
        with suppress(FileExistsError):
            log.touch(exist_ok=False)
            return log


def execute(
    request: RunRequest, instance: DagsterInstance, log: Path, report_step: Callable[[str], None]
) -> RunOutcome:
    """Executes a run to its end. Calls `report_step` with the asset of each step that succeeds.

    Raises PermanentFailure, before the run is recorded, if a date is not a partition of the assets.
    """
    _require_partitions(request)
    run_id = make_new_run_id()
    return _run_in_child(_execute_in_child, (request, run_id), run_id, instance, log, report_step)


def partition_bounds(definitions: Definitions, assets: Sequence[str]) -> tuple[date, date] | None:
    """The first and the last date that are partitions of all these assets. None if they have no partitions."""
    graph = definitions.resolve_asset_graph()
    partitions = [graph.get(AssetKey.from_user_string(asset)).partitions_def for asset in assets]
    keys = [
        (dated.get_first_partition_key(), dated.get_last_partition_key()) for dated in partitions if dated
    ]
    bounds = [(date.fromisoformat(first), date.fromisoformat(last)) for first, last in keys if first and last]
    return (max(first for first, _ in bounds), min(last for _, last in bounds)) if bounds else None


def _require_partitions(request: RunRequest) -> None:
    """Raises PermanentFailure for a date that is not a partition: Dagster would execute the run and record no partition."""
    bounds = partition_bounds(import_module(DEFINITIONS).defs, request.assets)
    outside = [day for day in request.dates if bounds is None or not bounds[0] <= day <= bounds[1]]
    assets = ", ".join(request.assets)
    if outside:
        allowed = f"{bounds[0]} to {bounds[1]}" if bounds else "none"
        raise PermanentFailure(
            f"{outside[0]} is not a partition of {assets}; allowed: {allowed}. Nothing was run"
        )
    if bounds and not request.dates:
        raise PermanentFailure(f"{assets} need a date from {bounds[0]} to {bounds[1]}. Nothing was run")


def retry(
    run_id: str,
    instance: DagsterInstance,
    log: Path,
    report_step: Callable[[str], None],
    *,
    whole: bool = False,
) -> RunOutcome:
    """Continues a failed run from its failed step, or from its first step if `whole`, as a child of that run.

    Dates, assets and configuration stay the same. Raises PermanentFailure if there is no such run, or if it did not fail.
    """
    run = find_run(instance, run_id)
    if run.status not in FAILED:
        raise PermanentFailure(_describe_refusal(run))
    return reexecute(run, instance, log, report_step, from_failure=not whole)


def reexecute(
    run: DagsterRun,
    instance: DagsterInstance,
    log: Path,
    report_step: Callable[[str], None],
    *,
    config: Mapping[str, Any] | None = None,
    steps: Sequence[str] | None = None,
    from_failure: bool = False,
) -> RunOutcome:
    """Executes a run again as its child: all steps, only `steps`, or all from the failed step on if `from_failure`.

    `config` replaces the run's configuration. Dagster's UI shows both runs as one group.
    """
    child_id = make_new_run_id()
    child_config = dict(run.run_config if config is None else config)
    arguments = (run.run_id, child_id, DEFINITIONS, child_config, steps, from_failure)
    return _run_in_child(_reexecute_in_child, arguments, child_id, instance, log, report_step)


def find_run(instance: DagsterInstance, run_id: str) -> DagsterRun:
    """The run with this id, or with an id that begins so. The UI shows the first characters of an id.

    Raises PermanentFailure if no run matches, or several.
    """
    run = instance.get_run_by_id(run_id)
    if run is not None:
        return run
    recent = instance.get_runs(limit=RECENT_RUNS) if len(run_id) >= MIN_ID_LENGTH else []
    matches = [run for run in recent if run.run_id.startswith(run_id)]
    if len(matches) != 1:
        raise PermanentFailure(
            f"There is no run {run_id} in this history; `make dev` shows its runs. "
            "RUTER_SOURCE, RUTER_STATE_DIR, RUTER_ENVIRONMENT and DAGSTER_HOME choose the history"
        )
    return matches[0]


def _describe_refusal(run: DagsterRun) -> str:
    """Why a run that has not failed is not retried, and what to do instead."""
    if run.status == DagsterRunStatus.SUCCESS:
        return f"Run {run.run_id} succeeded: there is nothing to retry. `ruter-dagster replay {run.run_id}` repeats it"
    return (
        f"Run {run.run_id} has not ended ({run.status.value.lower()}). Wait until it ends, then retry it. "
        "If its process is gone, terminate the run in the UI first"
    )


def _run_in_child(
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    run_id: str,
    instance: DagsterInstance,
    log: Path,
    report_step: Callable[[str], None],
) -> RunOutcome:
    """Calls `target` in a child process and reports the steps of run `run_id` as they succeed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([DEFINITIONS])
    process = context.Process(target=target, args=(*arguments, instance.get_ref(), str(log)))
    process.start()
    cursor: str | None = None
    try:
        while process.is_alive():
            process.join(POLL_SECONDS)
            cursor = _report_new_steps(instance, run_id, cursor, report_step)
        _report_new_steps(instance, run_id, cursor, report_step)
    except KeyboardInterrupt:
        _record_cancellation(instance, run_id)
        raise
    finally:
        if process.is_alive():
            process.terminate()
            process.join()
    return _outcome(instance, run_id, log)


def _record_cancellation(instance: DagsterInstance, run_id: str) -> None:
    """Records that a person cancelled the run, so that its SageMaker jobs are stopped and not kept for a retry."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_canceling(run)


def _outcome(instance: DagsterInstance, run_id: str, log: Path) -> RunOutcome:
    run = instance.get_run_by_id(run_id)
    if run is None:
        raise PermanentFailure(f"The run could not be started; its log says why: {log}")
    succeeded = run.status == DagsterRunStatus.SUCCESS
    return RunOutcome(
        run.run_id, succeeded, None if succeeded else str(failure_cause(instance, run.run_id)), log
    )


def _report_new_steps(
    instance: DagsterInstance, run_id: str, cursor: str | None, report_step: Callable[[str], None]
) -> str | None:
    """Reports the steps that succeeded since `cursor`; returns the next cursor."""
    successes = instance.get_records_for_run(run_id, cursor=cursor, of_type=DagsterEventType.STEP_SUCCESS)
    for record in successes.records:
        report_step(asset_of_step(record.event_log_entry.step_key or ""))
    return successes.cursor


def _execute_in_child(request: RunRequest, run_id: str, ref: InstanceRef, log: str) -> None:
    _start_child(log)
    defs = import_module(DEFINITIONS).defs
    selection = frozenset(AssetKey.from_user_string(key) for key in request.assets)
    with DagsterInstance.from_ref(ref) as instance:
        job = _in_process_job(defs, request.job, selection)
        tags = {**job.run_tags, **request.tags()}
        _create_and_execute(
            job, instance, run_id=run_id, run_config=request.config, tags=tags, asset_selection=selection
        )


def _reexecute_in_child(
    run_id: str,
    child_id: str,
    definitions: str,
    config: dict[str, Any],
    steps: Sequence[str] | None,
    from_failure: bool,
    ref: InstanceRef,
    log: str,
) -> None:
    _start_child(log)
    defs = import_module(definitions).defs
    with DagsterInstance.from_ref(ref) as instance:
        run = find_run(instance, run_id)
        state = None
        if from_failure:
            steps, state = KnownExecutionState.build_resume_retry_reexecution(instance, run)
        _create_and_execute(
            _in_process_job(defs, run.job_name, run.asset_selection),
            instance,
            steps,
            state,
            run_id=child_id,
            run_config=config,
            tags=_tags_of_child(run, from_failure),
            root_run_id=run.root_run_id or run.run_id,
            parent_run_id=run.run_id,
            asset_selection=run.asset_selection,
        )


def _in_process_job(
    definitions: Definitions, name: str, selection: Collection[AssetKey] | None
) -> JobDefinition:
    """The job with these assets, whose steps run in this process. Each step starts its own job process anyway."""
    return definitions.resolve_job_def(name).as_ephemeral_job({}, {}, asset_selection=list(selection or ()))


def _create_and_execute(
    job: JobDefinition,
    instance: DagsterInstance,
    steps: Sequence[str] | None = None,
    state: KnownExecutionState | None = None,
    **run: Any,
) -> None:
    """Records a run of the code location in workspace.yaml, then executes it.

    The UI can re-execute only runs that have a code location. Dagster's `execute_in_process` records none.
    """
    plan = create_execution_plan(job, run["run_config"], steps, state, instance.get_ref())
    recorded = instance.create_run_for_job(
        job, execution_plan=plan, remote_job_origin=job_origin(job.name), **run
    )
    execute_run(InMemoryJob(job), recorded, instance)


def _tags_of_child(run: DagsterRun, from_failure: bool) -> dict[str, str]:
    """The tags that a child run inherits, such as its partition, and those by which the UI groups both runs."""
    tags = {name: value for name, value in run.tags.items() if name not in SINGLE_RUN_TAGS}
    tags |= {PARENT_RUN_ID_TAG: run.run_id, ROOT_RUN_ID_TAG: run.root_run_id or run.run_id}
    return tags | ({RESUME_RETRY_TAG: "true"} if from_failure else {})


def _start_child(log: str) -> None:
    """Prepares a child process: its output goes to `log`, and it ends when its parent ends.

    A session of its own lets Ctrl-C reach only the command, which records the cancellation and then ends this process.
    """
    os.setsid()
    end_with_parent()
    with Path(log).open("ab", buffering=0) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
