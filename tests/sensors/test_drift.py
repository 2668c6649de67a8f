"""A metric that requires action requests one training for each operating date. A warning does not."""

from __future__ import annotations

from dagster import AssetKey, DagsterInstance

from ruter_dagster.config.settings import load_settings
from ruter_dagster.sensors.drift import drift_sensors
from tests.scripted_launcher import JOBS, defs, write_script
from tests.sensors.conftest import Tick

(DRIFT,) = drift_sensors(load_settings(_env_file=None), JOBS)


def run_monitoring(instance: DagsterInstance, day: str, verdict: str | None) -> None:
    row = {"operating_date": day, "metric": "bias", "scope": "network", "value": 0.1, "verdict": verdict}
    failed = {"bias": {"beyond": [row]}} if verdict else {}
    write_script(instance, monitoring__drift={"failed_checks": failed})
    result = defs.resolve_job_def("monitoring").execute_in_process(
        instance=instance, partition_key=day, asset_selection=[AssetKey(["monitoring", "drift"])]
    )
    assert result.success, "drift does not fail the run"


def keys(tick: Tick) -> list[str | None]:
    return [run.run_key for run in tick(DRIFT).run_requests or []]


def test_required_action_requests_one_training_per_operating_date(
    instance: DagsterInstance, tick: Tick
) -> None:
    run_monitoring(instance, "2026-03-28", "act")
    assert keys(tick) == ["training after drift 2026-03-28"]
    run_monitoring(instance, "2026-03-28", "act")
    assert keys(tick) == []
    run_monitoring(instance, "2026-03-29", "act")
    assert keys(tick) == ["training after drift 2026-03-29"]


def test_warning_requests_no_training(instance: DagsterInstance, tick: Tick) -> None:
    run_monitoring(instance, "2026-03-28", "warn")
    assert keys(tick) == []


def test_passed_checks_request_no_training(instance: DagsterInstance, tick: Tick) -> None:
    run_monitoring(instance, "2026-03-28", None)
    assert keys(tick) == []
