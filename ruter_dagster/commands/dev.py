"""`ruter-dagster dev`: Dagster's UI and daemon, and a Kafka broker while they run."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from ruter_dagster.commands.report_server import serve_reports
from ruter_dagster.config.settings import Settings
from ruter_dagster.config.state_folder import require_writable_state
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.orchestration.instance import require_dagster_home

WORKSPACE = "workspace.yaml"
NO_WARNING = "ignore:Function `dev_command` is superseded"
"""Filter of Python's warnings. Dagster recommends `dg dev`, which starts the same servers."""
MLFLOW_PORT = 5000
MLFLOW_RUNS = "#/experiments/1/runs"
"""Page of the runs of our experiment, the first after MLflow's own. MLflow's start page leads to pages of AI agents instead."""


def serve_dagster(settings: Settings, port: int) -> int:
    """Runs `dagster dev` on `port` of the loopback interface and returns its exit code. The broker ends with it.

    Raises PermanentFailure before anything starts, if the port is taken or the working folder is not the project's.
    """
    _require_workspace()
    require_dagster_home()
    _require_free(port)
    require_writable_state(settings)
    print(
        f"History, tables and models are in {settings.source_dir}. The temporary directory that Dagster mentions holds none of them",
        flush=True,
    )
    with ExitStack() as stack:
        environment = {**os.environ}
        # Jobs in SageMaker cannot reach a broker of this machine.
        if settings.kafka_bootstrap_servers is None and not settings.runs_in_sagemaker:
            from ruter_dagster.publishing.broker import local_broker

            broker = stack.enter_context(local_broker(settings.source_dir / "broker"))
            environment["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap_servers
            print(f"Apache Kafka at {broker.bootstrap_servers}, data in {broker.data_dir}", flush=True)
        print(
            stack.enter_context(serve_reports(Path(settings.artifacts_location), settings.reports_url)),
            flush=True,
        )
        print(mlflow_hint(settings), flush=True)
        # A shell gives its background commands an ignored SIGINT, which dagster dev would inherit and never end.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        process = subprocess.Popen(
            [sys.executable, "-W", NO_WARNING, "-m", "dagster", "dev", "-w", WORKSPACE, "-p", str(port)],
            env=environment,
        )
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            return process.wait()


def mlflow_hint(settings: Settings) -> str:
    """How to see the trainings in MLflow: the address of its server, or the command that starts one here, and the page of runs."""
    address = settings.mlflow_tracking_uri
    if address and not address.startswith("sqlite:"):
        return f"MLflow: {address}"
    store = address or f"sqlite:///{settings.source_dir / 'mlflow' / 'mlflow.db'}"
    program = Path(sys.executable).with_name("mlflow")
    command = (
        f"{shlex.quote(str(program))} server --port {MLFLOW_PORT} --backend-store-uri {shlex.quote(store)}"
    )
    return f"Trainings in MLflow: run `{command}` and open http://127.0.0.1:{MLFLOW_PORT}/{MLFLOW_RUNS}"


def _require_workspace() -> None:
    if not Path(WORKSPACE).is_file():
        raise PermanentFailure(f"No {WORKSPACE} in {Path.cwd()}: run the command in the project's folder")


def _require_free(port: int) -> None:
    """Raises PermanentFailure if the port is taken. Dagster would only lose its UI and run a second daemon."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # like the UI, so that a port that was just released counts as free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PermanentFailure(
                f"Port {port} of 127.0.0.1 is not available ({error.strerror}). Stop the program that uses it, perhaps another "
                "`ruter-dagster dev`, or run `ruter-dagster dev --port PORT`"
            ) from error
