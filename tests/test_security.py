"""What `make check-security` and `make audit` find, and that each exception says why."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIGURATION = yaml.safe_load((ROOT / ".checkov.yaml").read_text())


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, text=True, capture_output=True)
    return listed.stdout.splitlines()


def test_every_exception_names_one_check_and_a_reason() -> None:
    without = [
        f"{name}: {line.strip()}"
        for name in tracked()
        if (ROOT / name).suffix in {".tf", ".py", ".yml", ".Dockerfile"} and name != "tests/test_security.py"
        for line in (ROOT / name).read_text().splitlines()
        if "checkov:skip=" in line and not re.search(r"checkov:skip=CKV2?_[A-Z]+_\d+:\S.{9,}$", line)
    ]
    assert without == []


def test_no_check_is_left_out_everywhere() -> None:
    assert {"terraform", "gitlab_ci", "dockerfile", "secrets"} <= set(CONFIGURATION["framework"])
    assert CONFIGURATION.keys() & {"skip-check", "check", "soft-fail", "baseline", "hard-fail-on"} == set()


def test_only_locks_are_not_scanned() -> None:
    """Their hashes look like secrets."""
    patterns = [re.compile(pattern) for pattern in CONFIGURATION["skip-path"]]
    skipped = [name for name in tracked() if any(pattern.search(name) for pattern in patterns)]
    assert skipped
    assert [
        name for name in skipped if not re.fullmatch(r"requirements.*\.lock|.*/\.terraform\.lock\.hcl", name)
    ] == []


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    """A copy of scripts/audit. Scripts stand for Python, which asks pypi.org, and for pip-audit."""
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "audit"
    script.write_text((ROOT / "scripts" / "audit").read_text())
    script.chmod(0o755)
    (tmp_path / ".venv-security" / "bin").mkdir(parents=True)
    for name in ("requirements.lock", "requirements-docs.lock"):
        (tmp_path / name).write_text("")
    return script


@pytest.mark.parametrize(
    ("index", "vulnerable", "status"),
    [(0, "none", 0), (0, "requirements-docs.lock", 1), (1, "none", 3)],
    ids=["nothing found", "vulnerable", "no answer"],
)
def test_audit_status_shows_its_result(audit: Path, index: int, vulnerable: str, status: int) -> None:
    bin_folder = audit.parents[1] / ".venv-security" / "bin"
    for name, body in {
        "python": f"exit {index}",
        "pip-audit": f'echo "audited $*"; case "$*" in *--strict*{vulnerable}) exit 1 ;; esac',
    }.items():
        (bin_folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (bin_folder / name).chmod(0o755)
    done = subprocess.run([str(audit)], text=True, capture_output=True)
    assert done.returncode == status, done.stderr
    assert done.stdout.count("audited") == (0 if status == 3 else 2)
    assert ("No audit" in done.stderr) == (status == 3)


@pytest.mark.extended
def test_scan_finds_an_open_port_and_a_secret(tmp_path: Path) -> None:
    subprocess.run(
        ["make", ".venv-security/installed"], cwd=ROOT, check=True, capture_output=True, timeout=600
    )
    (tmp_path / "main.tf").write_text(
        'resource "aws_security_group_rule" "open" {\n  type = "ingress"\n  from_port = 22\n  to_port = 22\n'
        '  protocol = "tcp"\n  cidr_blocks = ["0.0.0.0/0"]\n  security_group_id = "sg-1"\n}\n'
    )
    # Joined here, so that this file has no secret.
    (tmp_path / "settings.py").write_text(f'KEY = "{"AKIA" + "Z7QXW3LM5RT2YB6K"}"\n')
    configuration = tmp_path / "checkov.yaml"
    configuration.write_text(yaml.safe_dump(CONFIGURATION | {"directory": [str(tmp_path)]}))
    done = subprocess.run(
        [str(ROOT / ".venv-security" / "bin" / "checkov"), "--config-file", str(configuration)],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "CKV_AWS_24" in done.stdout and "CKV_SECRET_2" in done.stdout
