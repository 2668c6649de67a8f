"""What README and pages show is run here: Python, YAML, and the commands for a first job."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    Component,
    Definitions,
    ExecuteInProcessResult,
    component_defs,
    materialize,
)
from dagster.components.testing.utils import create_defs_folder_sandbox

import dagster_sagemaker
from dagster_sagemaker_tests.conftest import needs_dg
from dagster_sagemaker_tests.fake_aws import completes, fails, materialised

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLE = ROOT / "examples" / "passenger_loads"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def named_block(page: Path, name: str) -> str:
    """The block below a line with the name of its file."""
    found = re.search(
        rf"^`{re.escape(name)}`\n\n```\w+\n(.*?)```", page.read_text(), re.DOTALL | re.MULTILINE
    )
    assert found, f"{page.name} has no file {name}"
    return found[1]


def run_block(page: Path, defined: str) -> dict[str, Any]:
    """The names of the Python block that defines a function or class."""
    (code,) = (
        block for block in blocks(page, "python") if re.search(rf"^(def|class) {defined}\b", block, re.M)
    )
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, page, "exec", dont_inherit=True), names)
    return names


PYTHON = [
    pytest.param(page, code, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, code in enumerate(blocks(page, "python"))
]
YAML = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, code in enumerate(blocks(page, "yaml"))
]


@pytest.mark.parametrize(("page", "code"), PYTHON)
def test_python_of_pages_runs(page, code):
    program = compile(code, page, "exec", dont_inherit=True)
    if "dagster_aws" in code:
        pytest.importorskip("dagster_aws")
    if code != named_block(ROOT / "README.md", "job.py"):  # runs in a container
        names: dict[str, Any] = {"__name__": "page"}
        exec(program, names)
        if isinstance(defs := names.get("defs"), Definitions):
            Definitions.validate_loadable(defs)


@pytest.mark.parametrize("code", YAML)
def test_yaml_of_pages_loads(code):
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "job"
        folder.mkdir()
        (folder / "defs.yaml").write_text(code)
        with sandbox.load_component_and_build_defs(folder) as (component, _):
            assert isinstance(component, Component)
            defs = component_defs(component=component, resources={"processing": None})
            Definitions.validate_loadable(defs)


@pytest.mark.parametrize("page", [*PAGES, EXAMPLE / "README.md"], ids=lambda page: page.stem)
def test_links_of_pages_exist(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_readme_names_every_public_name():
    table = (ROOT / "README.md").read_text().partition("## Which names are public?")[2]
    named = {
        name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)
    }
    assert named == set(dagster_sagemaker.__all__)


def test_metadata_page_lists_every_entry():
    sources = "".join(file.read_text() for file in (ROOT / "dagster_sagemaker").glob("*.py"))
    listed = set(re.findall(r"`([\w/]+?)(?:/<name>)?`", (ROOT / "docs/metadata.md").read_text()))
    events = {"job"}  # of engine events, not of results
    assert set(re.findall(r'"sagemaker/(\w+)', sources)) - events <= listed


def test_pacing_page_states_every_interval():
    page = (ROOT / "docs/messages-and-logs.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", page, re.M)
    stated = {name: float(value.replace(",", "")) for name, value in rows}
    assert stated == asdict(dagster_sagemaker.Pacing())


def test_every_job_of_the_page_is_within_limits():
    for code in blocks(ROOT / "docs/jobs.md", "python") + blocks(ROOT / "docs/metadata.md", "python"):
        names: dict[str, Any] = {}
        exec(compile(code, "page", "exec", dont_inherit=True), names)
        if job := names.get("job"):
            instance_type = (job.instance_types or ("",))[0]
            request = dagster_sagemaker.create_request(job, "job", instance_type, folder="s3://my-bucket/a")
            dagster_sagemaker.preflight(request)


def materialized(runner: Any, assets: list[Any], **options: Any) -> ExecuteInProcessResult:
    clients = {"processing": runner.client("Processing"), "training": runner.client("Training")}
    return materialize(assets, resources=clients, instance=runner.instance, raise_on_error=False, **options)


def test_features_of_the_page_run_as_a_processing_job(runner):
    runner.aws.scripts = [completes(report=[materialised("features")])]
    names = run_block(ROOT / "docs/jobs.md", "features")
    assert materialized(runner, [names["features"]], partition_key="2026-11-01").success
    (job,) = runner.aws.jobs.values()
    assert job.kind == "Processing"
    (parameters,) = (text for key, (text, _) in runner.aws.objects.items() if "parameters.json" in key)
    assert parameters == '{"day": "2026-11-01"}'


def test_model_of_the_page_resumes_from_its_checkpoint_in_any_run(runner):
    runner.aws.scripts = [fails("AlgorithmError: exit code: 1"), completes(report=[materialised("model")])]
    names = run_block(ROOT / "docs/jobs.md", "model")
    for _ in range(2):
        materialized(runner, [names["model"]], partition_key="2026-11-01")
    first, second = (job.request["CheckpointConfig"] for job in runner.aws.jobs.values())
    assert first == second


def test_training_of_the_page_continues_from_its_checkpoint(tmp_path):
    train, checkpoint = run_block(ROOT / "docs/jobs.md", "train")["train"], tmp_path / "trees.json"
    checkpoint.write_text("200")
    assert [train(500, checkpoint), train(500, checkpoint)] == [300, 500]


def test_jobs_of_the_page_run_side_by_side(runner):
    runner.aws.scripts = [completes(report=[materialised("loads")])] * 3
    names = run_block(ROOT / "docs/jobs.md", "loads")
    assert materialized(runner, [names["loads"]]).success
    assert len(runner.aws.jobs) == 3


def test_request_of_the_page_runs(runner):
    runner.aws.scripts = [completes(report=[materialised("counts")])]
    names = run_block(ROOT / "docs/jobs.md", "counts")
    assert materialized(runner, [names["counts"]]).success


def test_missing_data_of_the_page_becomes_an_empty_table(runner):
    runner.aws.scripts = [fails("AlgorithmError: , exit code: 66")]
    names = run_block(ROOT / "docs/faults.md", "loads")
    result = materialized(runner, [names["loads"]])
    (event,) = result.asset_materializations_for_node("loads")
    assert event.metadata["rows"].value == 0


def test_failure_of_the_page_leaves_message_and_exit_code(tmp_path):
    fail, file = run_block(ROOT / "docs/containers.md", "fail")["fail"], tmp_path / "output" / "message"
    with pytest.raises(SystemExit) as ended:
        fail("x" * 2000, 66, file)
    assert ended.value.code == 66
    assert file.read_text().endswith("\nexit code: 66") and len(file.read_text()) <= 1024


def test_example_project_loads(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    for name, value in {
        "BUCKET": "bucket",
        "IMAGE": "image:1",
        "ROLE": "arn:aws:iam::123456789012:role/jobs",
    }.items():
        monkeypatch.setenv(name, value)
    from passenger_loads.definitions import defs  # pyright: ignore[reportMissingImports]

    assert {spec.key.to_user_string() for spec in defs().resolve_all_asset_specs()} == {"features", "model"}


def environment() -> dict[str, str]:
    """Without variables of AWS; programs of this environment first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DAGSTER_"))}
    return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.extended
def test_example_project_runs_on_the_double():
    ran = subprocess.run(
        [sys.executable, EXAMPLE / "run_on_double.py"], env=environment(), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    shown = dict(re.findall(r"^  (\S+) +(.*)$", ran.stdout, re.M))
    assert shown["departures"] == "320"
    assert float(shown["mae"]) < float(shown["mae_of_the_mean"])
    assert float(shown["sagemaker/metric/mae"]) == pytest.approx(float(shown["mae"]), abs=1e-3)


@needs_dg
@pytest.mark.extended
def test_first_job_of_the_readme_runs_as_written(tmp_path):
    readme = ROOT / "README.md"
    for name in ("job.py", "definitions.py"):
        (tmp_path / name).write_text(named_block(readme, name))
    # On a slow machine, the process that copies captured lines to the terminal may end before it has copied the last ones.
    (tmp_path / "dagster.yaml").write_text(
        "compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}"
    )
    _, start, command, _ = blocks(readme, "sh")
    program = start.replace("5001", str(free_port())).replace(
        "sagemaker-double --port", f"{sys.executable} -m sagemaker_double --port"
    )
    script = f"set -e\ntrap 'kill %1; wait' EXIT\n{program}\n{command}"
    env = {**environment(), "DAGSTER_HOME": str(tmp_path)}
    ran = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    output = ran.stdout + ran.stderr
    assert ran.returncode == 0, output
    for line in blocks(readme, "text")[0].splitlines():
        # Names of jobs and durations differ.
        shape = re.sub(r"total-\w+-0", "total-X-0", line).partition(" in ")[0]
        assert shape in re.sub(r"total-\w+-0", "total-X-0", output), output


@pytest.mark.extended
def test_test_of_the_page_passes_as_written(tmp_path):
    (tmp_path / "job.py").write_text(named_block(ROOT / "README.md", "job.py"))
    (tmp_path / "test_total.py").write_text(named_block(ROOT / "docs/jobs.md", "test_total.py"))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, str(tmp_path)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert "1 passed" in ran.stdout, ran.stdout + ran.stderr


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
