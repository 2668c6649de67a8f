"""The definitions that Dagster loads: descriptions, partitions, dependencies, checks, configuration and retries of the assets."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetKey,
    Backoff,
    DagsterInvalidConfigError,
    Definitions,
    Jitter,
    validate_run_config,
)
from dagster._core.instance.config import PoolGranularity

from ruter_dagster.assets.code_references import code_references
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.checks import CHECKS
from ruter_dagster.contracts.jobs import (
    CHAMPION,
    EVALUATION,
    FEEDS,
    JOBS,
    PUBLISHED_FORECASTS,
    RETENTION,
    asset_of,
    quality_asset_of,
)
from ruter_dagster.contracts.model_checks import DRIFT_CHECKS, GATE_CHECKS
from ruter_dagster.contracts.tables import DRIFT
from ruter_dagster.definitions import build_definitions
from ruter_dagster.orchestration.chain import RUNS
from ruter_dagster.orchestration.instance import open_instance
from tests.partition_time import partitions_as_of

D = date(2026, 11, 19)
HEAVY = (
    "polars", "pandas", "numpy", "pyarrow", "pyiceberg", "lightgbm", "mlflow", "great_expectations", "matplotlib",
    "confluent_kafka", "holidays", "boto3",
)  # fmt: skip


def definitions(**settings: Any) -> Definitions:
    return build_definitions(load_settings(_env_file=None, history_start="2026-06-01", **settings))


DEFS = definitions()
GRAPH = DEFS.resolve_asset_graph()
ASSETS = {key.to_user_string(): DEFS.resolve_assets_def(key) for key in GRAPH.materializable_asset_keys}
SPECS = {name: asset.get_asset_spec() for name, asset in ASSETS.items()}


def test_definitions_are_loadable() -> None:
    Definitions.validate_loadable(DEFS)


def test_definitions_import_no_heavy_package() -> None:
    code = f"import sys, ruter_dagster.definitions; print(*[name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


class TestEveryAsset:
    def test_names_owner_purpose_kind_and_code_version(self) -> None:
        incomplete = {
            name: spec
            for name, spec in SPECS.items()
            if not (spec.owners and len(spec.description or "") > 30 and spec.kinds and spec.code_version)
        }
        assert incomplete == {}

    def test_is_in_the_group_of_its_key(self) -> None:
        groups = {name: spec.group_name for name, spec in SPECS.items()}
        assert groups == {name: name.split("/")[0] for name in SPECS}

    def test_names_its_job(self) -> None:
        jobs = {name: spec.metadata.get("ruter/job") for name, spec in SPECS.items()}
        assert {name: job for name, job in jobs.items() if job not in JOBS} == {}

    def test_links_to_its_definition_and_its_job(self) -> None:
        for spec in SPECS.values():
            definition, job = spec.metadata["dagster/code_references"].code_references
            assert (definition.label, job.label) == ("definition", "job")
            assert "builder.asset(" in Path(definition.file_path).read_text(encoding="utf-8"), spec.key
            assert Path(job.file_path).stem == spec.metadata["ruter/job"]
            assert "def run(parameters" in Path(job.file_path).read_text(encoding="utf-8"), spec.key

    def test_belongs_to_a_run_of_the_chain(self) -> None:
        assert set(ASSETS) == {name for assets in RUNS.values() for name in assets}

    def test_processes_a_range_of_dates_in_one_run(self) -> None:
        dated = {name: asset for name, asset in ASSETS.items() if asset.partitions_def is not None}
        single_run = {
            name
            for name, asset in dated.items()
            if asset.backfill_policy and asset.backfill_policy.max_partitions_per_run is None
        }
        assert single_run == set(dated)


def test_assets_in_aws_link_to_no_local_file() -> None:
    assert (
        code_references("raw/stop_visits", "snapshot", load_settings(_env_file=None, environment="test"))
        == {}
    )


@pytest.mark.parametrize("run", RUNS)
def test_assets_of_a_run_have_the_same_partitions(run: str) -> None:
    assert len({ASSETS[name].partitions_def for name in RUNS[run]}) == 1
    assert DEFS.resolve_job_def(run).partitions_def == ASSETS[RUNS[run][0]].partitions_def


@pytest.mark.parametrize(
    ("name", "newest"),
    [
        ("raw/stop_visits", D - timedelta(1)),
        ("loads/stop_loads", D - timedelta(1)),
        ("monitoring/forecast_performance", D - timedelta(1)),
        ("monitoring/line_scores", D - timedelta(1)),
        ("monitoring/drift", D - timedelta(1)),
        ("raw/planned_departures", D + timedelta(3)),
        ("features/departure_features", D + timedelta(3)),
        ("raw/weather_forecasts", D),
        ("features/levels", D),
        ("forecasts/load_forecasts", D),
        ("forecasts/published_forecasts", D),
        ("forecasts/feeds", D),
    ],
)
def test_newest_partition_of_each_kind_of_asset(name: str, newest: date) -> None:
    partitions = ASSETS[name].partitions_def
    assert partitions
    with partitions_as_of(D):
        assert partitions.get_first_partition_key() == "2026-06-01"
        assert partitions.get_last_partition_key() == newest.isoformat()


def test_models_have_no_partitions() -> None:
    for name in RUNS["training"]:
        assert ASSETS[name].partitions_def is None


class TestDependencies:
    def parents(self, name: str, day: date = D) -> dict[str, tuple[str, str, int] | None]:
        """First, last and number of the dates of each partitioned asset that `day` of asset `name` depends on."""
        child = AssetKey.from_user_string(name)
        found = {}
        with partitions_as_of(D + timedelta(10)):
            for parent in GRAPH.get(child).parent_keys:
                if GRAPH.get(parent).is_partitioned:
                    subset = GRAPH.get_parent_partition_keys_for_child(day.isoformat(), parent, child)
                    keys = sorted(subset.partitions_subset.get_partition_keys())
                    found[parent.to_user_string()] = (keys[0], keys[-1], len(keys)) if keys else None
        return found

    @pytest.mark.parametrize(
        ("name", "parent", "first", "last"),
        [
            ("quality/stop_visits", "raw/planned_departures", 0, 0),
            ("quality/stop_loads", "raw/planned_departures", 0, 0),
            ("quality/departure_features", "raw/planned_departures", 0, 0),
            ("loads/stop_loads", "raw/stop_visits", 0, 0),
            ("features/departure_features", "raw/planned_departures", 0, 0),
            ("features/departure_features", "loads/stop_loads", -56, -7),
            ("features/levels", "loads/stop_loads", -14, -1),
            ("features/levels", "features/departure_features", -14, -1),
            ("forecasts/load_forecasts", "features/departure_features", 0, 3),
            ("forecasts/load_forecasts", "raw/planned_departures", 0, 3),
            ("forecasts/load_forecasts", "features/levels", 0, 0),
            ("forecasts/load_forecasts", "raw/weather_forecasts", 0, 0),
            ("forecasts/published_forecasts", "forecasts/load_forecasts", 0, 0),
            ("forecasts/feeds", "forecasts/published_forecasts", 0, 0),
            ("monitoring/forecast_performance", "forecasts/load_forecasts", -3, 0),
            ("monitoring/forecast_performance", "loads/stop_loads", 0, 0),
            ("monitoring/line_scores", "monitoring/forecast_performance", 0, 0),
            ("monitoring/line_scores", "forecasts/load_forecasts", -3, 0),
            ("monitoring/drift", "monitoring/forecast_performance", -63, 0),
            ("monitoring/drift", "loads/stop_loads", -63, 0),
            ("monitoring/drift", "raw/planned_departures", -63, 0),
        ],
    )
    def test_date_depends_on_dates_of_its_parents(
        self, name: str, parent: str, first: int, last: int
    ) -> None:
        dates = ((D + timedelta(first)).isoformat(), (D + timedelta(last)).isoformat(), last - first + 1)
        assert self.parents(name)[parent] == dates

    def test_first_dates_depend_on_the_history_that_exists(self) -> None:
        loads = self.parents("features/departure_features", date(2026, 6, 10))["loads/stop_loads"]
        assert loads == ("2026-06-01", "2026-06-03", 3)
        assert self.parents("features/levels", date(2026, 6, 1))["loads/stop_loads"] is None

    @pytest.mark.parametrize("table", CHECKS)
    def test_readers_of_a_table_depend_on_its_quality_report(self, table: str) -> None:
        read, judged = asset_of(table), quality_asset_of(table)
        children = {key.to_user_string() for key in GRAPH.get(AssetKey.from_user_string(read)).child_keys}
        readers = children - {quality_asset_of(name) for name in CHECKS}
        assert readers
        for name in readers:
            assert (
                AssetKey.from_user_string(judged) in GRAPH.get(AssetKey.from_user_string(name)).parent_keys
            ), name
            if ASSETS[name].partitions_def:
                assert self.parents(name)[judged] == self.parents(name)[read], name


class TestChecks:
    def blocking(self, name: str) -> dict[str, bool]:
        return {spec.name: spec.blocking for spec in ASSETS[name].check_specs}

    @pytest.mark.parametrize("table", CHECKS)
    def test_quality_report_has_each_check_and_errors_block(self, table: str) -> None:
        expected = {check.name: check.severity == "ERROR" for check in CHECKS[table]}
        assert self.blocking(quality_asset_of(table)) == expected

    def test_release_gate_blocks_the_champion(self) -> None:
        assert self.blocking(EVALUATION) == {check.name: check.severity == "ERROR" for check in GATE_CHECKS}
        assert any(self.blocking(EVALUATION).values())

    def test_drift_warns_and_never_blocks(self) -> None:
        assert self.blocking(asset_of(DRIFT.name)) == dict.fromkeys(
            (check.name for check in DRIFT_CHECKS), False
        )

    def test_every_check_is_described(self) -> None:
        for key in GRAPH.asset_check_keys:
            assert GRAPH.get_check_spec(key).description, key


class TestConfiguration:
    def takes(self, name: str) -> set[str]:
        schema: Any = ASSETS[name].op.config_schema
        return set(schema.config_type.fields)

    def test_every_step_that_reads_tables_takes_pins(self) -> None:
        assert {name for name in ASSETS if "pins" in self.takes(name)} == set(ASSETS) - {CHAMPION, RETENTION}

    def test_champion_refuses_pins_since_it_reads_no_table(self) -> None:
        config = {"ops": {"models__champion": {"config": {"pins": {"loads.stop_loads": 1}}}}}
        with pytest.raises(DagsterInvalidConfigError, match=r'unexpected config entry "pins".*model_version'):
            validate_run_config(DEFS.resolve_job_def("training"), config)


def test_queue_starts_one_publishing_run_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pools = {name: ASSETS[name].op.pool for name in ASSETS if ASSETS[name].op.pool}
    assert pools == {PUBLISHED_FORECASTS: "publication", FEEDS: "publication"}
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path))
    monkeypatch.chdir(Path(__file__).parents[1])
    with open_instance() as instance:
        limits = instance.get_concurrency_config().pool_config
    assert (limits.default_pool_limit, limits.pool_granularity) == (1, PoolGranularity.RUN)


class TestRetries:
    def policy(self, defs: Definitions, name: str) -> Any:
        return defs.resolve_assets_def(name.split("/")).op.retry_policy

    def test_every_step_backs_off_exponentially_with_jitter(self) -> None:
        policies = {name: self.policy(DEFS, name) for name in ASSETS}
        expected = (Backoff.EXPONENTIAL, Jitter.PLUS_MINUS, 2, 5.0)
        others = {
            name: policy
            for name, policy in policies.items()
            if (policy.backoff, policy.jitter, policy.max_retries, policy.delay) != expected
        }
        assert others == {}

    def test_settings_change_retries_of_all_assets_or_of_one(self) -> None:
        defs = definitions(
            step_retries=3,
            step_retry_delay=1,
            asset_retries="forecasts/published_forecasts=7, models/load_model=0",
            asset_retry_delays="forecasts/published_forecasts=30",
        )
        found = {
            name: (self.policy(defs, name).max_retries, self.policy(defs, name).delay)
            for name in ("raw/stop_visits", "forecasts/published_forecasts", "models/load_model")
        }
        assert found == {
            "raw/stop_visits": (3, 1.0),
            "forecasts/published_forecasts": (7, 30.0),
            "models/load_model": (0, 1.0),
        }


def test_tables_show_their_columns_and_link_to_their_quality_report() -> None:
    metadata: Any = GRAPH.get(AssetKey(["loads", "stop_loads"])).metadata
    columns = {column.name: column for column in metadata["dagster/column_schema"].columns}
    assert columns["mode"].type == "string" and not columns["mode"].constraints.nullable
    assert columns["load"].constraints.nullable
    assert metadata["quality_report"].asset_key == AssetKey(["quality", "stop_loads"])
