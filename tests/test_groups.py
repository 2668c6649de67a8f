"""Tests that share a fixture of a module run in one worker, so that they build it once. Some versions of pytest break this silently."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
CONFTEST = "from tests.conftest import pytest_collection_modifyitems"
TESTS = """
import os, pathlib, pytest

@pytest.fixture(scope="module")
def worker_file():
    return pathlib.Path(__file__).with_name(os.environ["PYTEST_XDIST_WORKER"])

@pytest.mark.parametrize("number", range(6))
def test_note_worker(worker_file, number):
    worker_file.touch()
"""


def test_tests_with_a_shared_fixture_share_a_worker(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_shared.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert len(list(tmp_path.glob("gw*"))) == 1
