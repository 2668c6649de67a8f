"""What hadolint (`make check`) does not know of both Dockerfiles: locked packages, no secret, no source that the context leaves out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
both = pytest.mark.parametrize("name", ["jobs", "orchestrator"])


def dockerfile(name: str) -> str:
    """The text of a Dockerfile, without comments and line continuations."""
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text()
    return re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", text))


@both
def test_everything_installed_is_locked_by_hash_and_compiled(name: str) -> None:
    installs = re.findall(r"pip install[^&\n]*", dockerfile(name))
    assert len(installs) == {"jobs": 3, "orchestrator": 4}[name]
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install
    assert all("--compile-bytecode" in install for install in installs if "$VENV" in install)


@both
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
