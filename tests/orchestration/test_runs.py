"""A run is executed again from the command line, as a child of the former one, with what that one was given."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import AssetKey, DagsterInstance, DagsterRun, ExecuteInProcessResult

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.orchestration.event_log import fault_of, made_by
from ruter_dagster.orchestration.replay import Replay, compare, pinned_config, replay
from ruter_dagster.orchestration.runs import (
    RunOutcome,
    RunRequest,
    execute,
    find_run,
    new_log,
    reexecute,
    retry,
)
from tests.scripted_house import defs, write_script

HOUSE = "tests.scripted_house"
RANGE = {
    "dagster/asset_partition_range_start": "2026-03-28",
    "dagster/asset_partition_range_end": "2026-03-29",
}
ISSUE_TAG = {"ruter/issue_date": "2026-03-30"}


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
    found = instance.get_run_by_id(run_id)
    assert found
    return found


class TestRetry:
    @pytest.fixture
    def failed(self, instance: DagsterInstance) -> DagsterRun:
        """Counts of a range failed at loads, with a configuration of their own; the cause is cured since."""
        write_script(instance, loads__stop_loads={"fails": "No room"})
        config = {"ops": {"loads__stop_loads": {"config": {"pins": {"raw.stop_visits": 7}}}}}
        assets = ("raw/stop_visits", "quality/stop_visits", "loads/stop_loads", "quality/stop_loads")
        result = run(instance, "counts", None, *assets, tags=RANGE | ISSUE_TAG, run_config=config)
        write_script(instance)
        return record_of(instance, result.run_id)

    def again(
        self, run: DagsterRun, instance: DagsterInstance, tmp_path: Path, **more: Any
    ) -> tuple[RunOutcome, list[str]]:
        steps: list[str] = []
        outcome = retry(run.run_id, instance, tmp_path / "log", steps.append, definitions=HOUSE, **more)
        return outcome, steps

    def test_it_goes_on_from_the_failed_step_with_the_same_dates_assets_and_configuration(
        self, failed: DagsterRun, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        outcome, steps = self.again(failed, instance, tmp_path)
        assert outcome.succeeded
        assert steps == ["loads/stop_loads", "quality/stop_loads"]
        child = record_of(instance, outcome.run_id)
        assert child.asset_selection == failed.asset_selection
        assert child.run_config == failed.run_config
        loads = next(made for made in made_by(instance, child.run_id) if made.asset == "loads/stop_loads")
        assert set(loads.content) == {"2026-03-28", "2026-03-29"}

    def test_it_is_a_child_that_the_ui_shows_in_the_runs_group_and_the_chain_follows(
        self, failed: DagsterRun, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        outcome, _ = self.again(failed, instance, tmp_path)
        child = record_of(instance, outcome.run_id)
        assert (child.parent_run_id, child.root_run_id) == (failed.run_id, failed.run_id)
        assert child.is_resume_retry
        root, group = instance.get_run_group(child.run_id) or ("", [])
        assert root == failed.run_id
        assert {run.run_id for run in group} == {failed.run_id, child.run_id}
        assert child.tags.items() >= (RANGE | ISSUE_TAG).items()

    def test_a_second_failure_is_told_in_its_own_words_and_can_be_retried_again(
        self, failed: DagsterRun, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        write_script(instance, quality__stop_loads={"fails": "No permission"})
        second, steps = self.again(failed, instance, tmp_path)
        assert second.failure == "quality/stop_loads: No permission"
        assert steps == ["loads/stop_loads"], "what failed is not told as done"
        write_script(instance)
        third, steps = self.again(record_of(instance, second.run_id), instance, tmp_path)
        assert third.succeeded
        assert steps == ["quality/stop_loads"]
        assert record_of(instance, third.run_id).root_run_id == failed.run_id

    def test_the_whole_run_reads_the_source_again(
        self, failed: DagsterRun, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        outcome, steps = self.again(failed, instance, tmp_path, whole=True)
        assert outcome.succeeded
        assert steps[0] == "raw/stop_visits"
        assert len(steps) == 4

    def test_a_run_of_a_selection_made_in_the_ui_is_retried_too(
        self, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        write_script(instance, loads__stop_loads={"fails": "No room"})
        result = run(instance, "__ASSET_JOB", "2026-03-29", "raw/stop_visits", "loads/stop_loads")
        write_script(instance)
        outcome, steps = self.again(record_of(instance, result.run_id), instance, tmp_path)
        assert outcome.succeeded
        assert steps == ["loads/stop_loads"]

    def test_what_succeeded_is_not_retried(self, instance: DagsterInstance, tmp_path: Path) -> None:
        result = run(instance, "counts", "2026-03-29", "raw/stop_visits")
        with pytest.raises(
            PermanentFailure, match=f"nothing to retry. `ruter-dagster replay {result.run_id}`"
        ):
            retry(result.run_id, instance, tmp_path / "log", print)


def test_a_run_is_found_by_the_beginning_of_its_id(instance: DagsterInstance) -> None:
    result = run(instance, "counts", "2026-03-29", "raw/stop_visits")
    assert find_run(instance, result.run_id[:8]).run_id == result.run_id


def test_an_unknown_run_is_told_with_what_chooses_the_history(instance: DagsterInstance) -> None:
    with pytest.raises(
        PermanentFailure, match=r"no run 0000aaaa in this history; .*RUTER_SOURCE and RUTER_STATE_DIR"
    ):
        find_run(instance, "0000aaaa")


def test_the_fault_of_a_run_is_the_first_failed_steps(instance: DagsterInstance) -> None:
    write_script(instance, raw__stop_visits={"fails": "The folder is gone"})
    result = run(instance, "counts", "2026-03-29")
    assert str(fault_of(instance, result.run_id)) == "raw/stop_visits: The folder is gone"


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (RunRequest("counts", ("raw/stop_visits",), (date(2099, 1, 1),)), "2099-01-01 is no partition of raw/stop_visits"),
        (RunRequest("counts", ("raw/stop_visits",), (date(2000, 1, 1), date(2026, 6, 2))), "2000-01-01 is no partition"),
        (RunRequest("counts", ("raw/stop_visits",)), "raw/stop_visits need a date from"),
        (RunRequest("training", ("models/champion",), (date(2026, 6, 2),)), "allowed: none"),
    ],
    ids=["future", "range before the first", "no date", "date for a model"],
)  # fmt: skip
def test_a_run_of_a_date_that_is_no_partition_is_refused_and_not_recorded(
    request_: RunRequest, told: str, instance: DagsterInstance, tmp_path: Path
) -> None:
    with pytest.raises(PermanentFailure, match=told):
        execute(request_, instance, tmp_path / "log", print)
    assert instance.get_runs_count() == 0


def test_each_run_has_a_log_of_its_own_and_numbers_go_on_with_the_next_command(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    assert [new_log(folder, job).name for job in ("plan", "counts")] == ["0001-plan.log", "0002-counts.log"]
    (folder / "again-1a2b3c4d.log").touch()
    assert new_log(folder, "plan").name == "0003-plan.log"


class TestPins:
    """Drift of the 29th reads performance of the 28th, which another run made, and of the 29th, which this run made."""

    def used(self, table: str, snapshot: int, *dates: str) -> dict[str, Any]:
        return {table: {"snapshot_id": snapshot, "dates": dict.fromkeys(dates, "hash")}}

    def config_of(self, instance: DagsterInstance, result: ExecuteInProcessResult) -> dict[str, Any]:
        run = record_of(instance, result.run_id)
        return pinned_config(run, made_by(instance, run.run_id), defs)

    def test_inputs_that_other_runs_made_are_pinned_and_the_runs_own_are_not(
        self, instance: DagsterInstance
    ) -> None:
        write_script(
            instance,
            loads__stop_loads={"inputs": self.used("raw.stop_visits", 11, "2026-03-29")},
            monitoring__drift={
                "inputs": self.used("monitoring.forecast_performance", 22, "2026-03-28", "2026-03-29")
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
    def test_features_of_a_run_that_was_given_pins_are_made_again(
        self, instance: DagsterInstance, pins: dict[str, int]
    ) -> None:
        config = {"ops": {"features__departure_features": {"config": {"pins": pins}}}}
        run(instance, "plan", "2026-03-29", "features/departure_features", run_config=config)
        made = instance.get_latest_materialization_event(AssetKey(["features", "departure_features"]))
        assert made and made.asset_materialization
        given: Any = made.asset_materialization.metadata["parameters"].value
        assert given["make_again"] == bool(pins)

    def test_the_model_version_of_a_forecast_is_pinned(self, instance: DagsterInstance) -> None:
        inputs = self.used("features.levels", 33, "2026-03-29")
        write_script(instance, forecasts__load_forecasts={"inputs": inputs, "model_version": "3f2a"})
        config = self.config_of(
            instance, run(instance, "forecasting", "2026-03-30", "forecasts/load_forecasts")
        )
        assert config["ops"]["forecasts__load_forecasts"]["config"] == {
            "pins": {"features.levels": 33},
            "model_version": "3f2a",
        }

    def test_a_training_judges_the_model_that_it_trains(self, instance: DagsterInstance) -> None:
        trained = {"model_version": "3f2a", "inputs": self.used("features.levels", 33, "2026-03-29")}
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
    def again(self, instance: DagsterInstance, run_id: str, tmp_path: Path) -> Replay:
        return replay(run_id, instance, tmp_path / "log", lambda _: None, definitions=HOUSE)

    @pytest.fixture
    def former(self, instance: DagsterInstance) -> ExecuteInProcessResult:
        inputs = {"loads.stop_loads": {"snapshot_id": 22, "dates": {"2026-03-01": "hash"}}}
        write_script(instance, features__levels={"inputs": inputs})
        return run(instance, "forecasting", None, "raw/weather_forecasts", "features/levels", tags=RANGE)

    def test_the_same_inputs_give_the_same_content(
        self, former: ExecuteInProcessResult, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        result = self.again(instance, former.run_id, tmp_path)
        assert result.identical
        assert [(compared.asset, compared.partitions) for compared in result.assets] == [
            ("features/levels", 2),
            ("raw/weather_forecasts", 2),
        ]
        repeated = record_of(instance, result.outcome.run_id)
        assert repeated.parent_run_id == former.run_id
        records = instance.get_latest_materialization_event(AssetKey(["features", "levels"]))
        assert records and records.asset_materialization
        given: Any = records.asset_materialization.metadata["parameters"].value
        assert given["pins"] == {"loads.stop_loads": 22}, (
            "the job was told to read the snapshot of the former run"
        )

    def test_content_that_differs_is_named_by_date(
        self, former: ExecuteInProcessResult, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        write_script(instance, features__levels={"content": "other code"})
        result = self.again(instance, former.run_id, tmp_path)
        assert not result.identical
        assert {compared.asset: compared.different for compared in result.assets} == {
            "raw/weather_forecasts": (),
            "features/levels": ("2026-03-28", "2026-03-29"),
        }

    def test_a_run_that_was_itself_a_retry_repeats_its_own_steps(
        self, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        write_script(instance, loads__stop_loads={"fails": "No room"})
        failed = run(instance, "counts", "2026-03-29", "raw/stop_visits", "loads/stop_loads")
        write_script(instance)
        retried = retry(failed.run_id, instance, tmp_path / "log", lambda _: None, definitions=HOUSE)
        result = self.again(instance, retried.run_id, tmp_path)
        assert result.identical
        assert [compared.asset for compared in result.assets] == ["loads/stop_loads"]

    def test_run_without_materialisations_is_not_replayed(
        self, instance: DagsterInstance, tmp_path: Path
    ) -> None:
        write_script(instance, raw__stop_visits={"fails": "The folder is gone"})
        failed = run(instance, "counts", "2026-03-29", "raw/stop_visits")
        with pytest.raises(PermanentFailure, match="has no materialisations to replay"):
            self.again(instance, failed.run_id, tmp_path)

    def test_an_asset_that_only_one_run_made_differs(
        self, former: ExecuteInProcessResult, instance: DagsterInstance
    ) -> None:
        made = made_by(instance, former.run_id)
        assert [bool(compared.different) for compared in compare(made, made[:1])] == [False, True]


def test_executed_runs_belong_to_the_workspaces_code_location(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    result = run(instance, "counts", "2026-03-29", "raw/stop_visits")
    outcome = reexecute(
        record_of(instance, result.run_id), instance, tmp_path / "log", print, definitions=HOUSE
    )
    workspace = yaml.safe_load((Path(__file__).parents[2] / "workspace.yaml").read_text())
    origin = record_of(instance, outcome.run_id).remote_job_origin
    assert origin and origin.job_name == "counts"
    assert origin.location_name == workspace["load_from"][0]["python_module"]["location_name"]
    assert origin.repository_origin.repository_name == "__repository__"


@pytest.mark.parametrize(
    ("dates", "tags"),
    [
        ((date(2026, 3, 28),), {"dagster/partition": "2026-03-28"}),
        ((date(2026, 3, 28), date(2026, 3, 29)), RANGE),
        ((), {}),
    ],
)
def test_run_tags_name_the_partitions(dates: tuple[date, ...], tags: dict[str, str]) -> None:
    assert RunRequest("counts", ("raw/stop_visits",), dates).tags() == tags
