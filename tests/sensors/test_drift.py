"""A metric that calls for action asks for a training: once for each operating date; a warning does not."""

from __future__ import annotations

from dagster import AssetKey, DagsterInstance

from ruter_dagster.config.settings import load_settings
from ruter_dagster.sensors.drift import drift_sensors
from tests.scripted_launcher import JOBS, defs, write_script
from tests.sensors.conftest import Tick

(DRIFT,) = drift_sensors(load_settings(_env_file=None), JOBS)


def monitored(instance: DagsterInstance, day: str, verdict: str | None) -> None:
    row = {"operating_date": day, "metric": "bias", "scope": "network", "value": 0.1, "verdict": verdict}
    failed = {"bias": {"beyond": [row]}} if verdict else {}
    write_script(instance, monitoring__drift={"failed_checks": failed})
    result = defs.resolve_job_def("monitoring").execute_in_process(
        instance=instance, partition_key=day, asset_selection=[AssetKey(["monitoring", "drift"])]
    )
    assert result.success, "drift never fails the run"


def keys(tick: Tick) -> list[str | None]:
    return [run.run_key for run in tick(DRIFT).run_requests or []]


def test_action_asks_for_a_training_once_for_each_operating_date(
    instance: DagsterInstance, tick: Tick
) -> None:
    monitored(instance, "2026-03-28", "act")
    assert keys(tick) == ["training after drift 2026-03-28"]
    monitored(instance, "2026-03-28", "act")
    assert keys(tick) == []
    monitored(instance, "2026-03-29", "act")
    assert keys(tick) == ["training after drift 2026-03-29"]


def test_a_warning_asks_for_nothing(instance: DagsterInstance, tick: Tick) -> None:
    monitored(instance, "2026-03-28", "warn")
    assert keys(tick) == []


def test_no_drift_asks_for_nothing(instance: DagsterInstance, tick: Tick) -> None:
    monitored(instance, "2026-03-28", None)
    assert keys(tick) == []
