"""The module `definitions` refuses files that are missing or that other code wrote. It needs no provider."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ruter_dagster.dashboards.views import VIEWS
from tests.terraform.terraform import ROOT, rendered, terraform

pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("terraform")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with the module, the files, and a copy of the code."""
    shutil.copytree(rendered(), tmp_path / "rendered")
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("ruter_dagster", "packages/dagster-sagemaker/dagster_sagemaker"):
        shutil.copytree(ROOT.parent / package, tmp_path / "code" / package, ignore=ignored)
    arguments = {"folder": "${path.module}/rendered", "repository": "${path.module}/code"}
    (tmp_path / "main.tf.json").write_text(
        json.dumps(
            {
                "module": {"definitions": {"source": str(ROOT / "modules" / "definitions"), **arguments}},
                "output": {"views": {"value": "${keys(module.definitions.definitions.views)}"}},
            }
        )
    )
    run(tmp_path, "init", "-input=false")
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | {"TF_CLI_CONFIG_FILE": os.devnull}
    return subprocess.run(
        [terraform(), *arguments, "-no-color"], cwd=folder, env=variables, capture_output=True, text=True
    )


def errors(folder: Path) -> str:
    """The errors of an apply in one line, without the frame that Terraform draws."""
    done = run(folder, "apply", "-auto-approve", "-input=false")
    return " ".join(done.stderr.replace("│", " ").split()) if done.returncode else ""


def test_files_of_this_code_are_read(root: Path) -> None:
    assert errors(root) == ""
    assert json.loads(run(root, "output", "-json", "views").stdout) == sorted(VIEWS)


def test_files_without_code_beside_them_are_read(root: Path) -> None:
    shutil.rmtree(root / "code")
    assert errors(root) == ""


def test_missing_files_are_refused(root: Path) -> None:
    shutil.rmtree(root / "rendered")
    assert "Write them with `make definitions`, or download the artifact of the job `definitions`." in errors(
        root
    )


def test_destroy_needs_no_files(root: Path) -> None:
    assert errors(root) == ""
    shutil.rmtree(root / "rendered")
    assert run(root, "destroy", "-auto-approve", "-input=false").returncode == 0


@pytest.mark.parametrize("change", ["changed", "added", "removed"])
def test_files_of_other_code_are_refused(root: Path, change: str) -> None:
    package = root / "code" / "ruter_dagster" / "dashboards"
    if change == "removed":
        (package / "views.py").unlink()
    else:
        (package / ("views.py" if change == "changed" else "new.py")).write_text("VIEWS = {}\n")
    assert "was written from other code than this. Write it again with `make definitions`." in errors(root)
