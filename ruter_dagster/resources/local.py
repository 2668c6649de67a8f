"""Runs a job as a local process. The folders of its container are in the state folder, and Pipes uses files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from dagster import (
    AssetExecutionContext,
    Failure,
    PipesFileContextInjector,
    open_pipes_session,
)

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.container import BASE_VARIABLE, OWNER_VARIABLE, STOP_SECONDS, Container
from ruter_dagster.contracts.jobs import (
    EXIT_NO_DATA,
    EXIT_PERMANENT,
    QUALITY_GROUP,
    CheckQuality,
    JobParameters,
)
from ruter_dagster.resources.file_messages import FileMessages
from ruter_dagster.resources.launcher import JobEvent, NoData, SequentialLauncher
from ruter_dagster.resources.shared_process import SharedProcess


class LocalLauncher(SequentialLauncher):
    """Runs `python -m ruter_dagster.jobs <name>` in a child process, which ends when its step ends.

    Quality reports share a process, because importing Great Expectations takes longer than writing a report.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.days_per_job = settings.days_per_job

    def launch(
        self, context: AssetExecutionContext, parameters: JobParameters, number: int
    ) -> Sequence[JobEvent]:
        container = self._create_container(context, number)
        container.write_parameters(parameters)
        started = time.monotonic()
        messages = FileMessages(container.base / "pipes-messages.jsonl")
        with open_pipes_session(
            context=context,
            context_injector=PipesFileContextInjector(str(container.base / "pipes-context.json")),
            message_reader=messages,
        ) as session:
            environment = {**self._environment(), **session.get_bootstrap_env_vars()}
            exit_code = self._run_job(context, parameters.job, container, environment)
        context.log.info(
            f"Job {parameters.job} ended with {exit_code} after {time.monotonic() - started:.2f} s"
        )
        if exit_code:
            raise _failure(parameters.job, exit_code, container)
        if messages.error:
            raise Failure(
                f"Job {parameters.job} succeeded, but its report is incomplete: {messages.error}. "
                "Run the step again. If the error repeats, see the job's output in the log of the run"
            )
        events = session.get_results(implicit_materializations=False)
        shutil.rmtree(container.base, ignore_errors=True)
        return [event for event in events if isinstance(event, JobEvent)]

    def _run_job(
        self, context: AssetExecutionContext, job: str, container: Container, environment: Mapping[str, str]
    ) -> int:
        """Runs the job and returns its exit code. Starts the shared process if a later step of the run needs it."""
        shared = SharedProcess(CheckQuality.job, container.base.parent.parent)
        if _has_quality_reports(context):
            shared.start(self._environment())
        environment = {**environment, BASE_VARIABLE: str(container.base)}
        return shared.run(job, environment) if job == CheckQuality.job else _run(job, environment)

    def _create_container(self, context: AssetExecutionContext, number: int) -> Container:
        step = str(context.op_execution_context.op_handle)
        base = self.settings.source_dir / "jobs" / context.run_id / f"{step}-{context.retry_number}-{number}"
        shutil.rmtree(base, ignore_errors=True)
        base.mkdir(parents=True)
        return Container(base)

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, **self.settings.to_environment(), "PYTHONUNBUFFERED": "1"}
        # By default, waiting OpenMP threads keep their core busy, which slows other processes on shared cores.
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        return environment


def _has_quality_reports(context: AssetExecutionContext) -> bool:
    keys = context.job_def.asset_layer.executable_asset_keys
    return any(key.path[0] == QUALITY_GROUP for key in keys)


def _run(job: str, environment: Mapping[str, str]) -> int:
    process = subprocess.Popen(
        [sys.executable, "-m", "ruter_dagster.jobs", job],
        env={**environment, OWNER_VARIABLE: "1"},
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        return process.wait()
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the job and its child processes if its step is cancelled or fails. Does nothing if the job has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.stdin:
        process.stdin.close()


def _failure(job: str, exit_code: int, container: Container) -> Failure:
    """The failure that the UI shows: the job's own error message, and whether a retry can help."""
    reason = container.read_failure()
    if not reason:
        end = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        reason = (
            f"Job {job} ended with {end} and without an error message. See its output in the log of the run. "
            "Exit code 137 or signal 9 often means out of memory"
        )
    failure = NoData if exit_code == EXIT_NO_DATA else Failure
    return failure(
        description=reason,
        metadata={"job": job, "exit_code": exit_code, "job_folder": str(container.base)},
        allow_retries=exit_code not in (EXIT_PERMANENT, EXIT_NO_DATA),
    )
