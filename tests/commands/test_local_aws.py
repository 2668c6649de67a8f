"""The double of AWS for the demo: it needs a checkout, and its settings end with it."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from ruter_dagster.commands import local_aws
from ruter_dagster.commands.cli import main
from ruter_dagster.commands.local_aws import sagemaker_double
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.errors import PermanentFailure

DEPLOYMENT = {
    "RUTER_SECRETS": "ruter/prod",
    "RUTER_LAKE": "s3://prod/lake",
    "RUTER_GLUE_DATABASE": "prod",
    "RUTER_SAGEMAKER_JOBS": "prod.toml",
    "RUTER_JOB_EVENTS_QUEUE": "https://sqs.eu-north-1.amazonaws.com/123456789012/jobs",
    "RUTER_ARRIVALS_QUEUE": "https://sqs.eu-north-1.amazonaws.com/123456789012/arrivals",
    "RUTER_SLACK_TOKEN": "xoxb",
    "RUTER_KAFKA_SECURITY_PROTOCOL": "SSL",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka.example.org:9092",
    "AWS_PROFILE": "production",
}


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path))
    for name in ("RUTER_LAUNCHER", "RUTER_DEMO_SEED", *DEPLOYMENT):
        monkeypatch.delenv(name, raising=False)

    def read_secret(name: str, _region: Any) -> dict[str, str]:
        assert name == local_aws.SECRET, "the user's secret was read"
        return {}

    monkeypatch.setattr("ruter_dagster.config.aws.secret_values", read_secret)
    monkeypatch.setattr(local_aws, "_broker", nullcontext)


def write_deployment(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if where == ".env":
        lines = (f"{name}={value}" for name, value in {**DEPLOYMENT, "RUTER_DEMO_SEED": "7"}.items())
        Path(".env").write_text("\n".join(lines))
        return
    for name, value in {**DEPLOYMENT, "RUTER_DEMO_SEED": "7"}.items():
        monkeypatch.setenv(name, value)


def test_missing_double_is_named_with_its_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_aws, "find_spec", lambda name: None)
    with pytest.raises(PermanentFailure, match="in a checkout of the project"), sagemaker_double(Console()):
        pass


def test_settings_name_the_double_only_within_the_context(tmp_path: Path) -> None:
    left = tmp_path / "on-sagemaker-double" / "history"
    left.mkdir(parents=True)
    before = dict(os.environ)
    with sagemaker_double(Console()):
        within = load_settings()
        assert within.runs_in_sagemaker
        assert within.lake_dir == "s3://ruter-dagster-demo/lake/local/demo"
        assert within.state_dir == tmp_path / "on-sagemaker-double"
        assert os.environ["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
        assert not left.exists(), "the history of missing tables is removed"
    assert dict(os.environ) == before


@pytest.mark.parametrize("where", [".env", "variables"])
def test_settings_of_a_real_deployment_are_removed(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_deployment(where, monkeypatch)
    with sagemaker_double(Console()):
        within = load_settings()
        assert "AWS_PROFILE" not in os.environ
        assert os.environ["RUTER_SECRETS"] == local_aws.SECRET
        assert within.demo_seed == 7, "a setting without a deployment stays"
        assert not {str(value) for value in within.model_dump().values()} & set(DEPLOYMENT.values())


@pytest.mark.parametrize("where", [".env", "variables"])
def test_demo_reads_no_settings_of_a_deployment(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_deployment(where, monkeypatch)
    monkeypatch.setattr(local_aws, "find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["demo", "--on", "sagemaker-double"])
    assert result.exit_code == 1
    assert "in a checkout of the project" in result.output
