"""The job `drift` sees a fault of the demo network, and its checks name the vehicle."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.contracts.drift import DRIFT_METRICS
from ruter_dagster.contracts.jobs import Balance, Drift, JobParameters, Snapshot
from ruter_dagster.contracts.tables import DRIFT, DRIFT_SUMS, PLANNED_DEPARTURES, STOP_LOADS, STOP_VISITS
from ruter_dagster.forecasting.drift_sums import DriftSums
from ruter_dagster.jobs import balance, check_quality, drift, drift_sums, snapshot
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import Reporter
from tests.jobs.demo_jobs import context_of, quality_check, run, run_loads

pytestmark = [
    pytest.mark.extended,
    pytest.mark.filterwarnings("ignore:Delete operation did not match any records"),
]

DAY = date(2026, 11, 18)
HISTORY = tuple(DAY - timedelta(ago) for ago in range(8, 0, -1))
FAULTS = f"counter_failure:{DAY}:{DAY}:RUT:Vehicle:10031,timetable_change:{DAY}:{DAY}"


class Checks(Reporter):
    """Keeps the results of checks."""

    def __init__(self) -> None:
        super().__init__(None)
        self.results: dict[str, tuple[bool, dict[str, Any]]] = {}

    def checked(self, asset: str, name: str, passed: bool, *severity: Any, **metadata: Any) -> None:
        self.results[name] = (passed, metadata)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    run_loads(folder, *HISTORY)
    run(Snapshot(table=PLANNED_DEPARTURES.name, dates=HISTORY, of_range=True), folder)
    run(quality_check(PLANNED_DEPARTURES, *HISTORY), folder)
    return folder


def context_with_faults(parameters: JobParameters, folder: Path, report: Reporter) -> JobContext:
    context = context_of(parameters, folder)
    return replace(
        context, settings=context.settings.model_copy(update={"demo_faults": FAULTS}), report=report
    )


def test_checks_name_the_vehicle_and_lines_of_a_fault(folder: Path) -> None:
    checks = Checks()
    for job, parameters in (
        (snapshot, Snapshot(table=STOP_VISITS.name, dates=(DAY,))),
        (check_quality, quality_check(STOP_VISITS, DAY)),
        (balance, Balance(dates=(DAY,))),
        (check_quality, quality_check(STOP_LOADS, DAY)),
        (snapshot, Snapshot(table=PLANNED_DEPARTURES.name, dates=(DAY,))),
        (check_quality, quality_check(PLANNED_DEPARTURES, DAY)),
        (drift, Drift(dates=(DAY,))),
    ):
        context = context_with_faults(parameters, folder, checks)
        job.run(parameters, context)

    passed, metadata = checks.results["silent_vehicles"]
    assert not passed
    network = next(row for row in metadata["beyond"]["raw_value"]["records"] if row["scope"] == "network")
    assert network["verdict"] == "warn"
    assert network["detail"].startswith("RUT:Vehicle:10031 (")
    verdict = {"operating_date": DAY.isoformat(), "scope": "network", "verdict": "warn"}
    assert verdict in metadata["scopes"]["raw_value"]["records"]
    assert not checks.results["timetable_change"][0]
    assert checks.results["trip_gaps"][0]

    rows = context_of(Drift(dates=()), folder).store.read(DRIFT, [DAY]).filter(scope="network")
    assert rows["metric"].sort().to_list() == sorted(metric.name for metric in DRIFT_METRICS)
    changed = rows.filter(metric="timetable_change")["detail"].item()
    assert "RUT:Line:" in changed


def test_stored_sums_give_the_same_drift(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = HISTORY[-2:]
    parameters = Drift(dates=measured, of_range=True)
    run(parameters, folder)
    assert drift_both_ways(parameters, folder, monkeypatch) == []


def test_late_counts_change_the_sums_of_their_date(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters, late = Drift(dates=HISTORY[-1:]), HISTORY[3]
    run(parameters, folder)
    faults = f"counter_failure:{late}:{late}:RUT:Vehicle:10031"
    for job, changed in (
        (snapshot, Snapshot(table=STOP_VISITS.name, dates=(late,))),
        (check_quality, quality_check(STOP_VISITS, late)),
        (balance, Balance(dates=(late,))),
        (check_quality, quality_check(STOP_LOADS, late)),
    ):
        context = context_of(changed, folder)
        settings = context.settings.model_copy(update={"demo_faults": faults})
        job.run(changed, replace(context, settings=settings))
    assert drift_both_ways(parameters, folder, monkeypatch) == [late]


def test_sums_that_were_rolled_back_are_computed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters, late = Drift(dates=HISTORY[-1:]), HISTORY[3]
    store = run(parameters, folder).store
    outdated = store.read(DRIFT_SUMS, [late]).head(1)
    written = store.write(DRIFT_SUMS, outdated, [late], input_hashes={late: "outdated"}, code_version="1")
    run(parameters, folder)
    loaded = store.load(DRIFT_SUMS)
    assert loaded is not None
    loaded.manage_snapshots().rollback_to_snapshot(written.snapshot_id).commit()
    assert drift_both_ways(parameters, folder, monkeypatch) == [late]


def drift_both_ways(parameters: Drift, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[date]:
    """Requires equal drift of stored and of new sums. Returns the dates whose sums were not stored."""
    calls: list[date] = []
    compute = drift_sums._sums_of

    def computed(day: date, *arguments: Any) -> DriftSums:
        calls.append(day)
        return compute(day, *arguments)

    def version() -> dict[date, str]:
        return context_of(parameters, folder).store.versions(DRIFT, parameters.dates)

    monkeypatch.setattr(drift_sums, "_sums_of", computed)
    run(parameters, folder)
    with_stored, from_stored = list(calls), version()
    changed_code = folder / "changed_code.py"
    changed_code.write_text("another = True")
    monkeypatch.setattr(drift_sums, "__file__", str(changed_code))
    run(parameters, folder)
    assert len(calls) - len(with_stored) == len(HISTORY)
    assert version() == from_stored
    return with_stored
