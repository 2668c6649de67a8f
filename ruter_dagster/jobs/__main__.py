"""Runs one job: `python -m ruter_dagster.jobs <name>`, in a container or as a local process. No job's own logic belongs here."""

from __future__ import annotations

import logging
import os
import resource
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
from ruter_dagster.jobs.pipes import log_to_stdout, reporting
from ruter_dagster.jobs.unprivileged import drop_privileges

log = logging.getLogger("ruter_dagster.jobs")


def main(arguments: list[str] | None = None, cpu_seconds_before: float = 0.0) -> int:
    """Runs the job that the arguments name, and returns its exit code.

    A process that runs several says how many CPU seconds it had used before this one.
    """
    asked = Arguments.parse(arguments, __doc__)
    log_to_stdout()
    signal.signal(signal.SIGTERM, _stop)
    if os.environ.get(OWNER_VARIABLE):
        threading.Thread(target=_end_with_owner, daemon=True).start()
    container = Container.of_environment()
    try:
        parameters = asked.read(container)
        parameters.require_known_pins()
        drop_privileges(container)
        _run(asked.job, parameters, container, cpu_seconds_before)
    except BaseException as error:  # polars panics with one that is no Exception
        code, reason = _judged(error)
        _leave_reason(container, reason)
        return code
    return 0


def _judged(error: BaseException) -> tuple[int, str]:
    """The exit code that an error ends the job with, and the reason to leave; what nobody foresaw is printed whole."""
    if isinstance(error, PermanentFailure):
        log.error("%s", error)
        return EXIT_NO_DATA if isinstance(error, NoDataForDates) else EXIT_PERMANENT, str(error)
    if isinstance(error, Stopped):
        return error.exit_code, str(error)
    traceback.print_exception(error, file=sys.stdout)
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        return EXIT_MEMORY, f"{reason}; the job ran out of memory: give it a larger instance, or fewer dates"
    return 1, reason


def _run(name: str, parameters: JobParameters, container: Container, before: float) -> None:
    from ruter_dagster.jobs.context import JobContext

    settings = load_settings()
    module = import_module(f"ruter_dagster.jobs.{name}")
    imported, began = time.process_time(), time.monotonic()
    with reporting(container.is_first_host) as report:
        module.run(
            parameters,
            JobContext(settings=settings, parameters=parameters, container=container, report=report),
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    total = time.process_time()
    own = time.monotonic() - began
    words = "%s: %.1f CPU s, of them %.1f to start and import; %.0f MB at most, %.2f s"
    log.info(words, name, total - before, imported - before, peak, own)


def _leave_reason(container: Container, reason: str) -> None:
    try:
        container.write_failure(reason)
    except OSError as error:  # a full disk: the exit code, and the reason in the log, still tell
        log.error("The reason could not be left in %s: %s", container.base, error)


class Stopped(BaseException):
    """Raised wherever the job is when it is told to end, so that everything open is closed on the way out."""

    def __init__(self, signum: int) -> None:
        self.exit_code = 128 + signum
        super().__init__(f"Stopped by signal {signum}; nothing half-written stays")


def _stop(signum: int, _frame: object) -> None:
    signal.signal(signum, signal.SIG_IGN)  # told once: closing is not to be interrupted
    stopped = Stopped(signum)
    log.warning("%s", stopped)
    raise stopped


def _end_with_owner() -> None:
    """A launcher that dies closes its end of our standard input: an orphan would race with the retry."""
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read: its lock would be held at exit
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
