"""`ruter-dagster dev`: the UI answers with every asset, a run that is terminated there leaves nothing, and all ends together."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from dagster import DagsterRunStatus
from dagster_graphql import DagsterGraphQLClient

from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.contracts.tables import STOP_VISITS
from ruter_dagster.orchestration.chain import RUNS
from ruter_dagster.publishing.broker import _free_port, running_broker
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore
from tests.chain.local_chain import foreign_variables
from tests.chain.small_demo import D, environment, processes_with, start_server, until

pytestmark = pytest.mark.extended
REPOSITORY = Path(__file__).parents[2]
PLACE = {"repository_location_name": "ruter_dagster", "repository_name": "__repository__"}
FIVE_MONTHS = {
    "dagster/asset_partition_range_start": "2026-06-01",
    "dagster/asset_partition_range_end": "2026-10-31",
}
"""A range whose job takes long enough to be terminated."""
ASSETS = "{ assetsOrError { ... on AssetConnection { nodes { key { path } definition { id } } } } }"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Of a state of its own, which every process that the tests start inherits."""
    with pytest.MonkeyPatch.context() as patch:
        for name in foreign_variables():
            patch.delenv(name)
        for name, value in environment(tmp_path_factory.mktemp("dev")).items():
            patch.setenv(name, value)
        patch.chdir(REPOSITORY)
        yield load_settings(_env_file=None)


class Server(NamedTuple):
    process: subprocess.Popen[str]
    port: int
    dashboard: int
    log: Path
    """What it printed."""


@pytest.fixture(scope="module")
def server(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A UI that answers, and its port."""
    port, dashboard, log = _free_port(), _free_port(), tmp_path_factory.mktemp("log") / "dagster.log"
    ports = ("--port", str(port), "--dashboard-port", str(dashboard), "--mlflow-port", str(_free_port()))
    with start_server(log, "ruter-dagster", "dev", *ports) as process:
        try:
            until(lambda: process.poll() is not None or _assets(port), "the UI")
            assert process.poll() is None, log.read_text()[-8000:]
            yield Server(process, port, dashboard, log)
        finally:
            process.terminate()


@pytest.fixture
def port(server: Server) -> int:
    return server.port


def _assets(port: int) -> set[str]:
    """Keys of the assets that the UI shows; none while it does not answer yet."""
    body = json.dumps({"query": ASSETS}).encode()
    request = Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
    with suppress(URLError, ConnectionError, TimeoutError), urlopen(request, timeout=30) as answer:
        nodes: list[dict[str, Any]] = json.load(answer)["data"]["assetsOrError"]["nodes"]
        return {"/".join(node["key"]["path"]) for node in nodes if node["definition"]}
    return set()


def test_ui_shows_every_asset(port: int) -> None:
    assert _assets(port) == {asset for assets in RUNS.values() for asset in assets}


def test_broker_runs_beside_the_ui(port: int, settings: Settings) -> None:
    assert running_broker(settings.source_dir / "broker")


def test_dashboard_runs_beside_the_ui(server: Server) -> None:
    until(lambda: _answers(f"http://127.0.0.1:{server.dashboard}/_stcore/health"), "the dashboard")


def test_log_names_every_address(server: Server) -> None:
    printed = server.log.read_text()
    for address in (f"Dagster: http://127.0.0.1:{server.port}", f"http://127.0.0.1:{server.dashboard}"):
        assert address in printed
    assert "MLflow: no training is recorded yet" in printed
    assert "Newest quality report: " in printed


def _answers(url: str) -> bool:
    with suppress(URLError, ConnectionError, TimeoutError), urlopen(url, timeout=30) as answer:
        return answer.status == 200
    return False


def test_log_does_not_recommend_another_command(server: Server) -> None:
    assert "superseded" not in server.log.read_text()


def test_terminated_run_ends_its_job_and_writes_nothing(port: int, settings: Settings) -> None:
    client = DagsterGraphQLClient("127.0.0.1", port_number=port)
    run_id = client.submit_job_execution(
        "counts", **PLACE, tags=FIVE_MONTHS, asset_selection=[["raw", "stop_visits"]]
    )
    folder = settings.source_dir / "jobs" / run_id
    until(lambda: processes_with(f"RUTER_CONTAINER_BASE={folder}"), "the job")
    client.terminate_run(run_id)
    until(lambda: not processes_with(f"RUTER_CONTAINER_BASE={folder}"), "the end of the job")
    until(lambda: client.get_run_status(run_id) == DagsterRunStatus.CANCELED, "the end of the run")
    store = TableStore(local_catalog(settings.source_dir / "warehouse"))
    assert store.snapshot(STOP_VISITS).dates() == []


REEXECUTE = """mutation ($run: String!, $strategy: ReexecutionStrategy!) {
  launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: $strategy}) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message stack }
  }
}"""
RUN = """query ($run: ID!) {
  runOrError(runId: $run) { ... on Run { repositoryOrigin { repositoryLocationName } tags { key value } } }
}"""


def _query(port: int, query: str, **variables: str) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


def _reexecute(port: int, run_id: str, strategy: str) -> DagsterRunStatus:
    """The final status of the run that the UI's re-execute button starts."""
    result = _query(port, REEXECUTE, run=run_id, strategy=strategy)["launchRunReexecution"]
    assert result["__typename"] == "LaunchRunSuccess", result
    client = DagsterGraphQLClient("127.0.0.1", port_number=port)
    child = result["run"]["runId"]
    ended = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
    until(lambda: client.get_run_status(child) in ended, "the end of the run")
    return client.get_run_status(child)


RUNS_OF_THE_COMMAND_LINE = f"""
from datetime import date
from pathlib import Path
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.orchestration.runs import RunRequest, execute

with open_instance() as instance:
    for asset in ("quality/weather_forecasts", "raw/weather_forecasts"):
        request = RunRequest("weather", (asset,), (date({D.year}, {D.month}, {D.day}),))
        print("run", execute(request, instance, Path("/dev/null"), lambda _: None).run_id)
"""
"""A quality report that fails as its table has no rows, then the rows."""


def test_ui_reexecutes_runs_that_the_command_line_made(port: int) -> None:
    # In a process of its own, since the fork server of `execute` lives as long as its process.
    printed = subprocess.check_output([sys.executable, "-c", RUNS_OF_THE_COMMAND_LINE], text=True)
    failed, succeeded = (line.split()[1] for line in printed.splitlines() if line.startswith("run "))
    assert _reexecute(port, failed, "FROM_FAILURE") == DagsterRunStatus.SUCCESS
    assert _reexecute(port, succeeded, "ALL_STEPS") == DagsterRunStatus.SUCCESS
    shown = _query(port, RUN, run=failed)["runOrError"]
    assert shown["repositoryOrigin"] == {"repositoryLocationName": "ruter_dagster"}
    assert {"key": "dagster/partition", "value": str(D)} in shown["tags"]


def test_server_ends_with_all_its_processes(server: Server, settings: Settings) -> None:
    process, port, dashboard, log = server
    state = f"RUTER_STATE_DIR={settings.state_dir}"
    assert set(processes_with(state)) > {process.pid}
    process.terminate()
    process.wait(timeout=300)
    until(lambda: not processes_with(state), "the end of what it started")
    assert running_broker(settings.source_dir / "broker") is None
    assert not _assets(port)
    assert not _answers(f"http://127.0.0.1:{dashboard}/_stcore/health")
    assert "Traceback" not in log.read_text()
