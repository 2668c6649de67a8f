"""Runs one job: `python -m ruter_dagster.jobs <name>`, in a container or as a local process."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from importlib import import_module

from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.container import OWNER_VARIABLE, Container
from ruter_dagster.contracts.errors import NoDataForDates, PermanentFailure
from ruter_dagster.contracts.jobs import EXIT_MEMORY, EXIT_NO_DATA, EXIT_PERMANENT, JobParameters
from ruter_dagster.jobs.arguments import Arguments
from ruter_dagster.jobs.metrics import Resources, send_failure, send_resources
from ruter_dagster.jobs.pipes import log_to_stdout, reporting
from ruter_dagster.jobs.unprivileged import drop_privileges

log = logging.getLogger("ruter_dagster.jobs")


def main(arguments: list[str] | None = None, cpu_seconds_before: float = 0.0) -> int:
    """Runs the job that the arguments name, and returns its exit code.

    `cpu_seconds_before`: CPU seconds that the process has used for earlier jobs.
    """
    requested = Arguments.parse(arguments, __doc__)
    log_to_stdout()
    signal.signal(signal.SIGTERM, _stop)
    if os.environ.get(OWNER_VARIABLE):
        threading.Thread(target=_end_with_owner, daemon=True).start()
    container = Container.of_environment()
    try:
        parameters = requested.read(container)
        parameters.require_known_pins()
        drop_privileges(container)
        _run(requested.job, parameters, container, cpu_seconds_before)
    except BaseException as error:  # a panic of polars is no Exception
        code, reason = _exit_code_and_reason(error)
        _write_reason(container, reason, code)
        if container.is_first_host and not isinstance(error, Stopped | NoDataForDates):
            send_failure()
        return code
    return 0


def _exit_code_and_reason(error: BaseException) -> tuple[int, str]:
    """The job's exit code and failure reason for an error. Prints the traceback of an unexpected error."""
    if isinstance(error, PermanentFailure):
        log.error("%s", error)
        return EXIT_NO_DATA if isinstance(error, NoDataForDates) else EXIT_PERMANENT, str(error)
    if isinstance(error, Stopped):
        return error.exit_code, str(error)
    traceback.print_exception(error, file=sys.stdout)
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        return EXIT_MEMORY, f"{reason}; the job ran out of memory. Use a larger instance or fewer dates"
    return 1, reason


def _run(name: str, parameters: JobParameters, container: Container, cpu_seconds_before: float) -> None:
    from ruter_dagster.jobs.context import JobContext

    settings = load_settings()
    module = import_module(f"ruter_dagster.jobs.{name}")
    cpu_seconds_imported, started = time.process_time(), time.monotonic()
    with reporting(container.is_first_host) as report:
        module.run(
            parameters,
            JobContext(settings=settings, parameters=parameters, container=container, report=report),
        )
    resources = Resources.used(cpu_seconds_before, started)
    log.info(
        "%s: %.1f CPU s, %.1f of them for start and imports; %.0f MB at most, %.2f s",
        name,
        resources.cpu_seconds,
        cpu_seconds_imported - cpu_seconds_before,
        resources.megabytes,
        resources.seconds,
    )
    if container.is_first_host:
        send_resources(resources, report.assets, settings)


def _write_reason(container: Container, reason: str, exit_code: int) -> None:
    try:
        container.write_failure(reason, exit_code)
    except OSError as error:  # The disk is full. The exit code and the log still have the reason.
        log.error("The failure reason cannot be written to %s: %s", container.base, error)


class Stopped(BaseException):
    """Raised in the running job by a stop signal, so that the job closes everything that it has open."""

    def __init__(self, signum: int) -> None:
        self.exit_code = 128 + signum
        super().__init__(f"Stopped by signal {signum}; partial output is discarded")


def _stop(signum: int, _frame: object) -> None:
    signal.signal(signum, signal.SIG_IGN)  # A second signal must not interrupt the closing.
    stopped = Stopped(signum)
    log.warning("%s", stopped)
    raise stopped


def _end_with_owner() -> None:
    """Ends this process when its launcher dies and closes the pipe, so that the job does not compete with its retry."""
    os.read(sys.stdin.fileno(), 1)  # sys.stdin.read would hold a lock at exit.
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
