"""The job `merge-request-report` compares with the settings of the sandbox's containers, and without their secrets."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "cloud" / "sandbox"
VARIABLES = {
    "RUTER_ENVIRONMENT": "s-seats-1a2b3c",
    "RUTER_BRANCH": "it's $HOME",
    "RUTER_SECRETS": "arn:secret",
    "KAFKA_BOOTSTRAP_SERVERS": "broker:9092",
    "RUTER_KAFKA_SASL_USERNAME": "ruter",
}


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a `terraform` that knows the variables, and a `ruter-dagster` that prints its arguments and variables."""
    (tmp_path / "variables.json").write_text(json.dumps(VARIABLES))
    terraform = f'case "$*" in *"output -json variables"*) cat {tmp_path}/variables.json ;; esac'
    ours = 'echo "$@"; env | grep -E "^(RUTER|KAFKA)_" | sort'
    for name, text in (("terraform", terraform), ("ruter-dagster", ours)):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    return tmp_path


def report(programs: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("RUTER_", "KAFKA_"))
    }
    paths = {"PATH": f"{programs}:{os.environ['PATH']}", "TF_DATA_DIR": str(programs / "data")}
    state = {"STATE_BUCKET": "state", "AWS_REGION": "eu-north-1"}
    environment = {**inherited, **paths, **state, **variables}
    return subprocess.run([SCRIPT, "report"], env=environment, capture_output=True, text=True)


def test_report_has_the_settings_of_the_sandbox_without_secrets(programs: Path) -> None:
    result = report(programs, SANDBOX_ID="s-seats-1a2b3c", DAGSTER_URL="https://dagster.test")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "compare --with prod --post",
        "RUTER_BRANCH=it's $HOME",
        "RUTER_DAGSTER_URL=https://dagster.test",
        "RUTER_ENVIRONMENT=s-seats-1a2b3c",
    ]


def test_report_without_a_sandbox_says_which_job_makes_it(programs: Path) -> None:
    result = report(programs, SANDBOX_ID="")
    assert result.returncode != 0
    assert "The job sandbox-up sets SANDBOX_ID" in result.stderr


def test_report_fails_if_the_comparison_fails(programs: Path) -> None:
    (programs / "ruter-dagster").write_text("#!/bin/sh\nexit 3\n")
    assert report(programs, SANDBOX_ID="s-seats-1a2b3c").returncode == 3
