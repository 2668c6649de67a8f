"""One copy of this repository for all tests of a process."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.gitlab.pipeline import Pipeline


@pytest.fixture(scope="session")
def branch(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Pipelines of the branch feature/x."""
    return Pipeline.create(tmp_path_factory.mktemp("gitlab") / "checkout", "feature/x")


@pytest.fixture(scope="session")
def main(branch: Pipeline) -> Pipeline:
    """Pipelines of the default branch."""
    return replace(branch, branch="main")
