"""A job that a container starts as root goes on as the image's user, who owns what SageMaker takes out."""

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
container.write_failure("why")
(container.base / "checkpoints" / "1").write_text("trees")
print(os.getuid(), os.environ["HOME"], os.getgroups() == [os.getgid()])
"""

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


def run(base: Path, user: str) -> subprocess.CompletedProcess[str]:
    """The script as a container's first process, over folders that belong to root alone."""
    (base / "checkpoints").mkdir(parents=True)
    (base / "checkpoints" / "0").write_text("trees")
    base.chmod(0o755)
    environment = {**os.environ, BASE_VARIABLE: str(base), USER_VARIABLE: user}
    return subprocess.run([sys.executable, "-c", AS_USER], env=environment, capture_output=True, text=True)


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that any user may pass through, which those of pytest's `tmp_path` are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "ml"


@as_root
def test_the_job_is_the_users_and_its_reason_still_comes_out(base: Path):
    ended = run(base, "nobody")
    assert ended.returncode == 0, ended.stderr
    uid, home, alone = ended.stdout.split()
    assert int(uid) != 0 and home != os.environ.get("HOME") and alone == "True"
    assert Container(base).read_failure() == "why"
    assert {path.stat().st_uid for path in base.glob("checkpoints/*")} == {int(uid)}


@as_root
def test_an_unknown_user_is_told_and_stops_nothing(base: Path):
    ended = run(base, "nobody-of-this-name")
    assert ended.stdout.startswith("0 ")
    assert "The job goes on as root" in ended.stderr and "nobody-of-this-name" in ended.stderr


def test_without_the_images_variable_nothing_changes(base: Path):
    assert run(base, "").stdout.startswith(f"{os.getuid()} ")
