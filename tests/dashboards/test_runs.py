"""Data of the page Runs and cost, from Dagster's history."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from dagster import AssetKey, DagsterInstance

from ruter_dagster.commands.dashboard_runs import runs_between, runs_reader
from ruter_dagster.config.settings import load_settings
from ruter_dagster.dashboards.data.runs import (
    MAX_RUNS,
    RUNS_SCHEMA,
    by_day,
    cost_note,
    cut_off_note,
    newest_failure,
    runs_sentence,
)
from ruter_dagster.dashboards.pages import runs as page
from tests.scripted_launcher import defs, write_script

DAY = "2026-03-28"
ADDRESS = "http://dagster.test/"


def run(instance: DagsterInstance) -> str:
    result = defs.resolve_job_def("counts").execute_in_process(
        instance=instance,
        partition_key=DAY,
        asset_selection=[AssetKey(["loads", "stop_loads"])],
        tags={"dagster/partition": DAY},
        raise_on_error=False,
    )
    return result.run_id


def runs_of(instance: DagsterInstance) -> pl.DataFrame:
    today = datetime.now(UTC).date()
    # A day on each side, as midnight may pass while the test runs.
    first, last = today - timedelta(1), today + timedelta(1)
    return runs_between(instance, first, last, "UTC", ADDRESS)


def test_run_has_job_dates_result_cost_and_link(instance: DagsterInstance) -> None:
    write_script(instance, loads__stop_loads={"totals": {"sagemaker/estimated_cost": 0.25}})
    run_id = run(instance)
    (row,) = runs_of(instance).rows(named=True)
    assert (row["job"], row["dates"], row["status"], row["cost"]) == ("counts", DAY, "SUCCESS", 0.25)
    assert row["minutes"] >= 0 and row["reason"] is None
    assert row["address"] == f"http://dagster.test/runs/{run_id}"


def test_failed_run_says_why(instance: DagsterInstance) -> None:
    run(instance)
    write_script(instance, loads__stop_loads={"fails": "No room"})
    run(instance)
    runs = runs_of(instance)
    assert runs.row(0, named=True)["reason"] == "loads/stop_loads: No room", "the newest comes first"
    assert runs_sentence(runs) == f"**1 of 2 runs failed**, the newest: counts {DAY}."
    assert newest_failure(runs) == "loads/stop_loads: No room"
    assert newest_failure(runs.filter(status="SUCCESS")) is None


def test_runs_of_other_days_are_left_out(instance: DagsterInstance) -> None:
    run(instance)
    assert runs_between(instance, date(2020, 1, 1), date(2020, 1, 2), "UTC", ADDRESS).is_empty()


def test_runs_that_are_not_read_are_said(instance: DagsterInstance) -> None:
    run(instance)
    one = runs_of(instance)
    assert cut_off_note(one) == ""
    assert cut_off_note(pl.concat([one] * MAX_RUNS)).startswith(f"Only the newest {MAX_RUNS} runs are read")


def test_run_of_assets_has_their_names(instance: DagsterInstance) -> None:
    write_script(instance)
    asset = AssetKey(["loads", "stop_loads"])
    job = defs.resolve_implicit_global_asset_job_def()
    job.execute_in_process(
        instance=instance, partition_key=DAY, raise_on_error=False, asset_selection=[asset]
    )
    assert runs_of(instance)["job"].to_list() == ["loads/stop_loads"]


def test_missing_cost_is_explained(instance: DagsterInstance) -> None:
    run(instance)
    runs = runs_of(instance)
    assert cost_note(runs).startswith("No cost: ")
    assert cost_note(runs.with_columns(cost=0.25)) == ""


def test_no_run_is_said(instance: DagsterInstance) -> None:
    assert runs_sentence(runs_of(instance)) == "No run started in this period."


def test_days_are_local() -> None:
    started = datetime(2026, 3, 27, 23, 30, tzinfo=UTC)
    rows = [(started, "counts", "", "SUCCESS", 2.0, 0.5, None, ""), (started, "plan", "", "SUCCESS", 1.0, None, None, "")]  # fmt: skip
    runs = pl.DataFrame(rows, schema=RUNS_SCHEMA, orient="row")
    assert by_day(runs, "Europe/Oslo").rows() == [(date(2026, 3, 28), 3.0, 0.5)]
    expected = "**2 runs, none failed**. Their jobs cost about **0.50 US dollars**."
    assert runs_sentence(runs) == expected


@pytest.mark.parametrize(
    ("results", "end"),
    [
        ("FS", "It has succeeded since, in a later run of the same job and dates."),
        ("FFS", "All have succeeded since, in a later run of the same job and dates."),
        ("FSF", "1 of them has succeeded since, in a later run of the same job and dates."),
        ("SF", "the newest: counts."),
    ],
)
def test_repaired_failures_are_named(results: str, end: str) -> None:
    status = {"F": "FAILURE", "S": "SUCCESS"}
    started = datetime(2026, 3, 27, 12, tzinfo=UTC)
    rows = [
        (started + timedelta(hours=hour), "counts", None, status[result], 2.0, None, None, "")
        for hour, result in enumerate(results)
    ]
    other = (started + timedelta(days=1), "plan", None, "SUCCESS", 2.0, None, None, "")
    assert runs_sentence(pl.DataFrame([*rows, other], schema=RUNS_SCHEMA, orient="row")).endswith(end)


@pytest.mark.parametrize(("days", "charts"), [(1, []), (2, ["minutes"])])
def test_single_day_has_no_chart(monkeypatch: pytest.MonkeyPatch, days: int, charts: list[str]) -> None:
    shown: list[str] = []
    monkeypatch.setattr(page, "show_chart", lambda chart, key, description: shown.append(key))
    started = [datetime(2026, 3, 27, 12, tzinfo=UTC) + timedelta(number) for number in range(days)]
    rows = [(at, "counts", "", "SUCCESS", 2.0, None, None, "") for at in started]
    page._show_days(pl.DataFrame(rows, schema=RUNS_SCHEMA, orient="row"), "Europe/Oslo")
    assert shown == charts


def test_state_without_history_gets_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tests' own folder is the project's, with a dagster.yaml."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    settings = load_settings(_env_file=None, state_dir=tmp_path)
    assert runs_reader(settings, "UTC") is None
    assert list(tmp_path.iterdir()) == []
