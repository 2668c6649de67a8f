"""Metrics of ended runs and of their assets: each run once, final failures only, and none lost if the agent does not answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    ExecuteInProcessResult,
    RunRecord,
    SensorDefinition,
)
from dagster._core.events import StepMaterializationData
from dagster._core.execution.plan.objects import StepSuccessData
from dagster._core.test_utils import create_run_for_test, freeze_time

from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.jobs import PUBLISHED_FORECASTS
from ruter_dagster.contracts.metrics import METRICS, Measurement
from ruter_dagster.orchestration.partitions import range_tags
from ruter_dagster.sensors.measurements import NETWORK_METRICS, PERFORMANCE_ASSET, measurements_of
from ruter_dagster.sensors.metrics import FRESHNESS_SECONDS, metric_sensors
from tests.metrics.listeners import Agent, datagrams, emf_lines, tcp_agent, udp_agent, values
from tests.metrics.listeners import sums as sums_of
from tests.scripted_launcher import ASSETS, defs, write_script
from tests.sensors.conftest import Tick

ENVIRONMENT = "rd-test"
DAY = "2026-03-28"
DAYS = [datetime(2026, 3, day).date() for day in (26, 27, 28)]  # noqa: DTZ001


@pytest.fixture
def agent() -> Iterator[Agent]:
    with tcp_agent() as agent:
        yield agent


def sensor_of(**settings: Any) -> SensorDefinition:
    (sensor,) = metric_sensors(load_settings(_env_file=None, **settings), ASSETS)
    return sensor


@pytest.fixture
def sensor(agent: Agent, tick: Tick) -> SensorDefinition:
    """The sensor, turned on before any run."""
    endpoint = f"tcp://127.0.0.1:{agent.port}"
    sensor = sensor_of(metrics_environment=ENVIRONMENT, emf_endpoint=endpoint)
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


def sums(agent: Agent, asset: str | None = None) -> dict[str, float]:
    """The sum of each metric of the environment, or of one of its assets."""
    dimensions = f"Environment={ENVIRONMENT}" + (f",Asset={asset}" if asset else "")
    return sums_of(emf_lines(agent.lines), dimensions)


def test_no_setting_means_no_sensor() -> None:
    assert metric_sensors(load_settings(_env_file=None), ASSETS) == []


def test_successful_run_has_result_and_duration(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    assert run(instance, "counts", "loads/stop_loads").success
    tick(sensor)
    sent = sums(agent)
    assert sent.pop("RunSeconds") > 0
    assert sent == {"RunSuccesses": 1}


def test_each_run_is_sent_once(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    for count in (1, 2):
        run(instance, "counts", "loads/stop_loads")
        tick(sensor)
        tick(sensor)
        assert sums(agent)["RunSuccesses"] == count


def test_runs_before_first_tick_are_not_sent(instance: DagsterInstance, agent: Agent, tick: Tick) -> None:
    run(instance, "counts", "loads/stop_loads")
    endpoint = f"tcp://127.0.0.1:{agent.port}"
    sensor = sensor_of(metrics_environment=ENVIRONMENT, emf_endpoint=endpoint)
    tick(sensor)
    tick(sensor)
    assert sums(agent) == {}


def test_only_last_failure_of_retried_run_is_counted(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    write_script(instance, loads__stop_loads={"fails": "The worker was lost"})
    first = run(instance, "counts", "loads/stop_loads", **{"dagster/will_retry": "true"})
    tick(sensor)
    assert sums(agent) == {}, "the retry may succeed"
    tags = {"dagster/will_retry": "false", "dagster/root_run_id": first.run_id}
    second = run(instance, "counts", "loads/stop_loads", **tags)
    instance.add_run_tags(first.run_id, {"dagster/auto_retry_run_id": second.run_id})
    tick(sensor)
    assert sums(agent)["RunFailures"] == 1


def test_failure_that_is_reported_again_is_counted_once(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    write_script(instance, loads__stop_loads={"fails": "No room"})
    failed = run(instance, "counts", "loads/stop_loads")
    instance.report_run_failed(instance.get_run_by_id(failed.run_id))  # type: ignore[arg-type]
    tick(sensor)
    assert sums(agent)["RunFailures"] == 1


def test_run_that_cannot_be_measured_is_left_out(
    instance: DagsterInstance,
    agent: Agent,
    tick: Tick,
    sensor: SensorDefinition,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = [run(instance, "counts", "loads/stop_loads").run_id for _ in range(3)]

    def measure(instance: DagsterInstance, record: RunRecord, *arguments: Any) -> Iterator[Measurement]:
        if record.dagster_run.run_id == runs[1]:
            raise ValueError("no number")
        yield from measurements_of(instance, record, *arguments)

    monkeypatch.setattr("ruter_dagster.sensors.metrics.measurements_of", measure)
    for _ in range(2):
        tick(sensor)
        assert sums(agent)["RunSuccesses"] == 2


def test_slow_tick_leaves_runs_to_the_next(
    instance: DagsterInstance,
    agent: Agent,
    tick: Tick,
    sensor: SensorDefinition,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ruter_dagster.sensors.metrics.MAX_SENDING_SECONDS", 0)
    for _ in range(2):
        run(instance, "counts", "loads/stop_loads")
    for number in (1, 2, 2):
        tick(sensor)
        assert sums(agent)["RunSuccesses"] == number


def test_cancelled_run_is_neither_success_nor_failure(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    cancelled = create_run_for_test(instance, job_name="counts", status=DagsterRunStatus.STARTED)
    instance.report_run_canceled(cancelled)
    tick(sensor)
    assert {"RunSuccesses", "RunFailures"} & sums(agent).keys() == set()


@pytest.mark.parametrize("several", [False, True], ids=["one date", "range"])
def test_cost_of_jobs_is_sent_once_per_run(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition, several: bool
) -> None:
    write_script(instance, loads__stop_loads={"totals": {"sagemaker/estimated_cost": 0.25}})
    day, tags = (None, range_tags(DAYS[0], DAYS[-1])) if several else (DAY, {})
    assert run(instance, "counts", "loads/stop_loads", day, **tags).success
    tick(sensor)
    assert sums(agent)["JobCost"] == 0.25


def test_publications_are_counted_by_date(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    assert run(instance, "forecasting", PUBLISHED_FORECASTS, None, **range_tags(DAYS[0], DAYS[-1])).success
    tick(sensor)
    assert sums(agent)["Publications"] == 3


def test_repeated_publication_is_not_counted(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    write_script(instance, forecasts__published_forecasts={"totals": {"already_published": [DAY]}})
    assert run(instance, "forecasting", PUBLISHED_FORECASTS).success
    tick(sensor)
    assert sums(agent)["Publications"] == 0


def test_accuracy_is_mean_of_dates(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    wapes = {day.isoformat(): {"wape": value} for day, value in zip(DAYS, (0.1, 0.2, 0.6), strict=True)}
    write_script(instance, monitoring__forecast_performance={"numbers": wapes})
    assert run(instance, "monitoring", PERFORMANCE_ASSET, None, **range_tags(DAYS[0], DAYS[-1])).success
    tick(sensor)
    assert sums(agent)["Wape"] == pytest.approx(0.3)


@pytest.mark.parametrize(("verdict", "alarms"), [("act", 1), ("warn", 0), (None, 0)])
def test_drift_that_requires_action_is_counted(
    instance: DagsterInstance,
    agent: Agent,
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
    assert sums(agent)["DriftAlarms"] == alarms


def test_drift_of_older_dates_raises_no_alarm(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    """Neither a backfill of an older date, nor the older dates of a run."""
    assert run(instance, "monitoring", "monitoring/drift", DAYS[-1].isoformat()).success
    tick(sensor)
    older = DAYS[0].isoformat()
    row = {"operating_date": older, "metric": "bias", "scope": "network", "value": 0.9, "verdict": "act"}
    write_script(instance, monitoring__drift={"failed_checks": {"bias": {"beyond": [row]}}})
    assert run(instance, "monitoring", "monitoring/drift", older).success
    assert run(instance, "monitoring", "monitoring/drift", None, **range_tags(DAYS[0], DAYS[-1])).success
    tick(sensor)
    assert sums(agent)["DriftAlarms"] == 0


def test_network_values_are_those_of_newest_date(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    def measure(day: str, value: float) -> None:
        numbers = {day: dict.fromkeys(NETWORK_METRICS, value)}
        write_script(instance, monitoring__drift={"numbers": numbers})
        assert run(instance, "monitoring", "monitoring/drift", day).success

    measure(DAY, 0.25)
    tick(sensor)
    assert (
        sums(agent).items()
        >= {
            "Skill": 0.25,
            "Bias": 0.25,
            "CoverageDeviation": 0.25,
            "MatchedShare": 0.25,
        }.items()
    )
    measure("2026-03-20", 7)
    tick(sensor)
    assert sums(agent)["Skill"] == 0.25, "an older date says nothing about today"


def test_asset_has_duration_rows_and_cost(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    write_script(instance, loads__stop_loads={"totals": {"sagemaker/estimated_cost": 0.25}})
    assert run(instance, "counts", "loads/stop_loads", None, **range_tags(DAYS[0], DAYS[-1])).success
    tick(sensor)
    sent = sums(agent, "loads/stop_loads")
    assert sent.pop("AssetSeconds") > 0
    assert sent == {"Rows": 3, "JobCost": 0.25}


def test_retried_step_counts_its_repetitions(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    create_run_of_attempts(instance, "loads__stop_loads", attempts=3)
    tick(sensor)
    assert sums(agent)["Retries"] == 2
    assert sums(agent, "loads/stop_loads")["Retries"] == 2


def create_run_of_attempts(instance: DagsterInstance, step: str, attempts: int) -> None:
    """Records a run whose step failed until its last attempt."""
    run = create_run_for_test(instance, job_name="counts", status=DagsterRunStatus.STARTED)
    for number in range(attempts):
        kind = DagsterEventType.STEP_RESTARTED if number else DagsterEventType.STEP_START
        instance.report_dagster_event(DagsterEvent(kind.value, "counts", step_key=step), run.run_id)
    success = DagsterEvent(
        DagsterEventType.STEP_SUCCESS.value,
        "counts",
        step_key=step,
        event_specific_data=StepSuccessData(duration_ms=1.0),
    )
    instance.report_dagster_event(success, run.run_id)
    ended = DagsterEvent(DagsterEventType.RUN_SUCCESS.value, "counts")
    instance.report_dagster_event(ended, run.run_id)


def record_materialisation(instance: DagsterInstance, asset: str, partition: str, at: datetime) -> None:
    """Records a run that materialised a partition at this time, and succeeded."""
    run = create_run_for_test(instance, job_name="counts", status=DagsterRunStatus.STARTED)
    materialisation = AssetMaterialization(
        asset.split("/"), partition=partition, metadata={"content_hash": "first"}
    )
    event = DagsterEvent(
        DagsterEventType.ASSET_MATERIALIZATION.value,
        "counts",
        step_key=asset.replace("/", "__"),
        event_specific_data=StepMaterializationData(materialisation),
    )
    instance.report_dagster_event(event, run.run_id, timestamp=at.timestamp())
    instance.report_dagster_event(DagsterEvent(DagsterEventType.RUN_SUCCESS.value, "counts"), run.run_id)


MORNING = datetime(2026, 3, 29, 3, 0, tzinfo=UTC)
"""Five hours after midnight in Oslo, of which the change to summer time took one."""


@pytest.mark.parametrize(
    ("asset", "hours"),
    [("loads/stop_loads", 4), (PUBLISHED_FORECASTS, 28)],
    ids=["operating date ends", "issue date begins"],
)
def test_lag_counts_from_when_partition_exists(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition, asset: str, hours: float
) -> None:
    record_materialisation(instance, asset, DAY, MORNING)
    tick(sensor)
    assert sums(agent, asset)["Lag"] == hours * 3600


def test_second_materialisation_has_no_lag(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    for hours in (0, 2):
        record_materialisation(instance, "loads/stop_loads", DAY, MORNING + timedelta(hours=hours))
    tick(sensor)
    assert sums(agent, "loads/stop_loads")["Lag"] == 4 * 3600


@pytest.mark.parametrize(
    ("partition", "at"),
    [("2026-03-27", MORNING), (DAY, MORNING + timedelta(days=8))],
    ids=["older than the newest", "eight days late"],
)
def test_history_that_is_filled_has_no_lag(
    instance: DagsterInstance,
    agent: Agent,
    tick: Tick,
    materialise: Callable[..., None],
    sensor: SensorDefinition,
    partition: str,
    at: datetime,
) -> None:
    materialise("loads/stop_loads", "first", *({DAY} - {partition}))
    record_materialisation(instance, "loads/stop_loads", partition, at)
    tick(sensor)
    assert "Lag" not in sums(agent, "loads/stop_loads")


def test_age_of_newest_partition_grows_until_a_newer_one(
    instance: DagsterInstance, agent: Agent, tick: Tick, materialise: Callable[..., None]
) -> None:
    sensor = sensor_of(metrics_environment=ENVIRONMENT, emf_endpoint=f"tcp://127.0.0.1:{agent.port}")
    materialise("loads/stop_loads", "first", "2026-03-27", DAY, "2026-03-20")

    def age(at: datetime) -> float:
        agent.received.clear()
        with freeze_time(at):
            tick(sensor)
        return sums(agent, "loads/stop_loads")["Freshness"] / 3600

    morning = datetime(2026, 3, 29, 5, 0, tzinfo=UTC)
    assert age(morning) == 6
    assert age(morning + timedelta(hours=24)) == 30
    materialise("loads/stop_loads", "first", "2026-03-29")
    assert age(morning + timedelta(hours=25)) == 8


def test_age_is_sent_every_fifteen_minutes(
    instance: DagsterInstance, agent: Agent, tick: Tick, materialise: Callable[..., None]
) -> None:
    sensor = sensor_of(metrics_environment=ENVIRONMENT, emf_endpoint=f"tcp://127.0.0.1:{agent.port}")
    materialise("loads/stop_loads", "first", DAY)
    start = datetime(2026, 3, 29, 5, 0, tzinfo=UTC)
    for seconds in (0, 60, FRESHNESS_SECONDS - 1, FRESHNESS_SECONDS):
        with freeze_time(start + timedelta(seconds=seconds)):
            tick(sensor)
    ages = [document["Freshness"] for document in emf_lines(agent.lines) if "Freshness" in document]
    assert [age - ages[0] for age in ages] == [0, FRESHNESS_SECONDS]


def test_unreachable_agent_fails_no_tick_and_loses_no_metric(instance: DagsterInstance, tick: Tick) -> None:
    with tcp_agent() as agent:
        port = agent.port
        sensor = sensor_of(metrics_environment=ENVIRONMENT, emf_endpoint=f"tcp://127.0.0.1:{port}")
        tick(sensor)
    run(instance, "counts", "loads/stop_loads")
    assert f"tcp://127.0.0.1:{port} did not take the metrics" in (tick(sensor).skip_message or "")
    with tcp_agent(port) as agent:
        tick(sensor)
        tick(sensor)
        assert sums(agent)["RunSuccesses"] == 1


def test_only_runs_that_agent_did_not_take_are_sent_again(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    run(instance, "counts", "loads/stop_loads")
    cancelled = create_run_for_test(instance, job_name="counts", status=DagsterRunStatus.STARTED)
    write_script(instance, loads__stop_loads={"fails": "No room"})
    run(instance, "counts", "loads/stop_loads")
    instance.report_run_canceled(cancelled)
    agent.received.clear()
    agent.refuses_after = 2
    tick(sensor)
    assert sums(agent).keys() >= {"RunSuccesses", "RunFailures"}
    agent.refuses_after = None
    tick(sensor)
    assert (sums(agent)["RunSuccesses"], sums(agent)["RunFailures"]) == (1, 1)


def test_without_endpoint_metrics_are_lines_of_standard_output(
    instance: DagsterInstance, tick: Tick, capfd: pytest.CaptureFixture[str]
) -> None:
    sensor = sensor_of(metrics_environment=ENVIRONMENT)
    tick(sensor)
    run(instance, "counts", "loads/stop_loads")
    tick(sensor)
    documents = emf_lines(capfd.readouterr().out.encode().splitlines())
    assert sums_of(documents, f"Environment={ENVIRONMENT}")["RunSuccesses"] == 1


def test_dogstatsd_receives_each_run_once(
    instance: DagsterInstance, tick: Tick, capfd: pytest.CaptureFixture[str]
) -> None:
    with udp_agent() as agent:
        sensor = sensor_of(environment="test", statsd_host="127.0.0.1", statsd_port=agent.port)
        tick(sensor)
        run(instance, "counts", "loads/stop_loads")
        tick(sensor)
        tick(sensor)
    received = datagrams(agent)
    assert received.count(("ruter_dagster.run_successes", 1, "c", ("env:test",))) == 1
    assert ("ruter_dagster.rows", 1, "c", ("env:test", "asset:loads/stop_loads")) in received
    assert emf_lines(capfd.readouterr().out.encode().splitlines()) == [], (
        "EMF needs an environment of metrics"
    )


def test_every_declared_metric_of_dagster_is_sent(
    instance: DagsterInstance, agent: Agent, tick: Tick, sensor: SensorDefinition
) -> None:
    """A run of each kind sends, together, exactly the metrics that are declared."""
    totals = {"sagemaker/estimated_cost": 0.25}
    numbers = {DAY: dict.fromkeys((*NETWORK_METRICS, "wape"), 0.5)}
    write_script(
        instance,
        monitoring__drift={"numbers": numbers, "totals": totals},
        monitoring__forecast_performance={"numbers": numbers},
    )
    run(instance, "monitoring", PERFORMANCE_ASSET)
    run(instance, "monitoring", "monitoring/drift")
    run(instance, "forecasting", PUBLISHED_FORECASTS)
    record_materialisation(instance, "raw/stop_visits", DAY, MORNING)
    create_run_of_attempts(instance, "loads__stop_loads", attempts=2)
    write_script(instance, loads__stop_loads={"fails": "No room"})
    run(instance, "counts", "loads/stop_loads")
    with freeze_time(datetime.now(UTC) + timedelta(hours=1)):
        tick(sensor)
    sent = {value.name for value in values(emf_lines(agent.lines))}
    assert sent == {metric.name for metric in METRICS if metric.sender == "dagster"}
