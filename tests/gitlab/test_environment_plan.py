"""scripts/cloud/environment plans and applies one environment. A script stands for Terraform."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TERRAFORM = """#!/bin/bash
echo "$*" >> "$CALLS"
case "$*" in
  *" plan "*) env | grep ^TF_VAR_ >> "$CALLS"; [ "$ENVIRONMENT" != stage ] ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts, and a folder of the stack."""
    shutil.copytree(ROOT / "scripts" / "cloud", tmp_path / "scripts" / "cloud")
    (tmp_path / "terraform" / "stack").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "terraform").write_text(TERRAFORM)
    (tmp_path / "bin" / "terraform").chmod(0o755)
    return tmp_path


def run(checkout: Path, command: str, environment: str, **variables: str) -> subprocess.CompletedProcess[str]:
    values = {
        "PATH": f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(checkout / "calls"),
        "ENVIRONMENT": environment,
        "STATE_BUCKET": "rd-state-123456789012-eu-north-1",
        "AWS_REGION": "eu-north-1",
        "CI_COMMIT_REF_NAME": "main",
        "CI_COMMIT_SHA": "0123abc",
        **variables,
    }
    script = str(checkout / "scripts" / "cloud" / "environment")
    return subprocess.run([script, command], env=values, text=True, capture_output=True, timeout=60)


def test_a_plan_is_saved_for_the_apply(checkout: Path) -> None:
    done = run(checkout, "plan", "dev")
    assert done.returncode == 0, done.stderr
    calls = (checkout / "calls").read_text()
    assert "-out=dev.tfplan" in calls
    assert "TF_VAR_branch=main\n" in calls and "TF_VAR_commit=0123abc\n" in calls
    pipeline = (ROOT / ".gitlab-ci.yml").read_text()
    assert "paths: [terraform/stack/$ENVIRONMENT.tfplan]" in pipeline, "`-out` is relative to the root"


def test_a_failed_plan_fails_the_job(checkout: Path) -> None:
    assert run(checkout, "plan", "stage").returncode != 0


def test_an_apply_takes_the_saved_plan_and_nothing_else(checkout: Path) -> None:
    assert run(checkout, "apply", "dev").returncode == 0
    last = (checkout / "calls").read_text().splitlines()[-1]
    assert last.endswith("apply -input=false -lock-timeout=60s dev.tfplan")


def test_a_secret_that_cannot_be_read_fails_the_apply(checkout: Path) -> None:
    aws = checkout / "bin" / "aws"
    aws.write_text("#!/bin/bash\necho AccessDeniedException >&2; exit 254\n")
    aws.chmod(0o755)
    done = run(checkout, "apply", "dev", PASSWORDS="{}", POLL_SECONDS="1")
    assert done.returncode != 0
    assert done.stderr.count("AccessDeniedException") == 1


def test_first_passwords_are_set_after_the_apply_at_the_latest(checkout: Path) -> None:
    aws = checkout / "bin" / "aws"
    aws.write_text(
        '#!/bin/bash\ncase "$*" in *describe-secret*) echo 0 ;; *) cat > "$CALLS.secret" ;; esac\n'
    )
    aws.chmod(0o755)
    done = run(checkout, "apply", "dev", PASSWORDS='{"a": "b"}', POLL_SECONDS="60")
    assert done.returncode == 0, done.stderr
    assert (checkout / "calls.secret").read_text() == '{"a": "b"}'
