"""Alerts of failed runs, blocking checks and drift: sent once, not while a retry is expected, and never lost."""

from __future__ import annotations

import pytest
from dagster import AssetKey, DagsterInstance, ExecuteInProcessResult, SensorDefinition

from ruter_dagster.notifications.slack import SlackUnavailable
from ruter_dagster.sensors.alerts import alert_sensors
from tests.scripted_launcher import defs, write_script
from tests.sensors.conftest import Tick, settings_for
from tests.slack_stub import SlackStub

DAY = "2026-03-29"


@pytest.fixture
def failures(slack: SlackStub, tick: Tick) -> SensorDefinition:
    """The sensor of failed runs, turned on before any run."""
    sensor = alert_sensors(settings_for(slack))[0]
    tick(sensor)
    return sensor


@pytest.fixture
def drift(slack: SlackStub, tick: Tick) -> SensorDefinition:
    sensor = alert_sensors(settings_for(slack))[1]
    tick(sensor)
    return sensor


def run(instance: DagsterInstance, asset: str, **tags: str) -> ExecuteInProcessResult:
    """A run of the asset's job that selects only this asset."""
    job = "monitoring" if asset.startswith("monitoring") else "counts"
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=DAY,
        asset_selection=[AssetKey.from_user_string(asset)],
        tags=tags,
        raise_on_error=False,
    )


def test_failure_alert_has_error_link_and_remedy(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, failures: SensorDefinition
) -> None:
    write_script(instance, loads__stop_loads={"fails": "No room on the disk of state/demo: free 2 GB"})
    failed = run(instance, "loads/stop_loads")
    tick(failures)
    (text,) = slack.texts
    assert text.splitlines() == [
        f"*Run failed: counts {DAY} (test)*",
        "asset loads/stop_loads",
        "> No room on the disk of state/demo: free 2 GB",
        f"<http://dagster.test/runs/{failed.run_id}|Run {failed.run_id[:8]}>",
        f"Fix the cause, then continue from the failed step: `ruter-dagster retry {failed.run_id}`",
    ]


def test_alert_of_blocking_check_has_result_and_report(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, failures: SensorDefinition
) -> None:
    metadata = {
        "observed": 12,
        "expected": "at most 0 rows that share their key",
        "report": "https://docs.test/r.html",
    }
    write_script(instance, quality__stop_visits={"failed_checks": {"key_is_unique": metadata}})
    failed = run(instance, "quality/stop_visits")
    tick(failures)
    (text,) = slack.texts
    assert text.startswith(
        f"*Blocked by a check: counts {DAY} (test)*\nasset quality/stop_visits · downstream assets did not run"
    )
    assert "> key_is_unique: observed 12, expected at most 0 rows that share their key" in text
    assert "<https://docs.test/r.html|Report>" in text
    assert f"`ruter-dagster retry {failed.run_id} --whole`" in text


def test_warning_check_sends_no_alert(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, failures: SensorDefinition
) -> None:
    write_script(instance, quality__stop_visits={"failed_checks": {"rows_near_usual": {"observed": 0.1}}})
    assert run(instance, "quality/stop_visits").success
    tick(failures)
    assert not slack.texts


def test_same_failure_is_sent_once_and_another_again(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, failures: SensorDefinition
) -> None:
    write_script(instance, loads__stop_loads={"fails": "No room after 3 s"})
    group = {"dagster/root_run_id": run(instance, "loads/stop_loads").run_id}
    for error in ("No room after 7 s", "No permission"):
        write_script(instance, loads__stop_loads={"fails": error})
        run(instance, "loads/stop_loads", **group)
        tick(failures)
        tick(failures)
    assert [text.splitlines()[2] for text in slack.texts] == ["> No room after 3 s", "> No permission"]


def test_only_last_failure_of_retried_run_is_sent(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, failures: SensorDefinition
) -> None:
    write_script(instance, loads__stop_loads={"fails": "The worker was lost"})
    first = run(instance, "loads/stop_loads", **{"dagster/will_retry": "true"})
    tick(failures)
    assert not slack.texts
    second = run(
        instance, "loads/stop_loads", **{"dagster/will_retry": "false", "dagster/root_run_id": first.run_id}
    )
    instance.add_run_tags(first.run_id, {"dagster/auto_retry_run_id": second.run_id})
    tick(failures)
    (text,) = slack.texts
    assert second.run_id in text


def test_failure_is_sent_when_retry_cannot_start(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, failures: SensorDefinition
) -> None:
    """Dagster withdraws a planned retry by changing the tag, after the sensor has seen the failure."""
    write_script(instance, loads__stop_loads={"fails": "The worker was lost"})
    failed = run(instance, "loads/stop_loads", **{"dagster/will_retry": "true"})
    tick(failures)
    instance.add_run_tags(failed.run_id, {"dagster/will_retry": "false"})
    tick(failures)
    assert len(slack.texts) == 1


def test_rejected_alert_is_sent_by_later_tick(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, failures: SensorDefinition
) -> None:
    write_script(instance, loads__stop_loads={"fails": "No room"})
    run(instance, "loads/stop_loads")
    slack.error = "service_unavailable"
    with pytest.raises(SlackUnavailable, match="service_unavailable"):
        tick(failures)
    slack.error = None
    tick(failures)
    tick(failures)
    assert len(slack.texts) == 1


def test_failures_before_first_tick_are_not_sent(
    instance: DagsterInstance, slack: SlackStub, tick: Tick
) -> None:
    write_script(instance, loads__stop_loads={"fails": "No room"})
    run(instance, "loads/stop_loads")
    sensor = alert_sensors(settings_for(slack))[0]
    tick(sensor)
    tick(sensor)
    assert not slack.requests


def test_without_token_one_warning_and_no_alert(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, capfd: pytest.CaptureFixture[str]
) -> None:
    sensor = alert_sensors(settings_for(slack, slack_token=None))[0]
    write_script(instance, loads__stop_loads={"fails": "No room"})
    for _ in range(2):
        assert tick(sensor).skip_message == "RUTER_SLACK_TOKEN is not set: no alert is sent"
        run(instance, "loads/stop_loads")
    written = capfd.readouterr()
    assert (written.err + written.out).count("RUTER_SLACK_TOKEN is not set") == 1
    assert not slack.requests


def test_drift_is_sent_once_with_metrics(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, drift: SensorDefinition
) -> None:
    failed_checks = {
        "bias": {"beyond": [drift_row("bias", "tram", 0.14, "act")]},
        "matched_share": {"beyond": [drift_row("matched_share", "network", 0.84, "warn", act=None)]},
    }
    write_script(instance, monitoring__drift={"failed_checks": failed_checks})
    for _ in range(2):
        assert run(instance, "monitoring/drift").success
        tick(drift)
    (text,) = slack.texts
    assert text.splitlines()[:4] == [
        f"*Drift requires action: {DAY} (test)*",
        f"> {DAY} bias of tram: 0.14, act (warns at 0.05, acts at 0.1)",
        f"> {DAY} matched_share of network: 0.84, warn (warns at 0.05, never acts)",
        "<http://dagster.test/assets/monitoring/drift?view=checks|Drift checks>",
    ]


def drift_row(
    metric: str, scope: str, value: float, verdict: str, act: float | None = 0.1
) -> dict[str, object]:
    row = {"operating_date": DAY, "metric": metric, "scope": scope, "value": value, "verdict": verdict}
    return row | {"warn": 0.05, "act": act}


def test_passed_drift_checks_send_no_alert(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, drift: SensorDefinition
) -> None:
    assert run(instance, "monitoring/drift").success
    tick(drift)
    assert not slack.requests
