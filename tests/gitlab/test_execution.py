"""Jobs of a sandbox executed in a shell, with scripts that stand for Terraform, Docker and the AWS CLI."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.gitlab.pipeline import Pipeline

pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("gitlab")]

PROJECT = {
    "AWS_REGION": "eu-north-1",
    "STATE_BUCKET": "rd-state-123456789012-eu-north-1",
    "ECR_REGISTRY": "123456789012.dkr.ecr.eu-north-1.amazonaws.com",
    "SANDBOX_ROLE_ARN": "arn:aws:iam::123456789012:role/rd-ci-sandbox",
    "SANDBOX_BOUNDARY_ARN": "arn:aws:iam::123456789012:policy/rd-sandbox-boundary",
}
COMMANDS = {
    "make": '[ "$1" != definitions ] || { mkdir -p terraform/stack/rendered; echo "$*" > terraform/stack/rendered/made-by; }',
    "docker": 'case "$1" in login) cat >/dev/null ;; esac',
    "aws": """case "$*" in
  *describe-images*) echo sha256:0000000000000000000000000000000000000000000000000000000000000000 ;;
esac""",
    "terraform": """case "$*" in
  *"apply"*)
    env | grep -E '^(TF_VAR_|AWS_ROLE_ARN|AWS_WEB)' > "$RECORD/apply"
    cp terraform/stack/rendered/made-by "$RECORD/" ;;
  *"output -raw dagster_url"*) printf https://dagster.example.org ;;
esac""",
    "ruter-dagster": 'echo "$* url=${DAGSTER_URL:-}" >> "$RECORD/smoke"',
}
MATERIALISED = """
import sys
from dagster import AssetKey, DagsterInstance
with DagsterInstance.from_config(sys.argv[1]) as instance:
    print(instance.get_materialized_partitions(AssetKey(["raw", "stop_visits"])))
"""


@pytest.fixture
def sandbox(branch: Pipeline, tmp_path: Path) -> Pipeline:
    """Pipelines whose jobs call the scripts of `COMMANDS`, which write into the folder RECORD."""
    for name, body in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    return replace(branch, variables=PROJECT | {"RECORD": str(tmp_path)}, commands=tmp_path)


def test_a_sandbox_gets_images_and_definitions_of_its_pipeline(sandbox: Pipeline, tmp_path: Path) -> None:
    sandbox.run("sandbox-smoke", needs=True)
    values = dict(line.split("=", 1) for line in (tmp_path / "apply").read_text().splitlines())
    digest = "sha256:" + 64 * "0"
    assert values["TF_VAR_jobs_image"] == f"{PROJECT['ECR_REGISTRY']}/rd-jobs@{digest}"
    assert values["TF_VAR_orchestrator_image"] == f"{PROJECT['ECR_REGISTRY']}/rd-dagster@{digest}"
    assert values["AWS_ROLE_ARN"] == PROJECT["SANDBOX_ROLE_ARN"]
    assert Path(values["AWS_WEB_IDENTITY_TOKEN_FILE"]).read_text() == "token-of-the-tests"
    assert (tmp_path / "made-by").read_text() == "definitions\n"
    smoke = (tmp_path / "smoke").read_text()
    assert smoke.startswith("sandbox-smoke s-x-") and smoke.endswith(" url=https://dagster.example.org\n")


def test_a_sandbox_is_stopped_by_the_scripts_of_the_image(sandbox: Pipeline, tmp_path: Path) -> None:
    scripts = tmp_path / "image" / "scripts" / "cloud"
    scripts.mkdir(parents=True)
    (scripts / "sandbox").write_text(
        '#!/bin/bash\necho "$1 $CI_COMMIT_REF_NAME $AWS_ROLE_ARN" > "$RECORD/down"\n'
    )
    (scripts / "sandbox").chmod(0o755)
    sandbox.run("sandbox-down", TOOLS=str(tmp_path / "image"))
    assert (tmp_path / "down").read_text() == f"down feature/x {PROJECT['SANDBOX_ROLE_ARN']}\n"


def test_a_failed_job_fails_its_pipeline(sandbox: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "terraform").write_text("#!/bin/bash\nexit 1\n")
    assert sandbox.run("sandbox-smoke", needs=True, check=False).returncode != 0
    assert not (tmp_path / "smoke").exists()


def test_smoke_job_materialises_a_partition_in_a_fresh_checkout(sandbox: Pipeline, tmp_path: Path) -> None:
    """`make install` is replaced: the environment of the tests has the same lock."""
    environment = Path(sys.executable).parents[1]
    (tmp_path / "make").write_text(f'#!/bin/bash\n[ "$*" = install ] && ln -s {environment} .venv\n')
    sandbox.run("smoke", RUTER_STATE_DIR=str(tmp_path / "state"))
    partitions = subprocess.run(
        [sys.executable, "-c", MATERIALISED, str(sandbox.folder)],
        cwd=sandbox.folder,
        env=os.environ | {"RUTER_STATE_DIR": str(tmp_path / "state")},
        text=True,
        capture_output=True,
    )
    assert partitions.stdout == "{'2026-11-19'}\n", partitions.stderr
