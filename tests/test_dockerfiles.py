"""What hadolint (`make check`) does not know of the Dockerfiles: locked packages, no secret, no source that the context leaves out."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
both = pytest.mark.parametrize("name", ["jobs", "orchestrator"])
each = pytest.mark.parametrize("name", ["jobs", "orchestrator", "ci"])


def dockerfile(name: str) -> str:
    """The text of a Dockerfile, without comments and line continuations."""
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text()
    return re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", text))


@each
def test_everything_installed_is_locked_by_hash_and_compiled(name: str) -> None:
    installs = re.findall(r"pip install[^&\n]*", dockerfile(name))
    assert len(installs) == {"jobs": 3, "orchestrator": 4, "ci": 3}[name]
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install
    assert all("--compile-bytecode" in install for install in installs if "--python" in install)


@each
def test_copied_files_are_in_the_build_context(name: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*", "everything is left out but what a line names"
    included = [re.compile(line[1:].replace("*", "[a-z]+")) for line in ignored if line.startswith("!")]
    sources = [
        word
        for copy in re.findall(r"(?m)^COPY (?!--from)(.*)$", dockerfile(name))
        for word in copy.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert any(pattern.fullmatch(source) for pattern in included), f".dockerignore leaves {source} out"


@both
def test_nothing_secret_goes_in(name: str) -> None:
    assert not re.search(r"(?i)secret|token|password|credential|AWS_|--extra-index|://", dockerfile(name))


def test_jobs_start_as_root_and_name_the_user_they_switch_to() -> None:
    """Another user could not write to /opt/ml/output, which belongs to root."""
    text = dockerfile("jobs")
    assert not re.search(r"(?m)^USER", text)
    assert "--create-home ruter" in text and "RUTER_CONTAINER_USER=ruter" in text


def test_the_orchestrator_runs_without_root_rights() -> None:
    """Its last stage is the one that is built without a target."""
    stages = dict(re.findall(r"(?ms)^FROM \S+ AS (\S+)$(.*?)(?=^FROM|\Z)", dockerfile("orchestrator")))
    assert list(stages)[-1] == "orchestrator"
    for stage in ("workstation", "orchestrator"):
        assert re.findall(r"(?m)^USER (.*)$", stages[stage]) == ["1000:1000"]


def test_packages_of_the_jobs_are_in_the_workstation_alone() -> None:
    stages = dict(re.findall(r"(?ms)^FROM \S+ AS (\S+)$(.*?)(?=^FROM|\Z)", dockerfile("orchestrator")))
    assert "requirements-jobs.lock" in stages["build-with-jobs"]
    assert [stage for stage, text in stages.items() if "--from=build-with-jobs" in text] == ["workstation"]


def test_locks_that_the_workstation_installs_together_agree() -> None:
    jobs, orchestrator = (
        dict(re.findall(r"(?m)^([a-z0-9._-]+)==(\S+)", (ROOT / f"requirements-{name}.lock").read_text()))
        for name in ("jobs", "orchestrator")
    )
    common = jobs.keys() & orchestrator.keys()
    assert len(common) > 20
    assert {name: jobs[name] for name in common} == {name: orchestrator[name] for name in common}


def test_downloads_of_the_ci_image_are_verified() -> None:
    runs = re.findall(r"(?m)^RUN (.*)$", dockerfile("ci"))
    downloads = [run for run in runs if "://" in run]
    assert len(downloads) == 1
    assert "sha256sum --check --strict" in downloads[0]


def test_ci_image_has_a_terraform_that_every_root_accepts() -> None:
    version = re.search(r"(?m)^ARG TERRAFORM=(\d+)\.(\d+)\.\d+$", dockerfile("ci"))
    roots = [ROOT / "terraform" / name for name in ("bootstrap", "stack", "teardown")]
    required = {
        minimum
        for root in roots
        for file in root.glob("*.tf")
        for minimum in re.findall(r'required_version = "~> (\d+)\.(\d+)"', file.read_text())
    }
    assert version is not None and required
    assert all(version[1] == major and int(version[2]) >= int(minor) for major, minor in required)


def test_ci_image_has_every_command_that_the_pipeline_calls() -> None:
    text = dockerfile("ci")
    scripts = [file for file in (ROOT / "scripts" / "cloud").iterdir() if file.is_file()]
    called = " ".join(file.read_text() for file in scripts) + (ROOT / ".gitlab-ci.yml").read_text()
    packages = {"aws": "awscli", "git": "git", "make": "make", "buildah": "buildah", "terraform": "terraform"}
    for command, package in packages.items():
        assert re.search(rf"(?<![\w/-]){command} ", called), f"{command} is not called any more"
        assert re.search(rf"[ /]{package}[ _]", text)


def test_ci_image_stops_a_sandbox_without_a_checkout(tmp_path: Path) -> None:
    """The job runs $TOOLS/scripts/cloud/sandbox, which reads terraform/teardown, calls ruter-dagster, and needs the sandbox's id."""
    text = dockerfile("ci")
    tools = re.search(r"(?m)^  TOOLS: (\S+)$", (ROOT / ".gitlab-ci.yml").read_text())
    assert tools is not None and f"WORKDIR {tools[1]}\n" in text
    assert "/usr/local/bin/ruter-dagster" in text
    for sources in re.findall(r"(?m)^COPY (.*) \S+$", text):
        for name in sources.split():
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / name, tmp_path / name)
    assert (tmp_path / "terraform" / "teardown" / "main.tf").exists()
    assert (tmp_path / "scripts" / "cloud" / "sandbox").exists()
    # -S: the base image's own Python has no packages.
    command = [sys.executable, "-S", str(tmp_path / "scripts" / "cloud" / "sandbox_id"), "feature/x"]
    done = subprocess.run(command, cwd=tmp_path, env={}, text=True, capture_output=True)
    assert done.stdout.startswith("s-x-"), done.stderr
