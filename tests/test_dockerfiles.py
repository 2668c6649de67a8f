"""Both Dockerfiles keep the rules that can be read off them: what they start from, take in, install and run as."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.dockerfile import ROOT, VENV, Dockerfile

JOBS, ORCHESTRATOR = (Dockerfile(ROOT / f"docker/{name}.Dockerfile") for name in ("jobs", "orchestrator"))
both = pytest.mark.parametrize("dockerfile", (JOBS, ORCHESTRATOR), ids=lambda found: found.path.name)


@both
def test_the_base_is_a_version_that_a_digest_can_pin(dockerfile: Dockerfile):
    defaults = dict(argument.text.split("=") for argument in dockerfile.only("ARG")[:2])
    version = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-[a-z]+", defaults["BASE"])
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert version and version[1] in ("3.11", "3.12", "3.13") and supported == ">=3.11,<3.14"
    stages = [stage.text.rsplit(" AS ")[0] for stage in dockerfile.only("FROM")]
    assert stages == ["${BASE}${BASE_DIGEST:+@${BASE_DIGEST}}"] * 2, "both stages have the same Python"


@both
def test_what_is_copied_is_what_the_context_lets_in(dockerfile: Dockerfile):
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*", "everything is kept out but what is named"
    let_in = {re.compile(line[1:].replace("*", "[a-z]+")) for line in ignored if line.startswith("!")}
    copies = [copy.copied[0] for copy in dockerfile.only("COPY") if "--from" not in copy.text]
    for source in [source for sources in copies for source in sources]:
        assert any(pattern.fullmatch(source) for pattern in let_in), f"{source} is not let in"
        assert (ROOT / source).exists()
    assert not dockerfile.only("ADD")


@both
def test_everything_installed_is_locked_by_hash_and_compiled(dockerfile: Dockerfile):
    installs = re.findall(r"pip install[^&]*", " && ".join(run.text for run in dockerfile.only("RUN")))
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install
    assert all("--compile-bytecode" in install for install in installs if "$VENV" in install)


@both
def test_packages_of_the_system_leave_no_lists_behind(dockerfile: Dockerfile):
    for run in (run.text for run in dockerfile.only("RUN") if "apt-get" in run.text):
        assert run.index("apt-get update") < run.index("apt-get install")
        assert "--no-install-recommends" in run and "rm -rf /var/lib/apt/lists/*" in run


@both
def test_nothing_secret_goes_in(dockerfile: Dockerfile):
    text = " ".join(f"{one.name} {one.text}" for one in dockerfile.instructions)
    assert not re.search(r"(?i)secret|token|password|credential|AWS_|--extra-index|://", text)


@both
def test_the_image_has_the_environment_and_nothing_of_the_build(dockerfile: Dockerfile):
    copies = [one.text for one in dockerfile.image if one.name == "COPY"]
    assert copies[0] == f"--from=build {VENV} {VENV}"
    assert copies[1:] in ([], ["docker/dagster.yaml /opt/dagster/dagster.yaml"])
    assert dockerfile.variables(dockerfile.image)["PATH"] == f"{VENV}/bin:$PATH"
    assert dockerfile.variables(dockerfile.stages["build"])["VENV"] == VENV


@both
def test_signals_reach_python(dockerfile: Dockerfile):
    (command,) = (one for one in dockerfile.image if one.name in ("ENTRYPOINT", "CMD"))
    assert command.exec_form[0] in ("python", "dagster"), "the exec form, and no shell or init between"


def test_dagster_runs_as_nobody_of_importance():
    assert [user.text for user in ORCHESTRATOR.only("USER")] == ["1000:1000"]


def test_jobs_name_the_user_that_they_go_on_as():
    assert not JOBS.only("USER"), "another user could not write to /opt/ml/output, which belongs to root"
    assert JOBS.variables(JOBS.image)["RUTER_CONTAINER_USER"] == "ruter"
    assert any(one.text.endswith("--create-home ruter") for one in JOBS.image if one.name == "RUN")
