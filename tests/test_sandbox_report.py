"""The job `merge-request-report` clones, forecasts and compares with the settings of the sandbox, and without their secrets."""

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
    ours = 'echo "$@"; [ "$1" != compare ] || env | grep -E "^(RUTER|KAFKA)_" | sort'
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
        "clone --from prod --replace",
        "sandbox-run s-seats-1a2b3c -- ruter-dagster reforecast",
        "compare --with prod --post",
        "RUTER_BRANCH=it's $HOME",
        "RUTER_DAGSTER_URL=https://dagster.test",
        "RUTER_ENVIRONMENT=s-seats-1a2b3c",
    ]


def test_note_links_to_the_dashboard_of_the_sandbox(programs: Path) -> None:
    result = report(programs, SANDBOX_ID="s-seats-1a2b3c", QUICKSIGHT_URL="https://quicksight.test/1")
    assert "compare --with prod --link QuickSight=https://quicksight.test/1 --post" in result.stdout


def test_report_compares_with_the_chosen_environment(programs: Path) -> None:
    result = report(programs, SANDBOX_ID="s-seats-1a2b3c", COMPARE_WITH="stage")
    assert "clone --from stage --replace\n" in result.stdout
    assert "compare --with stage --post\n" in result.stdout


def test_report_before_the_first_production_can_be_switched_off(programs: Path) -> None:
    result = report(programs, SANDBOX_ID="s-seats-1a2b3c", COMPARE_WITH="none")
    assert (result.returncode, result.stdout) == (0, "COMPARE_WITH is none: nothing is compared\n")


def test_report_passes_if_production_cannot_be_read_yet(programs: Path) -> None:
    (programs / "ruter-dagster").write_text('#!/bin/sh\necho "$1"; exit 3\n')
    result = report(programs, SANDBOX_ID="s-seats-1a2b3c")
    assert result.returncode == 0
    assert result.stdout.startswith("clone\nNothing is compared: prod has no forecasts yet")


@pytest.mark.parametrize("command", ["clone", "sandbox-run", "compare"])
def test_failed_command_ends_the_report(programs: Path, command: str) -> None:
    (programs / "ruter-dagster").write_text(f'#!/bin/sh\necho "$1"; [ "$1" != {command} ] || exit 4\n')
    result = report(programs, SANDBOX_ID="s-seats-1a2b3c")
    assert result.returncode == 4
    assert result.stdout.splitlines()[-1] == command


def test_report_without_a_sandbox_says_which_job_makes_it(programs: Path) -> None:
    result = report(programs, SANDBOX_ID="")
    assert result.returncode != 0
    assert "The job sandbox-up sets SANDBOX_ID" in result.stderr
