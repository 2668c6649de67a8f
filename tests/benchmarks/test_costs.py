"""What the benchmarks take from a run's log and events is what the job's entry point and its launcher write there."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster import AssetKey

from benchmarks.costs import steps_of
from ruter_dagster.orchestration.chain import RUNS
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.orchestration.runs import RunRequest, execute, new_log
from tests.chain.local_chain import foreign_variables
from tests.chain.small_demo import D, environment

pytestmark = pytest.mark.extended
REPOSITORY = Path(__file__).parents[2]


def test_step_seconds_split_into_job_start_and_dagster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in foreign_variables():
        monkeypatch.delenv(name)
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(REPOSITORY)
    log = new_log(tmp_path / "logs", "weather")
    with open_instance() as instance:
        outcome = execute(RunRequest("weather", RUNS["weather"], (D,)), instance, log, lambda _: None)
        assert outcome.succeeded, outcome.failure
        costs = {cost.step: cost for cost in steps_of(instance, outcome.run_id, log)}
        made = instance.get_latest_materialization_event(AssetKey(["raw", "weather_forecasts"]))
    assert made and made.asset_materialization
    raw = costs["raw/weather_forecasts"]
    assert raw.rows == made.asset_materialization.metadata["dagster/row_count"].value and raw.dates == 1
    assert raw.peak_mb > 50
    for cost in costs.values():
        assert 0 < cost.own_seconds < cost.seconds
        assert cost.start_seconds >= 0 and cost.dagster_seconds > 0 and cost.cpu_seconds > 0
