"""`ruter-dagster compare` reads both states and prints one note. With --post, the note is in the branch's merge request."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ruter_dagster.commands.cli import main
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.sandbox import sandbox_id
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.storage.configured_tables import open_tables
from ruter_dagster.storage.tables import TableStore
from sagemaker_double.control import Remote
from sagemaker_double.settings import Settings as DoubleSettings
from tests.commands.compared_states import (
    DEPARTURES,
    ISSUE_DATE,
    NEXT,
    forecasts,
    record_run,
    write,
    write_truth,
)
from tests.gitlab_stub import TOKEN, GitLabStub, running_gitlab

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")
ROOT = Path(__file__).parents[2]
LATER = [NEXT + timedelta(number) for number in range(3)]


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUTER_ENV_FILE", "")
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("RUTER_BRANCH", "feature/seats")
    for name in ("DAGSTER_HOME", "CI_JOB_URL", "CI_COMMIT_REF_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(ROOT)


@pytest.fixture
def this(_own_state: None) -> TableStore:
    """The own state: means a tenth too high, and no loads."""
    store = open_tables(load_settings())
    write(store, forecasts(1.1))
    return store


@pytest.fixture
def other(this: TableStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TableStore:
    """The other state: means a fifth too high, and the loads of four service dates."""
    with monkeypatch.context() as variables:
        variables.setenv("RUTER_STATE_DIR", str(tmp_path / "other"))
        store = open_tables(load_settings())
    write(store, forecasts(1.2, level="full"))
    write_truth(store, [ISSUE_DATE, *LATER])
    return store


def run(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, ["compare", *arguments])
    assert result.exit_code == exit_code, result.output
    return result.output if exit_code else result.stdout


def row(note: str, first: str, section: str) -> list[str]:
    """The cells of a table row by its first cell, in the section with this heading."""
    part = note.partition(section)[2]
    cells = next(line for line in part.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in cells.strip("|").split("|")]


def folder(tmp_path: Path) -> str:
    return str(tmp_path / "other" / "demo")


def test_state_folder_is_compared_departure_by_departure(other: TableStore, tmp_path: Path) -> None:
    note = run("--with", folder(tmp_path))
    mean = forecasts()["mean"].mean()
    assert isinstance(mean, float)
    shown = row(note, "all", "### Difference in forecasts")
    assert shown[1:] == [f"{2 * DEPARTURES:,}", f"{mean / 10:.3f}", f"{-mean / 10:+.3f}", "100.00%"]
    assert f"Issue dates {ISSUE_DATE} to {NEXT}" in note
    assert "## Forecasts of local compared with other/demo\n" in note
    assert str(tmp_path) not in note


def test_accuracy_is_against_loads_of_the_other_state(other: TableStore, tmp_path: Path) -> None:
    note = run("--with", folder(tmp_path))
    shown = row(note, "all", "### Accuracy against counted loads")
    assert shown[2:] == ["4", "0.1000", "0.2000", "-0.1000", "-0.1000 to -0.1000"]
    assert "**local is more accurate: WAPE 0.1000, " in note
    assert row(note, "`RUT:Line:31`", "Accuracy by line")[1] == "bus"


def test_own_loads_are_truth_of_dates_that_the_other_lacks(
    this: TableStore, other: TableStore, tmp_path: Path
) -> None:
    days = [ISSUE_DATE, *LATER]
    write_truth(this, [*days, days[-1] + timedelta(1)], factor=0.5, verdict="warn")
    shown = row(run("--with", folder(tmp_path)), "all", "### Accuracy against counted loads")
    assert shown[2] == "5"
    assert shown[3] > "0.1000", "the fifth date has half the load"


def test_largest_changes_and_levels_are_shown(other: TableStore, tmp_path: Path) -> None:
    note = run("--with", folder(tmp_path))
    largest = note.partition("Largest changes (10)")[2].partition("</details>")[0]
    assert "full → manySeatsAvailable" in largest
    assert f"| {96 * 1.2345 * 1.2:.1f} | {96 * 1.2345 * 1.1:.1f} |" in largest


def test_drift_verdicts_of_both_are_shown(this: TableStore, other: TableStore, tmp_path: Path) -> None:
    write_truth(this, [ISSUE_DATE], verdict="act")
    shown = row(run("--with", folder(tmp_path)), "skill_against_ha4", "### Drift")
    assert shown[1:] == ["network", "act (0.04)", "ok (0.04)"]


def test_earlier_snapshot_is_compared_with_the_present(this: TableStore) -> None:
    earlier = this.current_snapshot(LOAD_FORECASTS)
    write(this, forecasts(1.3))
    note = run("--with", f"snapshot:{earlier}")
    assert f"compared with snapshot:{earlier}" in note
    ids = row(note, "`forecasts.load_forecasts`", "Snapshots and models")[1:]
    assert ids == [str(this.current_snapshot(LOAD_FORECASTS)), str(earlier)]
    assert "Accuracy is unknown: no load of these service dates" in note


def test_equal_forecasts_are_reported(this: TableStore, tmp_path: Path) -> None:
    note = run("--with", str(tmp_path / "state"))
    assert "All forecasts are equal." in note
    assert row(note, "all", "### Difference in forecasts")[2:] == ["0.000", "+0.000", "0.00%"]


def test_newest_common_issue_dates_are_compared(this: TableStore, other: TableStore, tmp_path: Path) -> None:
    write(this, forecasts(days=[NEXT + timedelta(1)]))
    note = run("--with", folder(tmp_path), "--issue-dates", "1")
    assert f"Issue dates {NEXT}: both have forecasts of {DEPARTURES:,} departures." in note


def test_departures_of_one_side_are_counted(this: TableStore, other: TableStore, tmp_path: Path) -> None:
    write(this, forecasts(1.1).head(-30))
    assert "; 30 are only in other/demo." in run("--with", folder(tmp_path))


def test_environment_without_a_lake_is_a_folder(this: TableStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as variables:
        variables.setenv("RUTER_ENVIRONMENT", "test")
        variables.setenv("RUTER_LAUNCHER", "local")
        write(open_tables(load_settings()), forecasts(1.2))
    assert "## Forecasts of local compared with test" in run("--with", "test")


def test_cost_is_that_of_the_runs_with_these_forecasts(
    this: TableStore, other: TableStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_instance() as instance:
        record_run(instance, this, 0.75)
        write(this, forecasts(1.4))
        record_run(instance, this, 1.25)
    note = run("--with", folder(tmp_path))
    assert "- local: 2.50 USD (2 jobs, 1 run)\n- other/demo: not recorded here" in note
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path / "other"))
    exchanged = run("--with", str(tmp_path / "state" / "demo"))
    assert "- local: not recorded here\n- state/demo: 2.50 USD (2 jobs, 1 run)" in exchanged


def test_cost_of_a_snapshot_is_that_of_its_run(this: TableStore) -> None:
    earlier = this.current_snapshot(LOAD_FORECASTS)
    with open_instance() as instance:
        record_run(instance, this, 0.75)
        write(this, forecasts(1.4))
        record_run(instance, this, 1.25)
    assert f"- snapshot:{earlier}: 1.50 USD (2 jobs, 1 run)" in run("--with", f"snapshot:{earlier}")


def test_links_are_those_of_dagster_the_job_and_the_command(
    this: TableStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_JOB_URL", "https://gitlab.test/jobs/1")
    note = run("--with", str(tmp_path / "state"), "--link", "Dashboard=https://quicksight.test/a=b")
    last = note.strip().splitlines()[-1]
    assert last == (
        "[Dagster](http://127.0.0.1:3000) · [Job](https://gitlab.test/jobs/1) · [Dashboard](https://quicksight.test/a=b)"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "There is no state nowhere. Name the folder of another state"),
        ("snapshot:main", "the id of a snapshot is a number"),
        ("snapshot:1", "has no snapshot 1"),
    ],
)
def test_unknown_state_is_one_sentence(this: TableStore, name: str, message: str) -> None:
    assert message in run("--with", name, exit_code=1)


def test_states_without_a_common_issue_date_name_their_dates(this: TableStore, tmp_path: Path) -> None:
    other = TableStore(
        {
            "type": "sql",
            "uri": f"sqlite:///{tmp_path}/x/warehouse/catalog.db",
            "warehouse": f"{tmp_path}/x/warehouse/tables",
        }
    )
    (tmp_path / "x" / "warehouse").mkdir(parents=True)
    write(other, forecasts(days=[NEXT + timedelta(9)]))
    message = run("--with", str(tmp_path / "x"), exit_code=1)
    assert f"local has {ISSUE_DATE} to {NEXT}; " in message
    assert f"has {NEXT + timedelta(9)}" in message


def test_copied_state_is_refused(other: TableStore, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "other" / "demo", tmp_path / "copy")
    assert "is a copy of" in run("--with", str(tmp_path / "copy"), exit_code=1)


def test_state_without_forecasts_is_named(
    this: TableStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path / "empty"))
    assert "ruter-dagster demo` first" in run("--with", folder(tmp_path), exit_code=1)
    assert not (tmp_path / "empty").exists()


class TestPost:
    @pytest.fixture
    def gitlab(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitLabStub]:
        with running_gitlab() as stub:
            for name, value in {
                "CI_API_V4_URL": stub.url,
                "CI_PROJECT_ID": "7",
                "CI_PROJECT_PATH": "ruter/loads",
                "CI_OPEN_MERGE_REQUESTS": "ruter/loads!12",
                "CI_COMMIT_REF_NAME": "feature/seats",
                "GITLAB_NOTE_TOKEN": TOKEN,
            }.items():
                monkeypatch.setenv(name, value)
            yield stub

    def test_printed_note_is_posted_once_for_each_branch(
        self, other: TableStore, tmp_path: Path, gitlab: GitLabStub
    ) -> None:
        for _ in range(2):
            note = run("--with", folder(tmp_path), "--post")
        [body] = gitlab.bodies("/projects/7/merge_requests/12")
        assert body.partition("\n")[2].strip() == note.strip()
        assert [method for method, *_ in gitlab.requests] == ["GET", "POST", "GET", "PUT"]

    def test_branch_without_merge_request_still_prints_the_note(
        self, other: TableStore, tmp_path: Path, gitlab: GitLabStub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CI_OPEN_MERGE_REQUESTS", "")
        result = CliRunner().invoke(main, ["compare", "--with", folder(tmp_path), "--post"])
        assert result.exit_code == 0
        assert "## Forecasts of local" in result.stdout
        assert "feature/seats has no open merge request" in result.stderr
        assert gitlab.requests == []

    def test_missing_token_is_reported_before_any_work(
        self, gitlab: GitLabStub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GITLAB_NOTE_TOKEN", "")
        assert "GITLAB_NOTE_TOKEN is not set" in run("--with", "nowhere", "--post", exit_code=1)


class TestLake:
    @pytest.fixture
    def lake(self, sagemaker_double: Remote, aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Forecasts in the Glue databases of dev, the own environment, and of prod."""
        region = DoubleSettings.region
        aws("s3").create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": region})
        for name, value in {
            "RUTER_LAKE": "s3://lake",
            "AWS_REGION": region,
            "RUTER_MLFLOW_TRACKING_URI": "http://mlflow.test",
            "RUTER_LAUNCHER": "local",
        }.items():
            monkeypatch.setenv(name, value)
        for environment, factor in (("prod", 1.2), ("dev", 1.1)):
            monkeypatch.setenv("RUTER_ENVIRONMENT", environment)
            write(open_tables(load_settings()), forecasts(factor))

    @pytest.mark.parametrize("name", ["prod", "rd_prod_demo"])
    def test_environment_and_database_are_read_from_glue(self, lake: None, name: str) -> None:
        note = run("--with", name)
        mean = forecasts()["mean"].mean()
        assert isinstance(mean, float)
        assert f"## Forecasts of dev compared with {name}" in note
        assert row(note, "all", "### Difference in forecasts")[3] == f"{-mean / 10:+.3f}"

    def test_sandbox_finds_the_database_of_prod(self, lake: None, monkeypatch: pytest.MonkeyPatch) -> None:
        for environment, database in (("prod", "rd_prod"), ("s-seats-1a2b3c", "rd_s_seats_1a2b3c")):
            monkeypatch.setenv("RUTER_ENVIRONMENT", environment)
            monkeypatch.setenv("RUTER_GLUE_DATABASE", database)
            write(open_tables(load_settings()), forecasts(1.3 if environment == "prod" else 1.1))
        mean = forecasts()["mean"].mean()
        assert isinstance(mean, float)
        assert row(run("--with", "prod"), "all", "### Difference in forecasts")[3] == f"{-mean / 5:+.3f}"

    @pytest.mark.parametrize("branch", ["feature/loads", "loads"])
    def test_branch_means_its_sandbox(self, lake: None, branch: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RUTER_ENVIRONMENT", sandbox_id(branch))
        write(open_tables(load_settings()), forecasts(1.3))
        monkeypatch.setenv("RUTER_ENVIRONMENT", "dev")
        assert f"## Forecasts of dev compared with {branch}" in run("--with", branch)
        assert "There is no state feature/none" in run("--with", "feature/none", exit_code=1)

    def test_database_of_another_name_has_to_be_named(
        self, lake: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RUTER_GLUE_DATABASE", "forecasts")
        write(open_tables(load_settings()), forecasts())
        message = run("--with", "prod", exit_code=1)
        assert "database forecasts is not named after the environment dev" in message
        assert "compared with rd_prod_demo" in run("--with", "rd_prod_demo")

    def test_unknown_database_has_no_forecasts(self, lake: None) -> None:
        message = run("--with", "rd_pord_demo", exit_code=1)
        assert re.search("rd_pord_demo has no forecasts. Check the name", message)
