"""Starts a job as a process of its own, without Dagster and Pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ruter_dagster.contracts.container import BASE_VARIABLE, Container
from ruter_dagster.contracts.jobs import JobParameters


def command(job: str) -> list[str]:
    return [sys.executable, "-m", "ruter_dagster.jobs", job]


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Environment of a job with state and container below `folder`, without the tests' own RUTER_ and KAFKA_ variables."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("RUTER_", "KAFKA_"))
    }
    own = {
        "RUTER_STATE_DIR": str(folder / "state"),
        BASE_VARIABLE: str(folder / "ml"),
        "PYTHONUNBUFFERED": "1",
    }
    return {**inherited, **own, **variables}


def start(parameters: JobParameters, folder: Path, **variables: str) -> subprocess.Popen[str]:
    """Writes the parameters and starts the job. Its output comes through a pipe."""
    Container(folder / "ml").write_parameters(parameters)
    return subprocess.Popen(
        command(parameters.job),
        env=environment(folder, **variables),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(parameters: JobParameters, folder: Path, **variables: str) -> tuple[int, str]:
    """Runs the job to its end. Returns its exit code and output."""
    with start(parameters, folder, **variables) as process:
        printed, _ = process.communicate()
        return process.returncode, printed
