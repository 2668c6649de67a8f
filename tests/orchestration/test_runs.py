"""The command line executes, retries and replays runs. A repeated run is a child of the original run."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import AssetKey, DagsterInstance, DagsterRun, ExecuteInProcessResult

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.orchestration import replay as replay_module
from ruter_dagster.orchestration import runs as runs_module
from ruter_dagster.orchestration.event_log import failure_cause, step_outputs
from ruter_dagster.orchestration.replay import Replay, compare_outputs, pinned_config, replay
from ruter_dagster.orchestration.run_history import LOCATION
from ruter_dagster.orchestration.runs import (
    RunOutcome,
    RunRequest,
    execute,
    find_run,
    new_log,
    reexecute,
    retry,
)
from tests.scripted_launcher import defs, write_script

DEFINITIONS = "tests.scripted_launcher"
REPOSITORY = Path(__file__).parents[2]
RANGE = {
    "dagster/asset_partition_range_start": "2026-03-28",
    "dagster/asset_partition_range_end": "2026-03-29",
}
ISSUE_TAG = {"ruter/issue_date": "2026-03-30"}


@pytest.fixture(autouse=True)
def scripted_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes execute the jobs of the scripted definitions."""
    for module in (runs_module, replay_module):
        monkeypatch.setattr(module, "DEFINITIONS", DEFINITIONS)


def run(
    instance: DagsterInstance, job: str, partition: str | None = None, *assets: str, **more: Any
) -> ExecuteInProcessResult:
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=partition,
        asset_selection=[AssetKey.from_user_string(asset) for asset in assets],
        raise_on_error=False,
        **more,
    )


def record_of(instance: DagsterInstance, run_id: str) -> DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run
    return run


class TestRetry:
    @pytest.fixture
    def failed(self, instance: DagsterInstance) -> DagsterRun:
        """A run of a range with a configuration. It failed at the loads, and the cause is fixed."""
        write_script(instance, loads__stop_loads={"fails": "No room"})
        config = {"ops": {"loads__stop_loads": {"config": {"pins": {"raw.stop_visits": 7}}}}}
        assets = ("raw/stop_visits", "quality/stop_visits", "loads/stop_loads", "quality/stop_loads")
        result = run(instance, "counts", None, *assets, tags=RANGE | ISSUE_TAG, run_config=config)
        write_script(instance)
        return record_of(instance, result.run_id)

    def repeat(
        self, run: DagsterRun, instance: DagsterInstance, tmp_path: Path, **more: Any
    ) -> tuple[RunOutcome, list[str]]:
        steps: list[str] = []
        outcome = retry(run.run_id, instance, tmp_path / "log", steps.append, **more)
        return outcome, steps

    def test_retry_continues_from_failed_step_with_same_inputs(
        self, failed: DagsterRun, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        outcome, steps = self.repeat(failed, instance, tmp_path)
        assert outcome.succeeded
        assert steps == ["loads/stop_loads", "quality/stop_loads"]
        child = record_of(instance, outcome.run_id)
        assert child.asset_selection == failed.asset_selection
        assert child.run_config == failed.run_config
        loads = next(out for out in step_outputs(instance, child.run_id) if out.asset == "loads/stop_loads")
        assert set(loads.content) == {"2026-03-28", "2026-03-29"}

    def test_retry_is_child_in_run_group_with_same_tags(
        self, failed: DagsterRun, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        outcome, _ = self.repeat(failed, instance, tmp_path)
        child = record_of(instance, outcome.run_id)
        assert (child.parent_run_id, child.root_run_id) == (failed.run_id, failed.run_id)
        assert child.is_resume_retry
        root, group = instance.get_run_group(child.run_id) or ("", [])
        assert root == failed.run_id
        assert {run.run_id for run in group} == {failed.run_id, child.run_id}
        assert child.tags.items() >= (RANGE | ISSUE_TAG).items()

    def test_failed_retry_reports_its_error_and_can_be_retried(
        self, failed: DagsterRun, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        write_script(instance, quality__stop_loads={"fails": "No permission"})
        second, steps = self.repeat(failed, instance, tmp_path)
        assert second.failure == "quality/stop_loads: No permission"
        assert steps == ["loads/stop_loads"], "a failed step is not reported as done"
        write_script(instance)
        third, steps = self.repeat(record_of(instance, second.run_id), instance, tmp_path)
        assert third.succeeded
        assert steps == ["quality/stop_loads"]
        assert record_of(instance, third.run_id).root_run_id == failed.run_id

    def test_whole_retry_reads_source_again(
        self, failed: DagsterRun, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        outcome, steps = self.repeat(failed, instance, tmp_path, whole=True)
        assert outcome.succeeded
        assert steps[0] == "raw/stop_visits"
        assert len(steps) == 4

    def test_run_of_ui_selection_is_retried(self, instance: DagsterInstance, tmp_path: Path) -> None:
        write_script(instance, loads__stop_loads={"fails": "No room"})
        result = run(instance, "__ASSET_JOB", "2026-03-29", "raw/stop_visits", "loads/stop_loads")
        write_script(instance)
        outcome, steps = self.repeat(record_of(instance, result.run_id), instance, tmp_path)
        assert outcome.succeeded
        assert steps == ["loads/stop_loads"]

    def test_successful_run_is_not_retried(self, instance: DagsterInstance, tmp_path: Path) -> None:
        result = run(instance, "counts", "2026-03-29", "raw/stop_visits")
        with pytest.raises(
            PermanentFailure, match=f"nothing to retry. `ruter-dagster replay {result.run_id}`"
        ):
            retry(result.run_id, instance, tmp_path / "log", print)


def test_run_is_found_by_start_of_id(instance: DagsterInstance) -> None:
    result = run(instance, "counts", "2026-03-29", "raw/stop_visits")
    assert find_run(instance, result.run_id[:8]).run_id == result.run_id


def test_unknown_run_error_names_settings_that_choose_history(instance: DagsterInstance) -> None:
    with pytest.raises(
        PermanentFailure, match=r"no run 0000aaaa in this history; .*RUTER_SOURCE, RUTER_STATE_DIR"
    ):
        find_run(instance, "0000aaaa")


def test_failure_cause_is_error_of_first_failed_step(instance: DagsterInstance) -> None:
    write_script(instance, raw__stop_visits={"fails": "The folder is gone"})
    result = run(instance, "counts", "2026-03-29")
    assert str(failure_cause(instance, result.run_id)) == "raw/stop_visits: The folder is gone"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (RunRequest("counts", ("raw/stop_visits",), (date(2099, 1, 1),)), "2099-01-01 is not a partition of raw/stop_visits"),
        (RunRequest("counts", ("raw/stop_visits",), (date(2000, 1, 1), date(2026, 6, 2))), "2000-01-01 is not a partition"),
        (RunRequest("counts", ("raw/stop_visits",)), "raw/stop_visits need a date from"),
        (RunRequest("training", ("models/champion",), (date(2026, 6, 2),)), "allowed: none"),
    ],
    ids=["future", "range before the first", "no date", "date for a model"],
)  # fmt: skip
def test_date_outside_partitions_is_refused_and_not_recorded(
    request_: RunRequest, message: str, instance: DagsterInstance, tmp_path: Path
) -> None:
    with pytest.raises(PermanentFailure, match=message):
        execute(request_, instance, tmp_path / "log", print)
    assert instance.get_runs_count() == 0


def test_each_run_has_its_own_numbered_log(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    assert [new_log(folder, job).name for job in ("plan", "counts")] == ["0001-plan.log", "0002-counts.log"]
    (folder / "retry-1a2b3c4d.log").touch()
    assert new_log(folder, "plan").name == "0003-plan.log"


class TestPins:
    """Drift of the 29th reads the performance of the 28th, written by another run, and of the 29th, written by this run."""

    def inputs(self, table: str, snapshot: int, *dates: str) -> dict[str, Any]:
        return {table: {"snapshot_id": snapshot, "dates": dict.fromkeys(dates, "hash")}}

    def config_of(self, instance: DagsterInstance, result: ExecuteInProcessResult) -> dict[str, Any]:
        run = record_of(instance, result.run_id)
        return pinned_config(run, step_outputs(instance, run.run_id), defs)

    def test_only_inputs_of_other_runs_are_pinned(self, instance: DagsterInstance) -> None:
        write_script(
            instance,
            loads__stop_loads={"inputs": self.inputs("raw.stop_visits", 11, "2026-03-29")},
            monitoring__drift={
                "inputs": self.inputs("monitoring.forecast_performance", 22, "2026-03-28", "2026-03-29")
            },
        )
        own = self.config_of(
            instance, run(instance, "counts", "2026-03-29", "raw/stop_visits", "loads/stop_loads")
        )
        assert own == {}
        assets = ("monitoring/forecast_performance", "monitoring/drift")
        config = self.config_of(instance, run(instance, "monitoring", "2026-03-29", *assets))
        pins = {"monitoring.forecast_performance": 22}
        assert config == {"ops": {"monitoring__drift": {"config": {"pins": pins}}}}

    @pytest.mark.parametrize("pins", [{}, {"loads.stop_loads": 22}])
    def test_run_with_pins_computes_features_again(
        self, instance: DagsterInstance, pins: dict[str, int]
    ) -> None:
        config = {"ops": {"features__departure_features": {"config": {"pins": pins}}}}
        run(instance, "plan", "2026-03-29", "features/departure_features", run_config=config)
        event = instance.get_latest_materialization_event(AssetKey(["features", "departure_features"]))
        assert event and event.asset_materialization
        parameters: Any = event.asset_materialization.metadata["parameters"].value
        assert parameters["force"] == bool(pins)

    def test_model_version_of_forecast_is_pinned(self, instance: DagsterInstance) -> None:
        inputs = self.inputs("features.levels", 33, "2026-03-29")
        write_script(instance, forecasts__load_forecasts={"inputs": inputs, "model_version": "3f2a"})
        config = self.config_of(
            instance, run(instance, "forecasting", "2026-03-30", "forecasts/load_forecasts")
        )
        assert config["ops"]["forecasts__load_forecasts"]["config"] == {
            "pins": {"features.levels": 33},
            "model_version": "3f2a",
        }

    def test_repeated_training_evaluates_its_own_model(self, instance: DagsterInstance) -> None:
        trained = {"model_version": "3f2a", "inputs": self.inputs("features.levels", 33, "2026-03-29")}
        write_script(instance, models__load_model=trained, models__evaluation={"model_version": "3f2a"})
        settings = {"ops": {"models__load_model": {"config": {"days": 70}}}}
        result = run(
            instance, "training", None, "models/load_model", "models/evaluation", run_config=settings
        )
        assert result.success
        config = self.config_of(instance, result)
        assert config == {
            "ops": {"models__load_model": {"config": {"days": 70, "pins": {"features.levels": 33}}}}
        }


class TestReplay:
    def repeat(self, instance: DagsterInstance, run_id: str, tmp_path: Path) -> Replay:
        return replay(run_id, instance, tmp_path / "log", lambda _: None)

    @pytest.fixture
    def original(self, instance: DagsterInstance) -> ExecuteInProcessResult:
        inputs = {"loads.stop_loads": {"snapshot_id": 22, "dates": {"2026-03-01": "hash"}}}
        write_script(instance, features__levels={"inputs": inputs})
        return run(instance, "forecasting", None, "raw/weather_forecasts", "features/levels", tags=RANGE)

    def test_same_inputs_give_same_content(
        self, original: ExecuteInProcessResult, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        result = self.repeat(instance, original.run_id, tmp_path)
        assert result.identical
        assert [(comparison.asset, comparison.partitions) for comparison in result.assets] == [
            ("features/levels", 2),
            ("raw/weather_forecasts", 2),
        ]
        repeated = record_of(instance, result.outcome.run_id)
        assert repeated.parent_run_id == original.run_id
        event = instance.get_latest_materialization_event(AssetKey(["features", "levels"]))
        assert event and event.asset_materialization
        parameters: Any = event.asset_materialization.metadata["parameters"].value
        assert parameters["pins"] == {"loads.stop_loads": 22}, (
            "the job reads the snapshot of the original run"
        )

    def test_different_content_is_reported_by_date(
        self, original: ExecuteInProcessResult, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        write_script(instance, features__levels={"content": "other code"})
        result = self.repeat(instance, original.run_id, tmp_path)
        assert not result.identical
        assert {comparison.asset: comparison.different for comparison in result.assets} == {
            "raw/weather_forecasts": (),
            "features/levels": ("2026-03-28", "2026-03-29"),
        }

    def test_replay_of_retry_repeats_only_its_steps(self, instance: DagsterInstance, tmp_path: Path) -> None:
        write_script(instance, loads__stop_loads={"fails": "No room"})
        failed = run(instance, "counts", "2026-03-29", "raw/stop_visits", "loads/stop_loads")
        write_script(instance)
        retried = retry(failed.run_id, instance, tmp_path / "log", lambda _: None)
        result = self.repeat(instance, retried.run_id, tmp_path)
        assert result.identical
        assert [comparison.asset for comparison in result.assets] == ["loads/stop_loads"]

    def test_run_without_materialisations_is_not_replayed(
        self, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        write_script(instance, raw__stop_visits={"fails": "The folder is gone"})
        failed = run(instance, "counts", "2026-03-29", "raw/stop_visits")
        with pytest.raises(PermanentFailure, match="has no materialisations to replay"):
            self.repeat(instance, failed.run_id, tmp_path)

    def test_asset_of_only_one_run_differs(
        self, original: ExecuteInProcessResult, instance: DagsterInstance
    ) -> None:
        outputs = step_outputs(instance, original.run_id)
        comparisons = compare_outputs(outputs, outputs[:1])
        assert [bool(comparison.different) for comparison in comparisons] == [False, True]


def test_executed_runs_belong_to_code_location_of_workspace(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    result = run(instance, "counts", "2026-03-29", "raw/stop_visits")
    outcome = reexecute(record_of(instance, result.run_id), instance, tmp_path / "log", print)
    workspace = yaml.safe_load((Path(__file__).parents[2] / "workspace.yaml").read_text())
    origin = record_of(instance, outcome.run_id).remote_job_origin
    assert origin and origin.job_name == "counts"
    assert origin.location_name == workspace["load_from"][0]["python_module"]["location_name"]
    assert origin.repository_origin.repository_name == "__repository__"


@pytest.mark.parametrize(
    ("dates", "tags"),
    [
        ((date(2026, 3, 28),), {"dagster/partition": "2026-03-28"}),
        ((date(2026, 3, 28), date(2026, 3, 29)), RANGE | {"ruter/dates": "2026-03-28 to 2026-03-29"}),
        ((), {}),
    ],
)
def test_run_tags_name_the_partitions(dates: tuple[date, ...], tags: dict[str, str]) -> None:
    assert RunRequest("counts", ("raw/stop_visits",), dates).tags() == tags


def test_every_command_names_the_same_code_location() -> None:
    workspace = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text(encoding="utf-8"))
    dg = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["dg"]
    assert workspace["load_from"][0]["python_module"]["location_name"] == LOCATION
    assert dg["project"]["code_location_name"] == LOCATION
