"""The report, the issue date and the errors of `ruter-dagster demo`."""

from __future__ import annotations

import os
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    MetadataValue,
    TableRecord,
)
from rich.console import Console

from ruter_dagster.commands.demo import (
    _describe_assets,
    _gate_result,
    _remedy,
    _share_of_unknown_occupancy,
    issue_date_of,
)
from ruter_dagster.commands.demo_report import Report, show
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.errors import PermanentFailure, SettingsError
from ruter_dagster.orchestration.chain import RUNS
from ruter_dagster.orchestration.plan import Stage
from ruter_dagster.orchestration.runs import RunOutcome
from tests.chain.tides_days import FORMER, LAST, visits_file, write_tides
from tests.scripted_launcher import defs, write_script
from tests.sources.gtfs_feed import FEED, write_folder


@pytest.fixture
def report(instance: DagsterInstance) -> Report:
    """Of twenty checks of the visits one fails, and for one too little is known."""
    write_script(
        instance,
        quality__stop_visits={
            "failed_checks": {"rows_near_usual": {"judged": True}},
            "not_judged": ["stop_points_known"],
        },
    )
    defs.resolve_job_def("counts").execute_in_process(instance=instance, partition_key="2026-03-29")
    report = Report("2026-03-30", "demo")
    _describe_assets(report, defs, instance, RUNS["counts"])
    return report


def test_unjudged_checks_are_not_counted_as_passed(report: Report) -> None:
    rows: dict[str, dict[str, Any]] = {row["asset"]: row for row in report.assets}
    visits = rows["quality/stop_visits"]
    assert (visits["checks_passed"], visits["checks_not_judged"], visits["checks"]) == (18, 1, 20)
    console = Console(record=True, width=120)
    show(report, console)
    shown = console.export_text()
    assert "18 of 20, 1 not judged, 1 warning" in shown
    assert "warning: quality/stop_visits does not meet rows_near_usual" in shown
    assert "fail" not in shown.lower()
    assert "17 of 17 " in shown, "loads, whose checks were all judged"


def shown_of(report: Report) -> str:
    console = Console(record=True, width=60)
    show(report, console)
    return console.export_text()


def test_names_of_unmet_checks_are_not_broken() -> None:
    asset = {
        "asset": "quality/stop_visits",
        "rows": 1,
        "checks": 2,
        "checks_passed": 0,
        "checks_not_judged": 0,
    }
    names = {"checks_failed": ["few_visits_at_unknown_stops"], "checks_warned": ["zero_loads_near_usual"]}
    shown = shown_of(Report("2026-03-30", "demo", assets=[asset | names]))
    assert "error: quality/stop_visits does not meet few_visits_at_unknown_stops\n" in shown
    assert "warning: quality/stop_visits does not meet zero_loads_near_usual\n" in shown


def test_end_names_forecast_dates_gate_and_unknown_occupancy() -> None:
    report = Report("2026-03-30", "demo", forecast_dates=["2026-03-30", "2026-04-02"])
    report.gate, report.unknown_occupancy = "The model was promoted: so it was.", 0.25
    shown = shown_of(report)
    assert "Forecasts of 2026-03-30 to 2026-04-02\n" in shown
    assert "The model was promoted: so it was.\n" in shown
    assert "the occupancy level of 25% of the forecasts is unknown" in shown
    assert "unknown" not in shown_of(Report("2026-03-30", "demo", unknown_occupancy=0.0))


def test_accuracy_names_baselines_as_the_documentation_does() -> None:
    row = {"baseline": "ha4", "wape_baseline": 0.271, "wape_model": 0.235, "improvement": 0.133}
    intervals = ({"low_95": 0.1, "high_95": 0.16}, {"low_95": None, "high_95": None})
    console = Console(record=True, width=160)
    show(Report("2026-03-30", "demo", accuracy=[row | interval for interval in intervals]), console)
    shown = console.export_text()
    assert "mean of 4 weeks (HA4)" in shown and "10.0% to 16.0%" in shown and "unknown to unknown" in shown
    assert "13.3%" in shown


def test_repeated_run_says_already_published() -> None:
    assert "journeys already published to" in shown_of(Report("2026-03-30", "demo", already_published=True))
    assert "journeys published to" in shown_of(Report("2026-03-30", "demo"))


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        (True, "The model was promoted: in each of the 1 combinations"),
        (
            False,
            "The model was not promoted: its error is significantly higher than the best baseline's for bus at horizon 2.",
        ),
    ],
)
def test_gate_result_is_one_sentence(passed: bool, expected: str) -> None:
    record = TableRecord({"mode": "bus", "horizon_days": 2, "passed": passed})
    with DagsterInstance.ephemeral() as instance:
        assert _gate_result(instance) is None
        instance.report_runless_asset_event(
            AssetCheckEvaluation(
                asset_key=AssetKey(["models", "evaluation"]),
                check_name="not_worse_than_baselines",
                passed=passed,
                metadata={"gates": MetadataValue.table([record])},
            )
        )
        assert (_gate_result(instance) or "").startswith(expected)


def test_share_of_unknown_occupancy_is_read_from_the_forecasts() -> None:
    records = [
        TableRecord({"occupancy_level": "unknown", "count": 1}),
        TableRecord({"occupancy_level": "full", "count": 3}),
    ]
    with DagsterInstance.ephemeral() as instance:
        assert _share_of_unknown_occupancy(instance, "2026-03-30") is None
        instance.report_runless_asset_event(
            AssetMaterialization(
                ["forecasts", "load_forecasts"],
                partition="2026-03-30",
                metadata={"occupancy_levels": MetadataValue.table(records)},
            )
        )
        assert _share_of_unknown_occupancy(instance, "2026-03-30") == 0.25


def test_failed_run_keeps_earlier_check_results(instance: DagsterInstance) -> None:
    """Dagster plans the checks of a report when the run starts; where the visits before it fail, nothing evaluates them."""
    rows = {}
    for failing in (False, True):
        write_script(instance, **({"raw__stop_visits": {"fails": "one bad cell"}} if failing else {}))
        defs.resolve_job_def("counts").execute_in_process(
            instance=instance,
            partition_key="2026-03-29",
            asset_selection=[AssetKey(["raw", "stop_visits"]), AssetKey(["quality", "stop_visits"])],
            raise_on_error=False,
        )
        report = Report("2026-03-30", "demo")
        _describe_assets(report, defs, instance, RUNS["counts"])
        rows[failing] = {row["asset"]: row for row in report.assets}["quality/stop_visits"]
    assert rows[True]["checks"] == rows[False]["checks"] > 0
    assert rows[True]["checks_failed"] == []


@pytest.fixture
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("RUTER_", "KAFKA_")):
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("_no_variables")
def test_last_line_names_the_next_command() -> None:
    texts = {}
    for on_double in (None, Path("/state/on-sagemaker-double")):
        console = Console(record=True, width=80)
        show(Report("2026-03-30", "demo"), console, on_double)
        texts[on_double is not None] = console.export_text()
    assert "Next: `make dev` shows the lineage, and in the dashboard tomorrow's" in texts[False]
    assert "prints the addresses. README.md" in texts[False]
    assert "Next: `RUTER_LAUNCHER=local RUTER_STATE_DIR=/state/on-sagemaker-double make dev`" in texts[True]
    assert (
        "with its job, and prints the addresses. The double of AWS has ended with its tables and files."
        in texts[True]
    )
    assert "double of AWS" not in texts[False]
    assert "http://" not in "".join(texts.values()), "the ports may be taken"


@pytest.mark.usefixtures("_no_variables")
def test_last_line_keeps_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUTER_SOURCE", "tides")
    monkeypatch.setenv("RUTER_TIDES_PATH", "my counts/aarhus")
    monkeypatch.setenv("RUTER_DEMO_SEED", "7")
    monkeypatch.setenv("RUTER_SLACK_TOKEN", "a-secret")
    console = Console(record=True, width=80)
    show(Report("2026-03-30", "tides"), console)
    assert (
        "Next: `RUTER_DEMO_SEED=7 RUTER_SOURCE=tides RUTER_TIDES_PATH='my counts/aarhus' make dev`"
        in console.export_text()
    )


def tides(issue_date: str | None) -> date:
    return issue_date_of(
        load_settings(_env_file=None, source="tides", tides_path="examples/aarhus_1a", issue_date=issue_date)
    )


def test_timetable_allows_the_day_after_the_last_counts() -> None:
    assert tides(None) == date(2024, 2, 1)
    assert tides("2024-01-31") == date(2024, 1, 31)
    with pytest.raises(
        SettingsError,
        match=r"RUTER_ISSUE_DATE=2024-02-02: allowed 2022-01-01 to 2024-02-01: .*aarhus_1a/gtfs to 2024-02-04",
    ):
        tides("2024-02-02")


def test_tides_data_need_three_dates_after_the_issue_date(tmp_path: Path) -> None:
    settings = partial(
        load_settings, _env_file=None, source="tides", tides_path=str(write_tides(tmp_path)), operator="ruter"
    )
    newest = issue_date_of(settings())
    assert newest == LAST - timedelta(3)
    with pytest.raises(
        SettingsError, match=rf"RUTER_ISSUE_DATE=2031-01-01: allowed 2025-03-11 to {newest}: the TIDES"
    ):
        issue_date_of(settings(issue_date="2031-01-01"))
    with pytest.raises(SettingsError, match="RUTER_ISSUE_DATE=2001-01-01"):
        issue_date_of(settings(issue_date="2001-01-01"))


@pytest.mark.parametrize(
    ("valid_to", "issued"),
    [("20250320", 17), ("20250319", 16), ("20250318", 15), ("20250317", 14), ("20250316", 13)],
)
def test_short_timetable_allows_only_earlier_issue_dates(tmp_path: Path, valid_to: str, issued: int) -> None:
    """Counts reach to 2025-03-16: with them and the feed, the issue date and three dates after it are planned."""
    write_tides(tmp_path)
    service = f"weekends,1,1,1,1,1,1,1,20250301,{valid_to}\n"
    calendar = (
        FEED["calendar.txt"].splitlines(keepends=True)[0] + service.replace("weekends", "weekdays") + service
    )
    without_info = {
        name: text for name, text in FEED.items() if name not in ("feed_info.txt", "calendar_dates.txt")
    }
    write_folder(tmp_path / "gtfs", without_info | {"calendar.txt": calendar})
    settings = load_settings(_env_file=None, source="tides", tides_path=str(tmp_path), operator="ruter")
    assert issue_date_of(settings) == date(2025, 3, issued)


@pytest.mark.usefixtures("_no_variables")
def test_failure_names_the_command_that_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUTER_SOURCE", "tides")
    outcome = RunOutcome("0123", False, "loads/stop_loads: full", Path("counts.log"))
    texts = {double: _remedy(Stage("Counts", "counts"), outcome, double) for double in (False, True)}
    assert (
        "run `RUTER_SOURCE=tides ruter-dagster retry 0123` to continue from the failed step" in texts[False]
    )
    assert "retry" not in texts[True]
    assert "to start again: the double of AWS keeps nothing" in texts[True]
    assert all("loads/stop_loads: full" in text and "counts.log" in text for text in texts.values())


def test_too_few_tides_dates_are_refused(tmp_path: Path) -> None:
    write_tides(tmp_path)
    for day in (FORMER, FORMER + timedelta(1), FORMER + timedelta(2)):
        visits_file(tmp_path, day).unlink()
    settings = load_settings(_env_file=None, source="tides", tides_path=str(tmp_path), operator="ruter")
    with pytest.raises(PermanentFailure, match="reach from 2025-03-13 to 2025-03-16: too few dates"):
        issue_date_of(settings)
