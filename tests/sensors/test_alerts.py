"""The sensor of alerts: each incident is raised once and resolved once, not while a retry is expected, and never lost."""

from __future__ import annotations

import json
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, ExecuteInProcessResult, SensorDefinition

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.orchestration.partitions import range_tags
from ruter_dagster.sensors.alert_state import STATE_KEY, save_state
from ruter_dagster.sensors.alerts import _observe as observe_problems
from ruter_dagster.sensors.problems import Observation
from ruter_dagster.sensors.run_problems import _state as state_of
from tests.scripted_launcher import defs, write_script
from tests.sensors.conftest import Clock, Tick, alerts_of, settings_for
from tests.slack_stub import TOKEN, SlackStub, block_texts

DAY = "2026-03-29"
DAYS = ("2026-03-27", "2026-03-28", DAY)


@pytest.fixture
def alerts(slack: SlackStub, tick: Tick, clock: Clock) -> SensorDefinition:
    """The sensor, turned on before any run."""
    sensor = alerts_of(settings_for(slack))
    tick(sensor)
    return sensor


def run(instance: DagsterInstance, asset: str, day: str | None = DAY, **tags: str) -> ExecuteInProcessResult:
    """A run of the asset's job that selects only this asset."""
    jobs = {"monitoring": "monitoring", "forecasts": "forecasting", "models": "training"}
    return defs.resolve_job_def(jobs.get(asset.split("/")[0], "counts")).execute_in_process(
        instance=instance,
        partition_key=day,
        asset_selection=[AssetKey.from_user_string(asset)],
        tags=tags,
        raise_on_error=False,
    )


def fail(
    instance: DagsterInstance, message: str = "No room", asset: str = "loads/stop_loads", **tags: str
) -> str:
    """A failed run; returns its id."""
    write_script(instance, **{asset.replace("/", "__"): {"fails": message}})
    return run(instance, asset, **tags).run_id


def succeed(
    instance: DagsterInstance, asset: str = "loads/stop_loads", day: str | None = DAY, **tags: str
) -> str:
    write_script(instance)
    result = run(instance, asset, day, **tags)
    assert result.success
    return result.run_id


def test_failed_run_has_error_link_readers_and_remedy(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    run_id = fail(instance, "No room on the disk of state/demo: free 2 GB")
    tick(alerts)
    (message,) = slack.messages
    title, _, affected, *rest = block_texts(message)
    assert title == f":red_circle: Run failed: counts {DAY}"
    assert affected.splitlines()[:3] == ["*Affected*", f"Dates: {DAY}", "Asset: loads/stop_loads"]
    not_updated = affected.splitlines()[3]
    assert not_updated.startswith("Not updated: forecasts/published_forecasts, features/departure_features, ")
    assert not_updated.endswith(" more")
    assert rest == [
        "*Details*\n> No room on the disk of state/demo: free 2 GB",
        f"*What to do*\nFix the cause, then continue from the failed step: `ruter-dagster retry {run_id}`",
        f"<http://dagster.test/runs/{run_id}|Run {run_id[:8]}>",
        rest[-1],
    ]
    assert rest[-1].startswith("test · run_failure · incident ")


def test_failure_is_raised_once_and_resolved_by_success(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    for error in ("No room after 3 s", "No permission"):
        fail(instance, error)
        tick(alerts)
        tick(alerts)
    assert slack.texts == [f"Run failed: counts {DAY}"]
    run_id = succeed(instance)
    tick(alerts)
    tick(alerts)
    first, reply = slack.messages
    assert reply["thread_ts"] == first["ts"]
    assert f"counts {DAY} succeeded in run {run_id[:8]}" in block_texts(reply)[2]
    fail(instance, "No room")
    tick(alerts)
    assert slack.texts[2:] == [f"Run failed: counts {DAY}"], "a new incident"


def test_success_of_other_dates_or_assets_resolves_nothing(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    fail(instance)
    tick(alerts)
    succeed(instance, day="2026-03-28")
    succeed(instance, asset="raw/stop_visits")
    tick(alerts)
    assert len(slack.messages) == 1


def test_failed_range_is_resolved_by_runs_of_all_its_dates(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    days = ["2026-03-27", "2026-03-28", DAY]
    first, last = date.fromisoformat(days[0]), date.fromisoformat(days[-1])
    write_script(instance, loads__stop_loads={"fails": "No room"})
    run(instance, "loads/stop_loads", None, **range_tags(first, last))
    tick(alerts)
    assert slack.texts == [f"Run failed: counts {days[0]} to {days[-1]}"]
    for number, day in enumerate(days, start=1):
        succeed(instance, day=day)
        tick(alerts)
        assert len(slack.messages) == (2 if number == len(days) else 1)


def test_failure_is_over_when_a_person_materialises_the_asset(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    """The UI names its runs of selected assets `__ASSET_JOB`."""
    fail(instance)
    tick(alerts)
    write_script(instance)
    job = defs.resolve_implicit_global_asset_job_def()
    for asset in ("raw/stop_visits", "loads/stop_loads"):
        assert len(slack.messages) == 1
        result = job.execute_in_process(
            instance=instance, partition_key=DAY, asset_selection=[AssetKey.from_user_string(asset)]
        )
        tick(alerts)
    assert f"counts {DAY} succeeded in run {result.run_id[:8]}" in block_texts(slack.messages[1])[2]


def test_every_open_incident_is_examined_within_a_few_ticks(
    instance: DagsterInstance,
    slack: SlackStub,
    tick: Tick,
    alerts: SensorDefinition,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ruter_dagster.sensors.run_problems.MAX_EXAMINED_RUNS", 2)
    examined: list[str] = []
    runs = []
    write_script(instance, loads__stop_loads={"fails": "No room"})
    for day in (*DAYS, "2026-03-26", "2026-03-25"):
        runs.append(run(instance, "loads/stop_loads", day).run_id)
    tick(alerts)
    assert len(slack.texts) == 5

    def record(observation: Observation, run_id: str) -> Any:
        examined.append(run_id)
        return state_of(observation, run_id)

    monkeypatch.setattr("ruter_dagster.sensors.run_problems._state", record)
    for _ in range(3):
        tick(alerts)
    assert len(examined) == 6
    assert set(examined) == set(runs)


def test_corrected_runs_of_a_backfill_are_examined_once(
    instance: DagsterInstance,
    slack: SlackStub,
    tick: Tick,
    alerts: SensorDefinition,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_script(instance, loads__stop_loads={"fails": "No room"})
    for day in DAYS:
        run(instance, "loads/stop_loads", day, **{"dagster/backfill": "abcd"})
    tick(alerts)
    monkeypatch.setattr("ruter_dagster.sensors.run_problems.MAX_EXAMINED_RUNS", 2)
    for day in DAYS:
        succeed(instance, day=day)
    tick(alerts)
    assert len(slack.messages) == 1, "the third run is examined in the next tick"
    tick(alerts)
    assert slack.texts == ["Resolved: Runs failed: counts of backfill abcd"] * 2


def test_alert_is_sent_after_a_slow_observation(
    instance: DagsterInstance,
    slack: SlackStub,
    tick: Tick,
    alerts: SensorDefinition,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = 0.0

    def observe(*arguments: Any) -> Any:
        nonlocal seconds
        seconds += 40
        return observe_problems(*arguments)

    fail(instance)
    monkeypatch.setattr("ruter_dagster.sensors.alerts._observe", observe)
    monkeypatch.setattr("ruter_dagster.sensors.alerts.time", SimpleNamespace(monotonic=lambda: seconds))
    tick(alerts)
    assert slack.texts == [f"Run failed: counts {DAY}"]


def test_deleted_run_is_over(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    run_id = fail(instance)
    tick(alerts)
    instance.delete_run(run_id)
    tick(alerts)
    assert block_texts(slack.messages[1])[2] == f"*Why it is over*\nthe run {run_id[:8]} was deleted"


def test_failed_forecasts_are_superseded_by_later_issue_date(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    write_script(instance, forecasts__load_forecasts={"fails": "No model"})
    run(instance, "forecasts/load_forecasts", "2026-03-28")
    tick(alerts)
    succeed(instance, "forecasts/load_forecasts", DAY)
    tick(alerts)
    assert f"superseded by issue date {DAY}" in block_texts(slack.messages[1])[2]


def test_failed_feeds_are_a_failed_publication(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    fail(instance, "No room in the bucket", "forecasts/feeds")
    tick(alerts)
    assert slack.texts == [f"Not written: feeds of issue date {DAY}"]
    assert block_texts(slack.messages[0])[-1].startswith("test · failed_publication · incident ")
    succeed(instance, "forecasts/feeds")
    tick(alerts)
    assert len(slack.messages) == 2


def test_runs_of_one_backfill_are_one_incident(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    write_script(instance, loads__stop_loads={"fails": "No room"})
    for day in ("2026-03-27", "2026-03-28", DAY):
        run(instance, "loads/stop_loads", day, **{"dagster/backfill": "abcd"})
    tick(alerts)
    assert slack.texts == ["Runs failed: counts of backfill abcd"]
    for day in ("2026-03-27", "2026-03-28"):
        succeed(instance, day=day)
    tick(alerts)
    assert len(slack.messages) == 1
    succeed(instance)
    tick(alerts)
    assert len(slack.messages) == 2


def test_blocking_check_has_result_and_report_and_is_over_when_it_passes(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    metadata = {
        "observed": 12,
        "expected": "at most 0 rows that share their key",
        "report": "https://docs.test/r.html",
    }
    write_script(instance, quality__stop_visits={"failed_checks": {"key_is_unique": metadata}})
    failed = run(instance, "quality/stop_visits")
    tick(alerts)
    texts = "\n".join(block_texts(slack.messages[0]))
    assert f":red_circle: Blocked by a check: counts {DAY}" in texts
    assert "No job reads these dates" in texts
    assert "> key_is_unique: observed 12, expected at most 0 rows that share their key" in texts
    assert "<https://docs.test/r.html|Report>" in texts
    assert f"`ruter-dagster retry {failed.run_id} --whole`" in texts
    succeed(instance, "quality/stop_visits", "2026-03-28")
    tick(alerts)
    assert len(slack.messages) == 1, "another date passed"
    # The check passes in a run that fails later.
    write_script(instance, loads__stop_loads={"fails": "No room"})
    defs.resolve_job_def("counts").execute_in_process(
        instance=instance, partition_key=DAY, raise_on_error=False
    )
    tick(alerts)
    assert slack.texts == [f"Resolved: Blocked by a check: counts {DAY}"] * 2 + [f"Run failed: counts {DAY}"]


def test_warning_check_sends_no_alert(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    write_script(instance, quality__stop_visits={"failed_checks": {"rows_near_usual": {"observed": 0.1}}})
    assert run(instance, "quality/stop_visits").success
    tick(alerts)
    assert not slack.texts


def test_only_last_failure_of_retried_run_is_sent(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    first = fail(instance, "The worker was lost", **{"dagster/will_retry": "true"})
    tick(alerts)
    assert not slack.texts
    second = fail(instance, **{"dagster/will_retry": "false", "dagster/root_run_id": first})
    instance.add_run_tags(first, {"dagster/auto_retry_run_id": second})
    tick(alerts)
    (message,) = slack.messages
    assert second in json.dumps(message)


def test_successful_retry_sends_nothing(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    first = fail(instance, "The worker was lost", **{"dagster/will_retry": "true"})
    tick(alerts)
    second = succeed(instance, **{"dagster/root_run_id": first})
    instance.add_run_tags(first, {"dagster/auto_retry_run_id": second})
    tick(alerts)
    assert not slack.texts


def test_failure_is_sent_when_retry_cannot_start(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    """Dagster withdraws a planned retry by changing the tag, after the sensor has seen the failure."""
    failed = fail(instance, "The worker was lost", **{"dagster/will_retry": "true"})
    tick(alerts)
    instance.add_run_tags(failed, {"dagster/will_retry": "false"})
    tick(alerts)
    assert len(slack.texts) == 1


def test_alert_waits_for_slack_and_tick_says_why(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    fail(instance)
    slack.error = "service_unavailable"
    for _ in range(2):
        with pytest.raises(PermanentFailure, match="service_unavailable"):
            tick(alerts)
    succeed(instance)
    with pytest.raises(PermanentFailure):
        tick(alerts)
    slack.error = None
    tick(alerts)
    tick(alerts)
    assert slack.texts == [f"Resolved: Run failed: counts {DAY}"] * 2, "raised, then resolved in its thread"


def test_broken_channel_does_not_block_another(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, clock: Clock
) -> None:
    alerts = alerts_of(settings_for(slack, slack_channels={"run_failure": "#runs"}))
    tick(alerts)
    slack.errors["#ruter-dagster"] = "channel_not_found"
    drift_measured(instance, DAY, "warn")
    fail(instance)
    with pytest.raises(PermanentFailure, match="#ruter-dagster \\(channel_not_found\\)"):
        tick(alerts)
    assert slack.of("#runs") == [f"Run failed: counts {DAY}"]
    slack.errors.clear()
    tick(alerts)
    assert slack.of("#ruter-dagster") == [f"Drift warning: bias on {DAY}"]


@pytest.mark.parametrize("kill_at", [1, 2, 3])
def test_killed_tick_loses_no_alert_and_shows_none_twice(
    instance: DagsterInstance,
    slack: SlackStub,
    tick: Tick,
    alerts: SensorDefinition,
    monkeypatch: pytest.MonkeyPatch,
    kill_at: int,
) -> None:
    """The process ends before it stores the state for the first, second or third time."""
    fail(instance)
    drift_measured(instance, DAY, "act")
    writes = 0

    def save(*arguments: Any) -> None:
        nonlocal writes
        writes += 1
        if writes == kill_at:
            raise KeyboardInterrupt
        save_state(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("ruter_dagster.sensors.alerts.save_state", save)
        with pytest.raises(KeyboardInterrupt):
            tick(alerts)
    tick(alerts)
    tick(alerts)
    assert sorted(slack.texts) == [f"Drift requires action: bias on {DAY}", f"Run failed: counts {DAY}"]


def test_failures_before_first_tick_are_not_sent(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, clock: Clock
) -> None:
    fail(instance)
    sensor = alerts_of(settings_for(slack))
    tick(sensor)
    tick(sensor)
    assert not slack.requests


def test_without_channel_one_warning_and_no_alert(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    sensor = alerts_of(settings_for(slack, slack_token=None))
    for _ in range(2):
        assert "are not set: no alert is sent" in (tick(sensor).skip_message or "")
        fail(instance)
    written = capfd.readouterr()
    assert (written.err + written.out).count("RUTER_SLACK_TOKEN, RUTER_SMTP_HOST") == 1
    assert not slack.requests


def test_secrets_are_neither_stored_nor_sent(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    fail(
        instance, f"login with {TOKEN} at https://me:pass-word@kafka.test"
    )  # checkov:skip=CKV_SECRET_4:an example
    tick(alerts)
    stored = instance.daemon_cursor_storage.get_cursor_values({STATE_KEY})[STATE_KEY]
    for text in (stored, json.dumps(slack.messages)):
        assert "(hidden)" in text
        assert TOKEN not in text and "pass-word" not in text


def test_failing_detector_does_not_stop_the_others(
    instance: DagsterInstance,
    slack: SlackStub,
    tick: Tick,
    alerts: SensorDefinition,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail(instance)
    drift_measured(instance, DAY, "warn")
    with monkeypatch.context() as patch:
        patch.setattr("ruter_dagster.sensors.alerts.run_problems", refuse)
        with pytest.raises(PermanentFailure, match="Failed runs cannot be read: ConnectionError"):
            tick(alerts)
    assert slack.texts == [f"Drift warning: bias on {DAY}"]
    tick(alerts)
    assert slack.texts[1] == f"Run failed: counts {DAY}"


def refuse(*_: Any) -> None:
    raise ConnectionError("no answer")


def drift_measured(instance: DagsterInstance, day: str, verdict: str | None, **values: Any) -> None:
    """A run of monitoring, whose check `bias` fails for trams if there is a verdict, and else is ok for them."""
    numbers = {"value": 0.14, "warn": 0.05, "act": 0.1, "detail": "lines 11, 17"}
    row = {"operating_date": day, "metric": "bias", "scope": "tram", "verdict": verdict} | numbers | values
    script = {"failed_checks": {"bias": {"beyond": [row]}}} if verdict else ok_in(day, tram="ok")
    write_script(instance, monitoring__drift=script)
    assert run(instance, "monitoring/drift", day).success


def ok_in(day: str, **verdicts: str) -> dict[str, Any]:
    """The script of a passed check `bias` with the verdicts of these scopes."""
    rows = [
        {"operating_date": day, "scope": scope, "verdict": verdict} for scope, verdict in verdicts.items()
    ]
    return {"passed_checks": {"bias": {"scopes": rows}}}


def test_drift_is_raised_once_with_lines_and_gets_worse_once(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    for day, verdict in (
        ("2026-03-25", "warn"),
        ("2026-03-26", "warn"),
        ("2026-03-27", "act"),
        ("2026-03-28", "act"),
    ):
        drift_measured(instance, day, verdict)
        tick(alerts)
    assert slack.texts == [
        "Drift warning: bias on 2026-03-25",
        "Worse: Drift requires action: bias on 2026-03-27",
    ]
    texts = "\n".join(block_texts(slack.messages[0]))
    assert "tram: lines 11, 17" in texts
    assert "> 2026-03-25 bias of tram: 0.14, warn (warns at 0.05, acts at 0.1)" in texts
    assert "<http://dagster.test/assets/monitoring/drift?view=checks|Drift checks>" in texts


def test_drift_is_over_when_a_later_date_is_ok(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    drift_measured(instance, "2026-03-28", "act")
    tick(alerts)
    drift_measured(instance, "2026-03-20", None)
    tick(alerts)
    assert len(slack.messages) == 1, "an earlier date says nothing about the newest"
    drift_measured(instance, DAY, None)
    tick(alerts)
    assert block_texts(slack.messages[1])[2] == f"*Why it is over*\nmeasured ok on {DAY}"


def test_drift_stays_open_while_its_mode_is_not_judged(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    drift_measured(instance, "2026-03-28", "warn")
    tick(alerts)
    write_script(instance, monitoring__drift=ok_in(DAY, network="ok", tram="unknown"))
    assert run(instance, "monitoring/drift", DAY).success
    tick(alerts)
    assert len(slack.messages) == 1


def test_later_runs_of_old_dates_do_not_end_drift(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    drift_measured(instance, DAY, "warn")
    tick(alerts)
    for day in range(11, 23):
        drift_measured(instance, f"2026-03-{day}", None)
    tick(alerts)
    assert len(slack.messages) == 1


def test_drift_that_is_not_judged_stays_open(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    drift_measured(instance, "2026-03-28", "act")
    tick(alerts)
    write_script(instance, monitoring__drift={"not_judged": ["bias"]})
    assert run(instance, "monitoring/drift", DAY).success
    tick(alerts)
    assert len(slack.messages) == 1


def test_passed_drift_checks_send_no_alert(
    instance: DagsterInstance, slack: SlackStub, tick: Tick, alerts: SensorDefinition
) -> None:
    drift_measured(instance, DAY, None)
    tick(alerts)
    assert not slack.requests
