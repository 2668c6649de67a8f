"""Metrics of ended runs in CloudWatch: each run once, final failures only, and none lost if CloudWatch does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from dagster import AssetKey, DagsterInstance, DagsterRunStatus, ExecuteInProcessResult, SensorDefinition
from dagster._core.test_utils import create_run_for_test
from moto import mock_aws

from ruter_dagster.aws.metrics import MAX_METRICS, NAMESPACE, Metric, send_metrics
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.jobs import PUBLISHED_FORECASTS
from ruter_dagster.orchestration.partitions import range_tags
from ruter_dagster.sensors.metrics import PERFORMANCE_ASSET, metric_sensors
from tests.scripted_launcher import defs, write_script
from tests.sensors.conftest import Tick

REGION, ENVIRONMENT = "eu-north-1", "rd-test"
DAY = "2026-03-28"
DAYS = [datetime(2026, 3, day).date() for day in (26, 27, 28)]  # noqa: DTZ001


@pytest.fixture
def cloudwatch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "tests")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield boto3.client("cloudwatch", region_name=REGION)


@pytest.fixture
def sensor(cloudwatch: Any, tick: Tick) -> SensorDefinition:
    """The sensor, turned on before any run."""
    (sensor,) = metric_sensors(
        load_settings(_env_file=None, metrics_environment=ENVIRONMENT, AWS_REGION=REGION)
    )
    tick(sensor)
    return sensor


def run(
    instance: DagsterInstance, job: str, asset: str, day: str | None = DAY, **tags: str
) -> ExecuteInProcessResult:
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=day,
        asset_selection=[AssetKey.from_user_string(asset)],
        tags=tags,
        raise_on_error=False,
    )


def sums(cloudwatch: Any) -> dict[str, float]:
    """The sum of each metric of this environment."""
    metrics = cloudwatch.list_metrics(Namespace=NAMESPACE)["Metrics"]
    assert {value["Value"] for metric in metrics for value in metric["Dimensions"]} <= {ENVIRONMENT}
    now = datetime.now(UTC)
    return {
        name: sum(
            point["Sum"]
            for point in cloudwatch.get_metric_statistics(
                Namespace=NAMESPACE,
                MetricName=name,
                Dimensions=[{"Name": "Environment", "Value": ENVIRONMENT}],
                StartTime=now - timedelta(1),
                EndTime=now + timedelta(1),
                Period=3600,
                Statistics=["Sum"],
            )["Datapoints"]
        )
        for name in {metric["MetricName"] for metric in metrics}
    }


def test_no_setting_means_no_sensor() -> None:
    assert metric_sensors(load_settings(_env_file=None)) == []


def test_successful_run_has_result_and_duration(
    instance: DagsterInstance, cloudwatch: Any, tick: Tick, sensor: SensorDefinition
) -> None:
    assert run(instance, "counts", "loads/stop_loads").success
    tick(sensor)
    sent = sums(cloudwatch)
    assert sent.pop("RunSeconds") > 0
    assert sent == {"RunSuccesses": 1}


def test_each_run_is_sent_once(
    instance: DagsterInstance, cloudwatch: Any, tick: Tick, sensor: SensorDefinition
) -> None:
    for count in (1, 2):
        run(instance, "counts", "loads/stop_loads")
        tick(sensor)
        tick(sensor)
        assert sums(cloudwatch)["RunSuccesses"] == count


def test_runs_before_first_tick_are_not_sent(instance: DagsterInstance, cloudwatch: Any, tick: Tick) -> None:
    run(instance, "counts", "loads/stop_loads")
    (sensor,) = metric_sensors(
        load_settings(_env_file=None, metrics_environment=ENVIRONMENT, AWS_REGION=REGION)
    )
    tick(sensor)
    tick(sensor)
    assert sums(cloudwatch) == {}


def test_only_last_failure_of_retried_run_is_counted(
    instance: DagsterInstance, cloudwatch: Any, tick: Tick, sensor: SensorDefinition
) -> None:
    write_script(instance, loads__stop_loads={"fails": "The worker was lost"})
    first = run(instance, "counts", "loads/stop_loads", **{"dagster/will_retry": "true"})
    tick(sensor)
    assert sums(cloudwatch) == {}, "the retry may succeed"
    tags = {"dagster/will_retry": "false", "dagster/root_run_id": first.run_id}
    second = run(instance, "counts", "loads/stop_loads", **tags)
    instance.add_run_tags(first.run_id, {"dagster/auto_retry_run_id": second.run_id})
    tick(sensor)
    assert sums(cloudwatch)["RunFailures"] == 1


def test_failure_that_is_reported_again_is_counted_once(
    instance: DagsterInstance, cloudwatch: Any, tick: Tick, sensor: SensorDefinition
) -> None:
    write_script(instance, loads__stop_loads={"fails": "No room"})
    failed = run(instance, "counts", "loads/stop_loads")
    instance.report_run_failed(instance.get_run_by_id(failed.run_id))  # type: ignore[arg-type]
    tick(sensor)
    assert sums(cloudwatch)["RunFailures"] == 1


def test_cancelled_run_is_neither_success_nor_failure(
    instance: DagsterInstance, cloudwatch: Any, tick: Tick, sensor: SensorDefinition
) -> None:
    cancelled = create_run_for_test(instance, job_name="counts", status=DagsterRunStatus.STARTED)
    instance.report_run_canceled(cancelled)
    tick(sensor)
    assert {"RunSuccesses", "RunFailures"} & sums(cloudwatch).keys() == set()


@pytest.mark.parametrize("several", [False, True], ids=["one date", "range"])
def test_cost_of_jobs_is_sent_once_per_run(
    instance: DagsterInstance, cloudwatch: Any, tick: Tick, sensor: SensorDefinition, several: bool
) -> None:
    write_script(instance, loads__stop_loads={"totals": {"sagemaker/estimated_cost": 0.25}})
    day, tags = (None, range_tags(DAYS[0], DAYS[-1])) if several else (DAY, {})
    assert run(instance, "counts", "loads/stop_loads", day, **tags).success
    tick(sensor)
    assert sums(cloudwatch)["JobCost"] == 0.25


def test_publications_are_counted_by_date(
    instance: DagsterInstance, cloudwatch: Any, tick: Tick, sensor: SensorDefinition
) -> None:
    assert run(instance, "forecasting", PUBLISHED_FORECASTS, None, **range_tags(DAYS[0], DAYS[-1])).success
    tick(sensor)
    assert sums(cloudwatch)["Publications"] == 3


def test_repeated_publication_is_not_counted(
    instance: DagsterInstance, cloudwatch: Any, tick: Tick, sensor: SensorDefinition
) -> None:
    write_script(instance, forecasts__published_forecasts={"totals": {"already_published": [DAY]}})
    assert run(instance, "forecasting", PUBLISHED_FORECASTS).success
    tick(sensor)
    assert sums(cloudwatch)["Publications"] == 0


def test_accuracy_is_mean_of_dates(
    instance: DagsterInstance, cloudwatch: Any, tick: Tick, sensor: SensorDefinition
) -> None:
    wapes = {day.isoformat(): {"wape": value} for day, value in zip(DAYS, (0.1, 0.2, 0.6), strict=True)}
    write_script(instance, monitoring__forecast_performance={"numbers": wapes})
    assert run(instance, "monitoring", PERFORMANCE_ASSET, None, **range_tags(DAYS[0], DAYS[-1])).success
    tick(sensor)
    assert sums(cloudwatch)["Wape"] == pytest.approx(0.3)


@pytest.mark.parametrize(("verdict", "alarms"), [("act", 1), ("warn", 0), (None, 0)])
def test_drift_that_requires_action_is_counted(
    instance: DagsterInstance,
    cloudwatch: Any,
    tick: Tick,
    sensor: SensorDefinition,
    verdict: str | None,
    alarms: int,
) -> None:
    """A measure of zero ends the alarm."""
    row = {"operating_date": DAY, "metric": "bias", "scope": "network", "value": 0.1, "verdict": verdict}
    failed = {"bias": {"beyond": [row]}} if verdict else {}
    write_script(instance, monitoring__drift={"failed_checks": failed})
    assert run(instance, "monitoring", "monitoring/drift").success
    tick(sensor)
    assert sums(cloudwatch)["DriftAlarms"] == alarms


def test_unreachable_cloudwatch_fails_no_tick_and_loses_no_metric(
    instance: DagsterInstance,
    cloudwatch: Any,
    tick: Tick,
    sensor: SensorDefinition,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(instance, "counts", "loads/stop_loads")
    with monkeypatch.context() as patch:
        patch.setattr("ruter_dagster.sensors.metrics.send_metrics", _refuse)
        assert "did not accept the metrics of 1 runs" in (tick(sensor).skip_message or "")
    tick(sensor)
    assert sums(cloudwatch)["RunSuccesses"] == 1


def _refuse(*_: Any) -> None:
    raise ConnectionError("no answer")


def test_many_metrics_take_several_calls(cloudwatch: Any) -> None:
    now = datetime.now(UTC)
    send_metrics([Metric("RunSuccesses", 1, now)] * (MAX_METRICS + 1), ENVIRONMENT, cloudwatch)
    assert sums(cloudwatch) == {"RunSuccesses": MAX_METRICS + 1}
