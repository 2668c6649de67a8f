"""Which sandboxes have no branch. An answer of git that cannot be right destroys nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.aws.sandbox import state
from ruter_dagster.commands import sandbox_orphans
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox, sandbox_id
from tests.gitlab_stub import GitLabStub, running_gitlab
from tests.sandbox.test_state import BUCKET, FULL, LOCK, put, s3

__all__ = ["s3"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository with the branches main and feature/seats."""
    monkeypatch.delenv("CI_DEFAULT_BRANCH", raising=False)
    folder = tmp_path / "repository"
    for command in (
        ["init", "--quiet", "--initial-branch=main", str(folder)],
        ["-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--allow-empty", "-m", "x"],
        ["-C", str(folder), "branch", "feature/seats"],
    ):  # fmt: skip
        subprocess.run(["git", *command], check=True)
    return str(folder)


@pytest.fixture
def gitlab(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitLabStub]:
    with running_gitlab() as stub:
        monkeypatch.setenv("CI_API_V4_URL", stub.url)
        monkeypatch.setenv("CI_PROJECT_ID", "7")
        monkeypatch.setenv("CI_JOB_TOKEN", "token-of-the-job")
        yield stub


def test_sandboxes_without_a_branch_are_listed(s3: Any, repository: str, gitlab: GitLabStub) -> None:
    for branch in ("feature/seats", "feature/gone"):
        put(s3, Sandbox(sandbox_id(branch)), FULL)
    assert sandbox_orphans.orphans(BUCKET, repository, print) == [Sandbox(sandbox_id("feature/gone"))]


@pytest.fixture
def two_hours_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LOCK_HOURS", 0)


@pytest.mark.parametrize("status", ["stopping", "stopped"])
def test_sandbox_whose_stop_job_failed_is_listed(
    s3: Any, repository: str, gitlab: GitLabStub, status: str, two_hours_later: None
) -> None:
    sandbox = Sandbox(sandbox_id("feature/seats"))
    put(s3, sandbox, FULL)
    gitlab.environments = [{"id": 1, "name": "sandbox/feature-seats", "state": status}]
    assert sandbox_orphans.clean_environments(BUCKET, repository, print) == []
    assert sandbox_orphans.orphans(BUCKET, repository, print) == [sandbox]
    gitlab.environments[0]["state"] = "available"
    assert sandbox_orphans.orphans(BUCKET, repository, print) == []


def test_new_deploy_of_a_stopped_environment_is_kept(s3: Any, repository: str, gitlab: GitLabStub) -> None:
    put(s3, Sandbox(sandbox_id("feature/seats")), FULL)
    gitlab.environments = [{"id": 1, "name": "sandbox/feature-seats", "state": "stopped"}]
    assert sandbox_orphans.orphans(BUCKET, repository, print) == []


def test_locked_sandbox_is_left_for_the_next_run(s3: Any, repository: str, gitlab: GitLabStub) -> None:
    sandbox = Sandbox(sandbox_id("feature/gone"))
    put(s3, sandbox, FULL)
    put(s3, sandbox, LOCK, state.LOCK)
    lines: list[str] = []
    assert sandbox_orphans.orphans(BUCKET, repository, lines.append) == []
    (line,) = lines
    assert line.startswith(f"{sandbox.id} has no branch, but is locked by ")


def test_abandoned_lock_of_a_living_branch_is_released(
    s3: Any, repository: str, gitlab: GitLabStub, two_hours_later: None
) -> None:
    sandbox = Sandbox(sandbox_id("feature/seats"))
    put(s3, sandbox, FULL)
    put(s3, sandbox, LOCK, state.LOCK)
    assert sandbox_orphans.orphans(BUCKET, repository, print) == []
    assert state.lock_holder(BUCKET, sandbox) is None


def test_failing_git_destroys_nothing(s3: Any, repository: str) -> None:
    put(s3, Sandbox(sandbox_id("feature/seats")), FULL)
    with pytest.raises(PermanentFailure, match=r"git ls-remote failed: .*Nothing was destroyed"):
        sandbox_orphans.orphans(BUCKET, f"{repository}/missing", print)


def test_list_without_the_default_branch_destroys_nothing(
    s3: Any, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, Sandbox(sandbox_id("feature/seats")), FULL)
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "empty")], check=True)
    with pytest.raises(PermanentFailure, match="lists 0 branches without main"):
        sandbox_orphans.orphans(BUCKET, str(tmp_path / "empty"), print)
    monkeypatch.setenv("CI_DEFAULT_BRANCH", "trunk")
    with pytest.raises(PermanentFailure, match="lists 2 branches without trunk"):
        sandbox_orphans.orphans(BUCKET, repository, print)


def test_git_that_hangs_destroys_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: Any, **__: Any) -> None:
        raise subprocess.TimeoutExpired("git", 1)

    monkeypatch.setattr(sandbox_orphans.subprocess, "run", hang)
    with pytest.raises(PermanentFailure, match="gave no answer"):
        sandbox_orphans.live_branches("origin")


def test_environments_of_deleted_branches_are_stopped_and_deleted(
    s3: Any, gitlab: GitLabStub, repository: str
) -> None:
    gitlab.environments = [
        {"id": 1, "name": "sandbox/feature-seats", "state": "available"},
        {"id": 2, "name": "sandbox/feature-gone", "state": "available"},
        {"id": 3, "name": "sandbox/feature-old", "state": "stopped"},
        {"id": 4, "name": "prod", "state": "stopped"},
        {"id": 5, "name": "other-sandbox/x", "state": "stopped"},
    ]
    lines: list[str] = []
    assert sandbox_orphans.clean_environments(BUCKET, repository, lines.append) == []
    assert [item["id"] for item in gitlab.environments] == [1, 4, 5]
    assert lines == ["Deleted: environment sandbox/feature-gone", "Deleted: environment sandbox/feature-old"]
    assert {token for _, _, token in gitlab.requests} == {"token-of-the-job"}
    assert gitlab.forced_stops == [2], "the job that destroys a sandbox is not started again"


def test_more_environments_than_a_page_are_deleted(s3: Any, gitlab: GitLabStub, repository: str) -> None:
    gitlab.environments = [{"id": n, "name": f"sandbox/gone-{n}", "state": "stopped"} for n in range(250)]
    assert sandbox_orphans.clean_environments(BUCKET, repository, print) == []
    assert gitlab.environments == []


@pytest.mark.parametrize("status", [403, 500])
def test_environment_that_gitlab_keeps_is_listed_as_left(
    s3: Any, gitlab: GitLabStub, repository: str, status: int
) -> None:
    gitlab.environments = [{"id": n, "name": f"sandbox/gone-{n}", "state": "stopped"} for n in (1, 2)]
    gitlab.answers = [None, None, status]
    (line,) = sandbox_orphans.clean_environments(BUCKET, repository, print)
    assert line.startswith("Left: environment sandbox/gone-1: GitLab ") and str(status) in line
    assert [item["id"] for item in gitlab.environments] == [1]


def test_wrong_list_of_branches_deletes_no_environment(
    s3: Any, gitlab: GitLabStub, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gitlab.environments = [{"id": 1, "name": "sandbox/feature-seats", "state": "available"}]
    monkeypatch.setenv("CI_DEFAULT_BRANCH", "trunk")
    with pytest.raises(PermanentFailure, match="Nothing was destroyed"):
        sandbox_orphans.clean_environments(BUCKET, repository, print)
    assert gitlab.requests == []
