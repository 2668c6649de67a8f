"""Lines that `ruter-dagster dev` prints besides Dagster's own."""

from __future__ import annotations

import shlex
from pathlib import Path

from ruter_dagster.commands.dev import mlflow_hint
from ruter_dagster.config.settings import load_settings


def test_mlflow_command_names_the_experiments_in_use(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, state_dir=tmp_path / "my state")
    _, command, page = mlflow_hint(settings).split("`")
    words = shlex.split(command)
    assert words[1:4] == ["server", "--port", "5000"]
    assert page == " and open http://127.0.0.1:5000/#/experiments/1/runs"
    assert words[-1] == f"sqlite:///{tmp_path}/my state/demo/mlflow/mlflow.db"


def test_mlflow_server_is_named_by_its_address() -> None:
    settings = load_settings(_env_file=None, mlflow_tracking_uri="https://mlflow.example.org")
    assert mlflow_hint(settings) == "MLflow: https://mlflow.example.org"


def test_report_links_lead_to_the_served_address() -> None:
    settings = load_settings(_env_file=None)
    assert settings.report_page("quality/reports/x.html") == "http://127.0.0.1:3001/quality/reports/x.html"
