"""The servers that `ruter-dagster dev` runs beside Dagster: MLflow and the dashboard. Each ends with it.

A server whose port is taken is not started. The line for the user then names the port and the remedy.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ruter_dagster.commands.ports import require_free_port
from ruter_dagster.config.aws import NO_MLFLOW
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.errors import PermanentFailure

MLFLOW_RUNS = "#/experiments/1/runs"
"""Page of the runs of our experiment, the first after MLflow's own. MLflow's start page leads to pages of AI agents instead."""
END_SECONDS = 10.0


@contextmanager
def serve_mlflow(settings: Settings, port: int) -> Iterator[str]:
    """Runs MLflow's UI on the state's trainings while the context is open. Yields a line for the user.

    With MLflow at another address, or without trainings, nothing is started. Logs go to `mlflow/server.log` in the state.
    """
    address = settings.mlflow_tracking_uri
    folder = settings.source_dir / "mlflow"
    store = address or f"sqlite:///{folder / 'mlflow.db'}"
    if store == NO_MLFLOW:
        yield "MLflow: none (RUTER_MLFLOW_TRACKING_URI)"
    elif not store.startswith("sqlite:"):
        yield f"MLflow: {store}"
    elif not Path(store.removeprefix("sqlite:///")).is_file():
        yield "MLflow: no training is recorded yet. The next start of this command after a training shows it"
    elif fault := _port_fault(port, "--mlflow-port"):
        yield f"MLflow is not served: {fault}"
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            (folder / "server.log").open("ab") as log,
            _child(mlflow_command(store, port), _MLFLOW, log.fileno()),
        ):
            yield f"MLflow, trainings: http://127.0.0.1:{port}/{MLFLOW_RUNS}"


@contextmanager
def serve_dashboard_beside(port: int) -> Iterator[str]:
    """Runs the dashboard of this state while the context is open. Yields a line for the user."""
    from ruter_dagster.commands.dashboard import dashboard_address, dashboard_command

    if fault := _port_fault(port, "--dashboard-port"):
        yield f"The dashboard is not served: {fault}"
        return
    with _child(dashboard_command(port), {}, subprocess.DEVNULL):
        yield f"Dashboard, forecasts and accuracy: {dashboard_address(port)}"


def newest_report(settings: Settings) -> str:
    """A line with the address of the newest quality report."""
    if settings.lake:
        return f"Quality reports: {settings.artifacts_location}/quality/reports/"
    folder = Path(settings.artifacts_location)
    reports = list((folder / "quality" / "reports").glob("*/*.html"))
    if not reports:
        return "Newest quality report: there is none yet"
    newest = max(reports, key=lambda path: (path.stat().st_mtime, path.name))
    return f"Newest quality report: {settings.report_page(newest.relative_to(folder).as_posix())}"


def mlflow_command(store: str, port: int) -> list[str]:
    """The command of MLflow's UI on a store, with one worker, on the loopback interface."""
    return [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", store,
    ]  # fmt: skip


_MLFLOW = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Jobs of MLflow's agents would be further processes."""


def _port_fault(port: int, option: str) -> str | None:
    """Why the port cannot be used, and the remedy. None if it is free."""
    try:
        require_free_port(port, "dev")
    except PermanentFailure as failure:
        return str(failure).replace("--port PORT", f"{option} PORT")
    return None


@contextmanager
def _child(command: Sequence[str], variables: Mapping[str, str], output: int) -> Iterator[None]:
    """Runs a server with its own children in one process group, and ends all of them."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process group, by force if a member does not end in time. Members may outlive their first process."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
