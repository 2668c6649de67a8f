"""The whole chain on the demo network, as a user drives it: the demo, each asset by itself, ranges, replays, retries.

The tests share one demo, which takes a minute. Each test records the state that it finds before it changes anything.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from dagster import AssetCheckSeverity, AssetKey, DagsterEventType

from ruter_dagster.contracts.jobs import FEEDS
from ruter_dagster.contracts.tables import STOP_VISITS, WEATHER_FORECASTS
from ruter_dagster.orchestration.event_log import failed_checks
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.publishing.broker import local_broker
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore
from tests.chain.local_chain import foreign_variables
from tests.chain.small_demo import (
    DATED,
    UNDATED,
    YESTERDAY,
    D,
    SmallDemo,
    demo,
    environment,
    materialize,
    run,
    start,
    until,
)

REPOSITORY = Path(__file__).parents[2]
FORECASTS, PUBLISHED = "forecasts/load_forecasts", "forecasts/published_forecasts"
FEATURES = "features/departure_features"


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDemo]:
    """A demo of its own. DAGSTER_HOME is not set: the commands share the history that dagster.yaml names."""
    with pytest.MonkeyPatch.context() as patch:
        for name in foreign_variables():
            patch.delenv(name)
        for name, value in environment(tmp_path_factory.mktemp("demo")).items():
            patch.setenv(name, value)
        patch.chdir(REPOSITORY)
        first = demo()
        with open_instance() as instance:
            yield SmallDemo(instance, first)


class TestDemo:
    def test_every_asset_has_rows_or_a_version(self, small_demo: SmallDemo) -> None:
        rows = {row["asset"]: row["rows"] for row in small_demo.first["assets"]}
        assert set(rows) == {*DATED, *UNDATED}
        assert all(rows[asset] > 0 for asset in DATED)
        assert small_demo.first["model_version"]

    def test_a_log_names_each_run_when_it_is_done(self, small_demo: SmallDemo) -> None:
        assert small_demo.first["progress"].count(": done") == len(small_demo.first["runs"])

    def test_a_log_names_each_asset_while_a_run_lasts(self, small_demo: SmallDemo) -> None:
        lines = small_demo.first["progress"].splitlines()
        assert sum(": started, log in " in line for line in lines) == len(small_demo.first["runs"])
        named = {line.rpartition(": ")[2] for line in lines if line.endswith(" materialised")}
        assert {f"{asset} materialised" for asset in (*DATED, *UNDATED)} <= named

    def test_no_check_blocks(self, small_demo: SmallDemo) -> None:
        failed = [
            check for made in small_demo.first["runs"] for check in failed_checks(small_demo.instance, made)
        ]
        assert {check.severity for check in failed} <= {AssetCheckSeverity.WARN}
        checks = {row["asset"]: (row["checks_passed"], row["checks"]) for row in small_demo.first["assets"]}
        assert all(checks[asset][1] > 0 for asset in checks if asset.startswith("quality/"))

    def test_each_forecast_is_read_back_exactly_once(self, small_demo: SmallDemo) -> None:
        rows = {row["asset"]: row["rows"] for row in small_demo.first["assets"]}
        assert small_demo.first["exactly_once"]
        assert small_demo.first["published"] == small_demo.first["read_back"] == rows[FORECASTS] > 10_000

    def test_forecasts_are_better_than_every_baseline(self, small_demo: SmallDemo) -> None:
        improvements = {row["baseline"]: row["improvement"] for row in small_demo.first["accuracy"]}
        assert set(improvements) == {"last_week", "ha4", "ha8"}
        assert min(improvements.values()) > 0

    def test_second_demo_runs_nothing(self, small_demo: SmallDemo) -> None:
        again = small_demo.demo()
        assert again["runs"] == []
        assert again["published"] == again["read_back"] == small_demo.first["published"]
        assert again["exactly_once"]

    @pytest.mark.parametrize("asset", [*DATED, *UNDATED])
    def test_metadata_names_the_inputs(self, small_demo: SmallDemo, asset: str) -> None:
        """A range states what its dates share once, with its last date."""
        _, made = small_demo.newest(asset)
        assert {"parameters", "commit", "lock_hash"} <= set(made.metadata)
        if asset == FEEDS:
            assert made.metadata["publication_ids"].value
        elif not asset.startswith("raw/") and asset != "models/champion":
            inputs = made.metadata["inputs"].value
            assert isinstance(inputs, dict) and inputs
            assert all(int(used["snapshot_id"]) and used["dates"] for used in inputs.values())
        version = "model_version" in made.metadata and made.metadata["model_version"].value
        if asset in ("models/load_model", "models/evaluation"):
            assert version == small_demo.first["model_version"]
        if asset in ("models/refitted_model", "models/champion"):
            assert made.metadata["evaluated_version"].value == small_demo.first["model_version"] != version
        if asset == FORECASTS:
            assert version == small_demo.newest("models/champion")[1].metadata["model_version"].value

    @pytest.mark.parametrize("asset", DATED)
    def test_metadata_of_a_date_has_rows_content_and_code(self, small_demo: SmallDemo, asset: str) -> None:
        _, made = small_demo.newest(asset, DATED[asset])
        assert {"dagster/row_count", "content_hash", "commit", "lock_hash"} <= set(made.metadata)
        if not asset.startswith("quality/") and asset not in (PUBLISHED, FEEDS):
            assert int(str(made.metadata["snapshot_id"].value))


@pytest.mark.extended
def test_each_asset_materialises_alone_with_the_same_content(small_demo: SmallDemo) -> None:
    """The same content again makes nothing out of date: not even the publication, which is a no-op."""
    former = {asset: small_demo.newest(asset, DATED.get(asset)) for asset in (*DATED, *UNDATED)}
    with local_broker(small_demo.settings.source_dir / "broker"), ThreadPoolExecutor(2) as two:
        list(two.map(lambda asset: run(*materialize(asset, day=DATED[asset])), DATED))
        for asset in UNDATED:
            run(*materialize(asset))
    for asset, (run_id, made) in former.items():
        new_run_id, new = small_demo.newest(asset, DATED.get(asset))
        assert new_run_id != run_id, f"{asset}: not in the history that the demo and the UI show"
        assert small_demo.steps(new_run_id) == [asset]
        same = "content_hash" if asset in DATED else "model_version"
        assert new.metadata[same] == made.metadata[same], asset
    assert small_demo.newest(PUBLISHED, D)[1].metadata["already_published"].value == [D.isoformat()]
    assert small_demo.demo()["runs"] == []


@pytest.mark.extended
def test_range_survives_a_killed_job(small_demo: SmallDemo) -> None:
    week = [D - timedelta(ago) for ago in range(6, -1, -1)]
    former = small_demo.content(FEATURES, *week)
    with start(*materialize(FEATURES, day=week[0], last=week[-1]), RUTER_JOB_DAYS="3") as command:
        os.kill(until(small_demo.jobs_alive, "the first job")[0], signal.SIGKILL)
        printed, _ = command.communicate()
    assert command.returncode == 0, printed[-4000:]
    run_id = small_demo.last_run()
    assert small_demo.job_ends(run_id) == [-signal.SIGKILL, 0, 0, 0]
    assert small_demo.steps(run_id, DagsterEventType.STEP_UP_FOR_RETRY) == [FEATURES]
    assert {small_demo.newest(FEATURES, day)[0] for day in week} == {run_id}
    assert small_demo.content(FEATURES, *week) == former
    rows = [small_demo.newest(FEATURES, day)[1].metadata["dagster/row_count"].value for day in week]
    totals = small_demo.newest(FEATURES, week[-1])[1].metadata["range_totals"].value
    assert isinstance(totals, dict) and totals["rows"] == sum(map(int, map(str, rows)))


def test_replay_repeats_the_forecast_from_before_changed_weather(small_demo: SmallDemo) -> None:
    former_run, published = small_demo.newest(PUBLISHED, D)
    forecast_run = next(made for made in small_demo.first["runs"] if PUBLISHED in small_demo.steps(made))
    former = small_demo.content(FORECASTS, D)
    store = TableStore(local_catalog(small_demo.settings.source_dir / "warehouse"))
    wetter = store.snapshot(WEATHER_FORECASTS).read([D]).with_columns(pl.col("precipitation") + 8)
    store.write(WEATHER_FORECASTS, wetter, [D], code_version="1")
    run(*materialize("quality/weather_forecasts", day=D))

    with local_broker(small_demo.settings.source_dir / "broker"):
        run(*materialize(FORECASTS, PUBLISHED, day=D))
    assert small_demo.content(FORECASTS, D) != former
    assert small_demo.newest(PUBLISHED, D)[0] != former_run
    assert small_demo.content(PUBLISHED, D) != [published.metadata["content_hash"].value]

    assert "forecasts/load_forecasts: content identical" in run("ruter-dagster", "replay", forecast_run)
    assert small_demo.content(FORECASTS, D) == former
    assert small_demo.content(PUBLISHED, D) == [published.metadata["content_hash"].value]


@pytest.mark.extended
def test_replay_of_features_reads_the_counts_of_its_run(small_demo: SmallDemo) -> None:
    """Counts of a week before are corrected at the source: a tenth of the trips were none."""
    former_run, _ = small_demo.newest(FEATURES, D)
    former = small_demo.content(FEATURES, D)
    week_before = D - timedelta(7)
    store = TableStore(local_catalog(small_demo.settings.source_dir / "warehouse"))
    visits = store.snapshot(STOP_VISITS).read([week_before])
    kept = visits.filter(pl.col("trip_id").hash(seed=1) % 10 > 0)
    store.write(STOP_VISITS, kept, [week_before], code_version="1")
    run(*materialize("quality/stop_visits", "loads/stop_loads", "quality/stop_loads", day=week_before))

    run(*materialize(FEATURES, day=D))
    assert small_demo.content(FEATURES, D) != former
    printed = run("ruter-dagster", "replay", former_run)
    assert f"{FEATURES}: " in printed and "identical" in printed
    assert small_demo.content(FEATURES, D) == former


def test_retry_publishes_without_forecasting_again(small_demo: SmallDemo) -> None:
    forecasts = materialize(FORECASTS, PUBLISHED, day=D)
    with start(*forecasts, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", RUTER_STEP_RETRIES="0") as command:
        printed, _ = command.communicate()
    assert command.returncode == 1
    assert "127.0.0.1:1" in printed
    failed = small_demo.last_run()
    assert small_demo.steps(failed) == [FORECASTS]
    assert small_demo.steps(failed, DagsterEventType.STEP_FAILURE) == [PUBLISHED]

    run("ruter-dagster", "retry", failed[:8])
    retried = small_demo.last_run()
    assert small_demo.steps(retried) == [PUBLISHED]
    child = small_demo.instance.get_run_by_id(retried)
    assert child and child.parent_run_id == failed
    record = small_demo.instance.get_latest_materialization_event(AssetKey.from_user_string(PUBLISHED))
    assert record and record.run_id == retried


@pytest.mark.extended
@pytest.mark.parametrize("day", ["2025-11-20", "2099-11-20"])
def test_date_outside_the_history_is_refused(small_demo: SmallDemo, day: str) -> None:
    former = small_demo.newest("raw/stop_visits")
    with start(*materialize("raw/stop_visits", day=date.fromisoformat(day))) as command:
        printed, _ = command.communicate()
    assert command.returncode != 0
    assert day in printed
    assert small_demo.newest("raw/stop_visits") == former


@pytest.mark.extended
def test_other_cluster_gets_the_publication_and_nothing_else(small_demo: SmallDemo, tmp_path: Path) -> None:
    small_demo.demo()
    with local_broker(tmp_path / "broker") as other:
        published = demo(KAFKA_BOOTSTRAP_SERVERS=other.bootstrap_servers)
        again = demo(KAFKA_BOOTSTRAP_SERVERS=other.bootstrap_servers)
    assert [small_demo.steps(made) for made in published["runs"]] == [[PUBLISHED]]
    assert published["exactly_once"] and published["read_back"] > 0
    assert again["runs"] == [] and again["exactly_once"]


@pytest.mark.extended
class TestReforecast:
    """A branch's code on the tables of this demo. The demo is in the environment test, the clone is a local state."""

    @pytest.fixture(scope="class")
    def variables(self, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
        state = tmp_path_factory.mktemp("try")
        return {"RUTER_ENVIRONMENT": "local", "RUTER_STATE_DIR": str(state)}

    def test_same_code_has_the_same_forecasts(self, small_demo: SmallDemo, variables: dict[str, str]) -> None:
        original = str(small_demo.settings.source_dir)
        run("ruter-dagster", "reforecast", "--from", original, "--issue-dates", "2", **variables)
        note = run("ruter-dagster", "compare", **variables)
        assert f"Issue dates {YESTERDAY} to {D}: both have forecasts of" in note
        assert "All forecasts are equal." in note

    def test_trained_model_knows_nothing_of_the_issue_dates(
        self, small_demo: SmallDemo, variables: dict[str, str]
    ) -> None:
        """Runs after the test above, on its clone."""
        run("ruter-dagster", "reforecast", "--issue-dates", "2", "--train", **variables)
        note = run("ruter-dagster", "compare", **variables)
        assert "Largest changes (10)" in note
        champion = small_demo.newest("models/champion")[1].metadata["model_version"].value
        models = next(line for line in note.splitlines() if line.startswith("| models |")).split("|")
        assert str(champion) in models[3] and str(champion) not in models[2]
        version = models[2].strip(" `")
        artifacts = Path(variables["RUTER_STATE_DIR"]) / "demo" / "artifacts"
        record = json.loads((artifacts / "models" / "load_model" / version / "model.json").read_text())
        assert record["training_cutoff"] == str(YESTERDAY - timedelta(1))
