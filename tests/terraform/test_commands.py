"""scripts/cloud/terraform passes the arguments that each command of Terraform takes. A script stands for Terraform."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "cloud" / "terraform"
Call = Callable[..., list[str]]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Runs the script, and returns the arguments of its last call of Terraform, without -chdir."""
    fake = tmp_path / "terraform"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$CALLS"\n')
    fake.chmod(0o755)
    calls = tmp_path / "calls"

    def run(*arguments: str) -> list[str]:
        variables = os.environ | {
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "CALLS": str(calls),
            "STATE_BUCKET": "rd-state-123456789012-eu-north-1",
            "AWS_REGION": "eu-north-1",
        }
        subprocess.run([str(SCRIPT), *arguments], env=variables, check=True, capture_output=True)
        return calls.read_text().splitlines()[1:]

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ("state", "rm", "module.dagster.aws_db_instance.this"),
        ("state", "push", "-force", "old.tfstate"),
        ("force-unlock", "0123"),
        ("output", "-json", "variables"),
    ],
    ids=" ".join,
)
def test_commands_without_a_plan_get_no_further_arguments(call: Call, arguments: tuple[str, ...]):
    assert call("prod", *arguments) == list(arguments)


@pytest.mark.parametrize("command", ["plan", "destroy", "import"])
def test_commands_with_a_plan_read_the_environments_file(call: Call, command: str):
    file = f"-var-file={ROOT}/terraform/envs/prod.tfvars"
    assert call("prod", command) == [command, "-input=false", "-lock-timeout=60s", file]


def test_apply_of_a_saved_plan_reads_no_file(call: Call):
    assert call("dev", "apply", "dev.tfplan") == ["apply", "-input=false", "-lock-timeout=60s", "dev.tfplan"]


def test_drift_is_planned_with_values_of_the_last_apply(tmp_path: Path):
    fake = tmp_path / "terraform"
    fake.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        """  *output*) echo '{"branch": "main", "commit": "0123abc", "jobs_image": "jobs@sha256:1"}' ;;\n"""
        '  *plan*) env > "$SEEN"; exit 2 ;;\n'
        "esac\n"
    )
    fake.chmod(0o755)
    variables = os.environ | {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "SEEN": str(tmp_path / "seen"),
        "ENVIRONMENT": "dev",
        "STATE_BUCKET": "rd-state-123456789012-eu-north-1",
        "AWS_REGION": "eu-north-1",
    }
    done = subprocess.run(
        [str(SCRIPT.with_name("environment")), "drift"], env=variables, capture_output=True, text=True
    )
    assert (done.returncode, "dev differs from the code" in done.stderr) == (2, True)
    seen = (tmp_path / "seen").read_text().splitlines()
    assert {"TF_VAR_branch=main", "TF_VAR_commit=0123abc", "TF_VAR_jobs_image=jobs@sha256:1"} <= set(seen)


def test_sandbox_has_its_passwords_before_its_containers(tmp_path: Path):
    for name, body in {
        "terraform": 'echo "terraform $*" >> "$SEEN"',
        "aws": 'echo "aws $* $(cat)" >> "$SEEN"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    variables = os.environ | {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "SEEN": str(tmp_path / "seen"),
        "STATE_BUCKET": "rd-state-123456789012-eu-north-1",
        "AWS_REGION": "eu-north-1",
        "BRANCH": "my-branch",
        "CI_COMMIT_SHA": "0123abc",
        "SANDBOX_BOUNDARY_ARN": "arn:aws:iam::123456789012:policy/rd-sandbox-boundary",
        "SANDBOX_PASSWORDS": '{"RUTER_SLACK_TOKEN": "x"}',
    }
    subprocess.run(
        [str(SCRIPT.with_name("sandbox")), "up"], env=variables, cwd=tmp_path, check=True, capture_output=True
    )
    seen = [line for line in (tmp_path / "seen").read_text().splitlines() if " init " not in line]
    assert seen[0].endswith("-target=module.secrets")
    assert "--secret-id rd-s-mybranch-" in seen[1] and seen[1].endswith('{"RUTER_SLACK_TOKEN": "x"}')
    assert " apply " in seen[2] and "-target" not in seen[2]


@pytest.mark.parametrize(("versions", "is_set"), [(0, True), (1, False)], ids=["no value", "a value"])
def test_first_apply_of_an_environment_sets_its_passwords(tmp_path: Path, versions: int, is_set: bool):
    """Terraform creates the secret, and the apply ends when the value is there. Terraform and the AWS CLI are scripts."""
    bodies = {
        "terraform": 'case "$*" in *" apply "*) : > "$SECRET"; until [ -e "$DONE" ]; do sleep 0.1; done ;; esac',
        "aws": """case "$2" in
  describe-secret) [ -e "$SECRET" ] && echo "$VERSIONS" || exit 254; [ "$VERSIONS" = 0 ] || : > "$DONE" ;;
  put-secret-value) cat > "$VALUE"; : > "$DONE" ;;
esac""",
    }
    for name, body in bodies.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    files = {name: str(tmp_path / name.lower()) for name in ("SECRET", "DONE", "VALUE")}
    variables = os.environ | {
        **files,
        "VERSIONS": str(versions),
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "POLL_SECONDS": "0.1",
        "ENVIRONMENT": "dev",
        "PASSWORDS": '{"RUTER_SLACK_TOKEN": "x"}',
        "STATE_BUCKET": "rd-state-123456789012-eu-north-1",
        "AWS_REGION": "eu-north-1",
    }
    script = str(SCRIPT.with_name("environment"))
    subprocess.run([script, "apply"], env=variables, check=True, capture_output=True, timeout=30)
    value = tmp_path / "value"
    assert (value.read_text() if value.exists() else None) == (variables["PASSWORDS"] if is_set else None)


def test_sandbox_reads_the_file_of_sandboxes(call: Call):
    assert call("s-mybranch-1a2b3c", "plan")[-1] == f"-var-file={ROOT}/terraform/envs/sandbox.tfvars"


@pytest.mark.parametrize(
    ("quicksight", "link"),
    [("https://quicksight.test/1", "QuickSight=https://quicksight.test/1"), ("", None)],
)
def test_report_links_to_the_dashboard_of_the_sandbox(tmp_path: Path, quicksight: str, link: str | None):
    terraform = (
        '#!/bin/sh\ncase "$*" in\n'
        f'  *quicksight_url*) echo "{quicksight}"; [ -n "{quicksight}" ] ;;\n'
        "  *dagster_url*) echo https://dagster.test ;;\n"
        '  *variables*) echo "{}" ;;\nesac\n'
    )
    for name, body in {
        "terraform": terraform,
        "ruter-dagster": '#!/bin/sh\nprintf "%s\\n" "$@" >> "$SEEN"\n',
    }.items():
        (tmp_path / name).write_text(body)
        (tmp_path / name).chmod(0o755)
    variables = os.environ | {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "SEEN": str(tmp_path / "seen"),
        "STATE_BUCKET": "rd-state-123456789012-eu-north-1",
        "AWS_REGION": "eu-north-1",
        "BRANCH": "my-branch",
        "CI_COMMIT_SHA": "0123abc",
        "SANDBOX_BOUNDARY_ARN": "arn:aws:iam::123456789012:policy/rd-sandbox-boundary",
    }
    sandbox = str(SCRIPT.with_name("sandbox"))
    subprocess.run([sandbox, "up"], env=variables, cwd=tmp_path, check=True, capture_output=True)
    outputs = dict(line.split("=", 1) for line in (tmp_path / "sandbox.env").read_text().splitlines())
    assert outputs["DAGSTER_URL"] == "https://dagster.test"
    subprocess.run(
        [sandbox, "report"], env=variables | outputs, cwd=tmp_path, check=True, capture_output=True
    )
    seen = (tmp_path / "seen").read_text().splitlines()
    assert (seen[seen.index("--link") + 1] if "--link" in seen else None) == link
