"""A job that starts as root continues as the image's user, who owns the folders that SageMaker uploads."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ruter_dagster.contracts.container import BASE_VARIABLE, USER_VARIABLE, Container

AS_USER = """
import os
from ruter_dagster.contracts.container import Container
from ruter_dagster.jobs.unprivileged import drop_privileges
container = Container.of_environment()
drop_privileges(container)
container.write_failure("why", 1)
(container.base / "checkpoints" / "1").write_text("trees")
print(os.getuid(), os.environ["HOME"], os.getgroups() == [os.getgid()])
"""

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


def run(base: Path, user: str) -> subprocess.CompletedProcess[str]:
    """Runs the script as a container's first process, with folders that belong to root."""
    (base / "checkpoints").mkdir(parents=True)
    (base / "checkpoints" / "0").write_text("trees")
    base.chmod(0o755)
    environment = {**os.environ, BASE_VARIABLE: str(base), USER_VARIABLE: user}
    return subprocess.run([sys.executable, "-c", AS_USER], env=environment, capture_output=True, text=True)


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that every user may enter, unlike those of pytest's `tmp_path`."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "ml"


@as_root
def test_job_runs_as_the_user_and_writes_its_reason(base: Path):
    ended = run(base, "nobody")
    assert ended.returncode == 0, ended.stderr
    uid, home, alone = ended.stdout.split()
    assert int(uid) != 0 and home != os.environ.get("HOME") and alone == "True"
    assert Container(base).read_failure() == "why"
    assert {path.stat().st_uid for path in base.glob("checkpoints/*")} == {int(uid)}


@as_root
def test_unknown_user_is_logged_and_ignored(base: Path):
    ended = run(base, "nobody-of-this-name")
    assert ended.stdout.startswith("0 ")
    assert "The job continues as root" in ended.stderr and "nobody-of-this-name" in ended.stderr


def test_user_stays_without_the_variable(base: Path):
    assert run(base, "").stdout.startswith(f"{os.getuid()} ")
