"""Runs one job: `python -m ruter_dagster.jobs <name>`, in a container or as a local process. No job's own logic belongs here."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import signal
import sys
import threading
import time
import traceback
from importlib import import_module

from ruter_dagster.contracts.container import OWNER_VARIABLE, Container
from ruter_dagster.contracts.errors import NoDateThere, PermanentFailure
from ruter_dagster.contracts.jobs import EXIT_ABSENT, EXIT_PERMANENT, JOBS, JobParameters
from ruter_dagster.jobs.pipes import log_to_stdout, reporting
from ruter_dagster.settings import load_settings

log = logging.getLogger("ruter_dagster.jobs")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ruter_dagster.jobs", description=__doc__)
    parser.add_argument(
        "job", choices=sorted(JOBS), help="the job; its parameters lie below the container's base"
    )
    job = parser.parse_args(arguments).job
    log_to_stdout()
    signal.signal(signal.SIGTERM, _stop)
    if os.environ.get(OWNER_VARIABLE):
        threading.Thread(target=_end_with_owner, daemon=True).start()
    container = Container.of_environment()
    try:
        _run(job, container.read_parameters(job), container)
    except PermanentFailure as failure:
        log.error("%s", failure)
        _leave_reason(container, str(failure))
        return EXIT_ABSENT if isinstance(failure, NoDateThere) else EXIT_PERMANENT
    except Exception as error:
        traceback.print_exc(file=sys.stdout)
        _leave_reason(container, f"{type(error).__name__}: {error}")
        return 1
    return 0


def _run(name: str, parameters: JobParameters, container: Container) -> None:
    from ruter_dagster.jobs.context import JobContext

    settings = load_settings()
    module = import_module(f"ruter_dagster.jobs.{name}")
    imported, began = time.process_time(), time.monotonic()
    with reporting() as report:
        module.run(
            parameters,
            JobContext(settings=settings, parameters=parameters, container=container, report=report),
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    total = time.process_time()
    own = time.monotonic() - began
    words = "%s: %.1f CPU s, of them %.1f to start and import; %.0f MB at most, %.1f s"
    log.info(words, name, total, imported, peak, own)


def _leave_reason(container: Container, reason: str) -> None:
    try:
        container.write_failure(reason)
    except OSError as error:  # a full disk: the exit code, and the reason in the log, still tell
        log.error("The reason could not be left in %s: %s", container.base, error)


def _stop(signum: int, _frame: object) -> None:
    log.warning("Stopped by signal %s; nothing half-written stays", signum)
    sys.exit(128 + signum)


def _end_with_owner() -> None:
    """A launcher that dies closes its end of our standard input: an orphan would race with the retry."""
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read: its lock would be held at exit
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
