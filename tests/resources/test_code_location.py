"""The image's code location still has the processes of its runs after a reload. Otherwise the daemon would start the runs twice."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.launcher.base import WorkerStatus
from dagster._core.test_utils import create_run_for_test, instance_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._grpc.client import DagsterGrpcClient

from ruter_dagster.orchestration.instance import WatchedRunLauncher
from ruter_dagster.publishing.broker import _free_port
from tests.orchestration.test_instance import WATCHED

pytestmark = pytest.mark.extended
ORCHESTRATOR = Path(__file__).parents[2] / "docker/orchestrator.Dockerfile"
LOCATION = "waiting_jobs"
DEFINITIONS = """
import time
from dagster import Definitions, job, op

@op
def waits():
    time.sleep(120)

@job
def long():
    waits()

defs = Definitions(jobs=[long])
"""


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with instance_for_test(overrides=WATCHED) as instance:
        yield instance


@pytest.fixture
def process(tmp_path: Path, instance: DagsterInstance) -> Iterator[WorkspaceProcessContext]:
    """The workspace of webserver and daemon, with a code location that starts as in the image."""
    (tmp_path / "waiting_jobs.py").write_text(DEFINITIONS)
    (command,) = re.findall(r"(?m)^CMD (.*)$", ORCHESTRATOR.read_text())
    port = _free_port()
    changed = {"0.0.0.0": "127.0.0.1", "4000": str(port), "ruter_dagster.definitions": "waiting_jobs"}
    words = [changed.get(word, word) for word in json.loads(command)]
    server = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}
    )
    try:
        client = DagsterGrpcClient(host="127.0.0.1", port=port)
        wait_until(lambda: client.health_check_query() == "SERVING")
        target = GrpcServerTarget(host="127.0.0.1", port=port, socket=None, location_name=LOCATION)
        with WorkspaceProcessContext(instance, target) as context:
            yield context
    finally:
        server.terminate()
        server.wait(60)


def test_run_survives_reload(process: WorkspaceProcessContext, instance: DagsterInstance) -> None:
    run_id = launch_run(process, instance)
    launcher = instance.run_launcher
    assert isinstance(launcher, WatchedRunLauncher)
    try:
        process.reload_code_location(LOCATION)
        run = instance.get_run_by_id(run_id)
        assert run
        assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    finally:
        assert launcher.terminate(run_id)
    wait_until(lambda: status_of(instance, run_id) == DagsterRunStatus.CANCELED)


def launch_run(process: WorkspaceProcessContext, instance: DagsterInstance) -> str:
    """Launches a run, waits until it has started and returns its id."""
    workspace = process.create_request_context()
    job = workspace.get_code_location(LOCATION).get_repository("__repository__").get_full_job("long")
    run = create_run_for_test(
        instance, "long", remote_job_origin=job.get_remote_origin(), job_code_origin=job.get_python_origin()
    )
    instance.launch_run(run.run_id, workspace)
    wait_until(lambda: status_of(instance, run.run_id) == DagsterRunStatus.STARTED)
    return run.run_id


def status_of(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
