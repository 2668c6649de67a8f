"""`make check` compares the released schemas with those of the default branch, in real git repositories."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.check_released_schemas import FOLDER, ROOT, base_commit, main, schema_faults

NAME = "load-forecast.v2.json"
RELEASED: dict[str, Any] = json.loads((ROOT / FOLDER / NAME).read_text())


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, schema: dict[str, Any]) -> str:
    file = folder / FOLDER / NAME
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(schema))
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "Change the schema")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository on a branch, whose origin/main has the released schema."""
    git(tmp_path, "init", "--quiet")
    released = commit(tmp_path, RELEASED)
    git(tmp_path, "update-ref", "refs/remotes/origin/main", released)
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "Begin a branch")
    return tmp_path


def faults(repository: Path) -> list[str]:
    base = base_commit(repository, "main")
    assert base is not None
    return schema_faults(repository, base)


def test_unchanged_and_readable_schemas_pass(repository: Path) -> None:
    assert faults(repository) == []
    commit(repository, RELEASED | {"properties": RELEASED["properties"] | {"newField": {"type": "string"}}})
    assert faults(repository) == []


def test_breaking_change_of_the_copy_is_found(repository: Path) -> None:
    commit(repository, RELEASED | {"required": ["calls"]})
    found = faults(repository)
    assert any(
        f"{FOLDER}/{NAME}: message.lineRef: no longer required. Restore it" in fault for fault in found
    )


def test_removed_copy_is_found(repository: Path) -> None:
    (repository / FOLDER / NAME).unlink()
    (fault,) = faults(repository)
    assert fault.startswith(f"{FOLDER}/{NAME} was removed")


def test_commit_on_the_default_branch_is_compared_with_its_parent(repository: Path) -> None:
    head = commit(repository, RELEASED | {"required": ["calls"]})
    git(repository, "update-ref", "refs/remotes/origin/main", head)
    assert base_commit(repository, "main") == git(repository, "rev-parse", "HEAD^")
    assert faults(repository) != []


def test_clone_without_the_default_branch_is_not_compared(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.check_released_schemas.ROOT", repository)
    monkeypatch.setenv("CI_DEFAULT_BRANCH", "trunk")
    assert main() == 0
    assert "not compared: this clone has no earlier commit of origin/trunk" in capsys.readouterr().out


def test_breaking_change_fails_the_check(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.check_released_schemas.ROOT", repository)
    monkeypatch.delenv("CI_DEFAULT_BRANCH", raising=False)
    commit(repository, RELEASED | {"required": ["calls"]})
    assert main() == 1
    assert "no longer required" in capsys.readouterr().out


def test_pipeline_fetches_the_default_branch_before_the_check() -> None:
    job = (ROOT / ".gitlab-ci.yml").read_text().partition("\ncheck:\n")[2].partition("\n\n")[0]
    assert re.search(r"git fetch .*\$CI_DEFAULT_BRANCH.*\n.*make check", job)
    assert "scripts.check_released_schemas" in (ROOT / "Makefile").read_text()
