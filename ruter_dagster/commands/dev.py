"""`ruter-dagster dev`: Dagster's UI and daemon, and a Kafka broker, quality reports, MLflow and the dashboard while they run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ruter_dagster.commands.dev_servers import newest_report, serve_dashboard_beside, serve_mlflow
from ruter_dagster.commands.ports import require_free_port
from ruter_dagster.commands.report_server import name_reports_url, serve_reports
from ruter_dagster.config.settings import Settings
from ruter_dagster.config.state_folder import require_writable_state
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.orchestration.instance import require_dagster_home

WORKSPACE = "workspace.yaml"
NO_WARNING = "ignore:Function `dev_command` is superseded"
"""Filter of Python's warnings. Dagster recommends `dg dev`, which starts the same servers."""


@dataclass(frozen=True)
class Ports:
    """Ports of the loopback interface: of Dagster's UI, of the dashboard, of MLflow and of the quality reports.

    `reports` None is the address of the settings.
    """

    dagster: int = 3000
    dashboard: int = 8501
    mlflow: int = 5000
    reports: int | None = None


def serve_dagster(settings: Settings, ports: Ports) -> int:
    """Runs `dagster dev` and returns its exit code. Broker, reports, dashboard and MLflow run beside it, and end with it.

    Raises PermanentFailure before anything starts, if Dagster's port is taken or the working folder is not the project's.
    Dashboard, MLflow or reports whose port is taken are left out, and the line about them says so.
    """
    _require_workspace()
    require_dagster_home()
    require_free_port(ports.dagster, "dev")
    require_writable_state(settings)
    _name_dagster_url(settings, ports.dagster)
    settings = _with_reports_port(settings, ports.reports)
    print(
        f"History, tables and models are in {settings.source_dir}. The temporary directory that Dagster mentions holds none of them",
        flush=True,
    )
    # A shell gives its background commands an ignored SIGINT, which dagster dev would inherit and never end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            environment = {**os.environ, **_start_broker(settings, stack)}
            for line in _start_servers(settings, ports, stack):
                print(line, flush=True)
            print(f"Dagster: http://127.0.0.1:{ports.dagster}, in 15 seconds. Ctrl-C ends all", flush=True)
            return _run_dagster(ports.dagster, environment)
    except KeyboardInterrupt:
        return 0


def _name_dagster_url(settings: Settings, port: int) -> None:
    """Lets links of alerts and of the dashboard open this Dagster, unless the settings name another address."""
    if "dagster_url" not in settings.model_fields_set:
        os.environ["RUTER_DAGSTER_URL"] = f"http://127.0.0.1:{port}"


def _with_reports_port(settings: Settings, port: int | None) -> Settings:
    """The settings with the reports at a port of this machine, so that links of Dagster and of its jobs lead there."""
    if port is None:
        return settings
    os.environ["RUTER_REPORTS_URL"] = f"http://127.0.0.1:{port}"
    return settings.model_copy(update={"reports_url": os.environ["RUTER_REPORTS_URL"]})


def _start_broker(settings: Settings, stack: ExitStack) -> dict[str, str]:
    """Starts a Kafka broker, unless the settings name one. Returns the variable with its address."""
    # Jobs in SageMaker cannot reach a broker of this machine.
    if settings.kafka_bootstrap_servers is not None or settings.runs_in_sagemaker:
        return {}
    from ruter_dagster.publishing.broker import local_broker

    broker = stack.enter_context(local_broker(settings.source_dir / "broker"))
    print(f"Apache Kafka at {broker.bootstrap_servers}, data in {broker.data_dir}", flush=True)
    return {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}


def _start_servers(settings: Settings, ports: Ports, stack: ExitStack) -> Iterator[str]:
    """Starts the servers beside Dagster. Yields a line about each: its address, or why it is not served."""
    reports = stack.enter_context(serve_reports(Path(settings.artifacts_location), settings.reports_url))
    name_reports_url(settings, reports)
    yield reports
    yield newest_report(settings)
    yield stack.enter_context(serve_mlflow(settings, ports.mlflow))
    yield stack.enter_context(serve_dashboard_beside(ports.dashboard))


def _run_dagster(port: int, environment: Mapping[str, str]) -> int:
    process = subprocess.Popen(
        [sys.executable, "-W", NO_WARNING, "-m", "dagster", "dev", "-w", WORKSPACE, "-p", str(port)],
        env=environment,
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        return process.wait()


def _require_workspace() -> None:
    if not Path(WORKSPACE).is_file():
        raise PermanentFailure(f"No {WORKSPACE} in {Path.cwd()}: run the command in the project's folder")
