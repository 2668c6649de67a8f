"""`ruter-dagster cost`: the total and the sums as tables and JSON, from the history of the state in the settings."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from dagster import AssetMaterialization
from rich.console import Console

from ruter_dagster.commands.cli import main
from ruter_dagster.commands.cost import CostReport, report_of, show
from ruter_dagster.config.settings import load_settings
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.orchestration.job_costs import JobCost

ROOT = Path(__file__).parents[2]
FIRST, LAST = date(2026, 11, 19), date(2026, 11, 20)
COSTS = [
    JobCost("loads/stop_loads", "run-1", "arn:1", datetime(2026, 11, 19, 22, 30, tzinfo=UTC), 0.5),
    JobCost("loads/stop_loads", "run-2", "arn:2", datetime(2026, 11, 19, 23, 30, tzinfo=UTC), 1.25, "main"),
    JobCost(
        "models/load_model", "run-2", "arn:3", datetime(2026, 11, 20, 4, 0, tzinfo=UTC), 2.0, "main", True
    ),
]


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUTER_ENV_FILE", "")
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("RUTER_BRANCH", "feature/seats")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(ROOT)


def report(costs: list[JobCost]) -> CostReport:
    return report_of(costs, load_settings(), FIRST, LAST, "Europe/Oslo")


def shown(costs: list[JobCost]) -> str:
    output = StringIO()
    show(report(costs), Console(file=output, width=100))
    return output.getvalue()


def test_json_has_total_and_sums_by_asset_run_and_local_day() -> None:
    result = report(COSTS).to_json()
    assert (result["total"], result["jobs"], result["currency"]) == (3.75, 3, "USD")
    assert (result["environment"], result["branch"]) == ("local", "feature/seats")
    assert result["by_day"] == [
        {"day": "2026-11-19", "jobs": 1, "cost": 0.5},
        {"day": "2026-11-20", "jobs": 2, "cost": 3.25},
    ]
    assert result["by_asset"][0] == {"asset": "loads/stop_loads", "jobs": 2, "cost": 1.75}
    assert [item["run"] for item in result["by_run"]] == ["run-1", "run-2"]


def test_json_has_sums_by_branch_and_of_failed_jobs() -> None:
    result = report(COSTS).to_json()
    assert result["by_branch"] == [
        {"branch": "main", "jobs": 2, "cost": 3.25},
        {"branch": "unknown", "jobs": 1, "cost": 0.5},
    ]
    assert result["failed"] == {"jobs": 1, "cost": 2.0}
    assert report(COSTS[:1]).to_json()["failed"] == {"jobs": 0, "cost": 0.0}


def test_tables_show_the_most_expensive_runs_first() -> None:
    text = shown(COSTS)
    assert "2026-11-19 to 2026-11-20, local: 3.75 USD, 3 jobs" in text
    assert text.index("run-2") < text.index("run-1")
    assert "Failed jobs, included: 2.00 USD, 1 jobs" in text


def test_number_of_hidden_runs_is_stated() -> None:
    costs = [JobCost("a", f"run-{number}", f"arn:{number}", COSTS[0].time, 1.0) for number in range(25)]
    assert "5 cheaper runs are in --json" in shown(costs)


def test_history_without_costs_says_so() -> None:
    assert "No cost of a job is recorded from 2026-11-19 to 2026-11-20" in shown([])


def test_command_reads_the_history_of_the_settings() -> None:
    with open_instance() as instance:
        metadata = {"sagemaker/job_arn": "arn:1", "sagemaker/estimated_cost": 0.5}
        instance.report_runless_asset_event(AssetMaterialization("loads", metadata=metadata))
    result = CliRunner().invoke(main, ["cost", "--from", "2026-01-01", "--to", "2099-12-31", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["total"] == 0.5


def test_dates_in_the_wrong_order_are_refused() -> None:
    result = CliRunner().invoke(main, ["cost", "--from", "2026-11-20", "--to", "2026-11-19"])
    assert result.exit_code == 2
    assert "2026-11-19 is before --from 2026-11-20" in result.output
