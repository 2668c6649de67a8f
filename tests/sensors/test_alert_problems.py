"""Detectors of late data, missed freshness, failed publications and a backlog: each with its own beginning and end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import AssetKey, AssetMaterialization, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.jobs import FEEDS, PUBLISHED_FORECASTS
from ruter_dagster.notifications.incidents import Incidents, Severity, update
from ruter_dagster.orchestration.partitions import partitions_of
from ruter_dagster.orchestration.run_history import job_origin
from ruter_dagster.sensors.data_problems import COUNTS_ASSET, backlog, late_data, missed_freshness
from ruter_dagster.sensors.problems import Deployment, Findings, Observation, is_partition, readers_of
from ruter_dagster.sensors.publication_problems import FORECASTS_ASSET, publication_problems
from tests.scripted_launcher import ASSETS

Detector = Callable[[Observation], Findings]
Materialise = Callable[..., None]


def deployment_of(**values: Any) -> Deployment:
    settings = load_settings(
        _env_file=None,
        **{"environment": "test", "history_start": "2026-01-01", "data_by": "07:00", "publish_by": "08:00"}
        | values,
    )
    operator = operator_of(settings)
    return Deployment(settings, operator, partitions_of(settings, operator), readers_of(ASSETS))


class Watch:
    """Observes with one detector at local times, and returns the actions of the notices."""

    def __init__(self, instance: DagsterInstance, detector: Detector, **settings: Any) -> None:
        self.instance, self.detector = instance, detector
        self.deployment, self.incidents = deployment_of(**settings), Incidents()
        self.reasons: list[str] = []
        self.titles: list[str] = []

    def at(self, day: str, time: str) -> list[tuple[str, str]]:
        now = datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=self.deployment.zone)
        observation = Observation(self.instance, self.deployment, self.incidents, now.astimezone(UTC))
        findings = self.detector(observation)
        self.incidents, notices = update(self.incidents, findings.active, findings.over, now)
        self.reasons += [notice.reason for notice in notices if notice.action == "resolved"]
        self.titles += [notice.problem.title for notice in notices]
        return [(notice.action, notice.problem.subject) for notice in notices]


def test_late_counts_are_a_warning_then_an_error_then_over(
    instance: DagsterInstance, materialise: Materialise
) -> None:
    materialise(COUNTS_ASSET, "a", "2026-03-27", "2026-03-28")
    watch = Watch(instance, late_data)
    assert watch.at("2026-03-30", "06:59") == []
    assert watch.at("2026-03-30", "07:00") == [("raised", "2026-03-29")]
    assert watch.incidents.open[0].problem.severity is Severity.WARNING
    assert watch.at("2026-03-30", "07:59") == []
    assert watch.at("2026-03-30", "08:00") == [("worse", "2026-03-29")]
    materialise(COUNTS_ASSET, "a", "2026-03-29")
    assert watch.at("2026-03-30", "08:01") == [("resolved", "2026-03-29")]
    assert watch.at("2026-03-30", "23:00") == []
    assert watch.reasons == ["the counts of 2026-03-29 were read"]


def test_each_late_date_is_an_incident_that_ends_after_a_week(
    instance: DagsterInstance, materialise: Materialise
) -> None:
    materialise(COUNTS_ASSET, "a", "2026-03-28")
    watch = Watch(instance, late_data)
    assert watch.at("2026-03-30", "09:00") == [("raised", "2026-03-29")]
    assert watch.at("2026-03-31", "09:00") == [("raised", "2026-03-30")]
    materialise(COUNTS_ASSET, "a", *(f"2026-04-{day:02}" for day in range(1, 8)), "2026-03-31")
    assert watch.at("2026-04-05", "09:00") == []
    assert watch.at("2026-04-06", "09:00") == [("resolved", "2026-03-29")]
    assert watch.reasons == ["the counts of 2026-03-29 are no longer awaited"]


def test_open_operating_day_is_not_late(instance: DagsterInstance, materialise: Materialise) -> None:
    """At 00:30, the day before is still open."""
    materialise(COUNTS_ASSET, "a", "2026-03-28")
    assert Watch(instance, late_data, data_by="00:10").at("2026-03-30", "00:30") == []


def test_new_deployment_waits_for_no_counts(instance: DagsterInstance) -> None:
    assert Watch(instance, late_data).at("2026-03-30", "12:00") == []


def test_source_that_delivers_later_has_no_late_counts(
    instance: DagsterInstance, materialise: Materialise
) -> None:
    materialise(COUNTS_ASSET, "a", "2026-03-20")
    assert Watch(instance, late_data, data_by="off").at("2026-03-30", "12:00") == []


def test_demo_waits_for_no_date_after_its_own(instance: DagsterInstance, materialise: Materialise) -> None:
    partitions = deployment_of(environment="local", issue_date="2026-03-30").partitions
    days = [datetime(2026, 3, day).date() for day in (29, 30, 31)]  # noqa: DTZ001
    assert [is_partition(partitions.operating, day) for day in days] == [True, False, False]
    assert [is_partition(partitions.issue, day) for day in days] == [True, True, False]


def test_asset_is_stale_after_its_hours_until_it_is_materialised(
    instance: DagsterInstance, materialise: Materialise
) -> None:
    materialise("loads/stop_loads", "a", "2026-03-28")
    written = datetime.fromtimestamp(
        instance.get_latest_materialization_event(AssetKey(["loads", "stop_loads"])).timestamp,  # type: ignore[union-attr]
        UTC,
    )
    watch = Watch(instance, missed_freshness, freshness_hours="loads/stop_loads=2,raw/stop_visits=1")

    def after(**duration: float) -> list[str]:
        local = (written + timedelta(**duration)).astimezone(watch.deployment.zone)
        return [action for action, _ in watch.at(local.date().isoformat(), local.time().isoformat())]

    assert after(hours=1, minutes=59) == []
    assert after(hours=2, minutes=1) == ["raised"]
    assert watch.titles == ["Not materialised for 2 h 0 min: loads/stop_loads"]
    assert after(hours=1) == ["resolved"], "as if it had been materialised an hour ago"


def publish(instance: DagsterInstance, day: str) -> None:
    materialisation = AssetMaterialization(PUBLISHED_FORECASTS.split("/"), partition=day)
    instance.report_runless_asset_event(materialisation)


def forecast(instance: DagsterInstance, day: str, degraded: bool) -> None:
    metadata = {"degraded": True, "degraded_reason": "Model 7 cannot be read"} if degraded else {}
    materialisation = AssetMaterialization(FORECASTS_ASSET.split("/"), partition=day, metadata=metadata)
    instance.report_runless_asset_event(materialisation)


def test_publication_is_late_after_its_time_until_it_is_published(instance: DagsterInstance) -> None:
    publish(instance, "2026-03-29")
    watch = Watch(instance, publication_problems)
    assert watch.at("2026-03-30", "07:59") == []
    assert watch.at("2026-03-30", "08:00") == [("raised", "2026-03-30")]
    assert watch.at("2026-03-30", "09:00") == []
    publish(instance, "2026-03-30")
    assert watch.at("2026-03-30", "09:01") == [("resolved", "2026-03-30")]
    assert watch.titles[0] == "Not published: forecasts of issue date 2026-03-30"


def test_missed_publication_is_superseded_by_the_next(instance: DagsterInstance) -> None:
    publish(instance, "2026-03-29")
    watch = Watch(instance, publication_problems)
    watch.at("2026-03-30", "08:00")
    publish(instance, "2026-03-31")
    assert watch.at("2026-03-31", "05:00") == [("resolved", "2026-03-30")]
    assert watch.reasons == ["superseded by issue date 2026-03-31"]


def test_new_deployment_has_no_late_publication(instance: DagsterInstance) -> None:
    assert Watch(instance, publication_problems).at("2026-03-30", "12:00") == []


def test_late_publication_without_the_model_has_a_notice_of_its_own(instance: DagsterInstance) -> None:
    publish(instance, "2026-03-29")
    watch = Watch(instance, publication_problems)
    assert watch.at("2026-03-30", "08:00") == [("raised", "2026-03-30")]
    forecast(instance, "2026-03-30", degraded=True)
    assert watch.at("2026-03-30", "08:20") == [], "not published yet"
    publish(instance, "2026-03-30")
    assert watch.at("2026-03-30", "08:30") == [
        ("resolved", "2026-03-30"),
        ("raised", "2026-03-30 without the model"),
    ]
    assert watch.titles[-1] == "Published without the model: forecasts of issue date 2026-03-30"


def test_degraded_publication_is_a_warning_until_corrected(instance: DagsterInstance) -> None:
    forecast(instance, "2026-03-30", degraded=True)
    publish(instance, "2026-03-30")
    watch = Watch(instance, publication_problems)
    assert watch.at("2026-03-30", "06:00") == [("raised", "2026-03-30 without the model")]
    (incident,) = watch.incidents.open
    assert incident.problem.severity is Severity.WARNING
    assert incident.problem.details == "Model 7 cannot be read"
    assert watch.at("2026-03-30", "09:00") == []
    forecast(instance, "2026-03-30", degraded=False)
    assert watch.at("2026-03-30", "09:30") == [("resolved", "2026-03-30 without the model")]


def test_only_degraded_dates_of_a_range_are_problems(instance: DagsterInstance) -> None:
    metadata = {"degraded": True, "degraded_dates": ["2026-03-29"]}
    for day in ("2026-03-29", "2026-03-30"):
        instance.report_runless_asset_event(
            AssetMaterialization(FORECASTS_ASSET.split("/"), partition=day, metadata=metadata)
        )
    publish(instance, "2026-03-29")
    watch = Watch(instance, publication_problems)
    assert watch.at("2026-03-29", "05:00") == [("raised", "2026-03-29 without the model")]
    publish(instance, "2026-03-30")
    assert watch.at("2026-03-30", "05:00") == [("resolved", "2026-03-29 without the model")]


def test_feeds_that_do_not_follow_a_publication_are_a_problem(
    instance: DagsterInstance, materialise: Materialise
) -> None:
    materialise(PUBLISHED_FORECASTS, "first", "2026-03-30")
    materialise(FEEDS, "first", "2026-03-30")
    watch = Watch(instance, publication_problems)
    assert now_and_later(watch, minutes=31) == []
    materialise(PUBLISHED_FORECASTS, "corrected", "2026-03-30")
    assert now_and_later(watch, minutes=29) == []
    assert now_and_later(watch, minutes=31) == [("raised", "feeds 2026-03-30")]
    assert "Not written: feeds of issue date 2026-03-30" in watch.titles
    materialise(FEEDS, "corrected", "2026-03-30")
    assert now_and_later(watch, minutes=40) == [("resolved", "feeds 2026-03-30")]
    assert "the feeds of issue date 2026-03-30 are written" in watch.reasons


def test_missing_feeds_are_superseded_by_the_next_issue_date(
    instance: DagsterInstance, materialise: Materialise
) -> None:
    materialise(FEEDS, "first", "2026-03-29")
    materialise(PUBLISHED_FORECASTS, "first", "2026-03-30")
    watch = Watch(instance, publication_problems)
    assert now_and_later(watch, minutes=31) == [("raised", "feeds 2026-03-30")]
    materialise(PUBLISHED_FORECASTS, "first", "2026-03-31")
    materialise(FEEDS, "first", "2026-03-31")
    assert now_and_later(watch, minutes=32) == [("resolved", "feeds 2026-03-30")]
    assert set(watch.reasons) == {"superseded by issue date 2026-03-31"}


def test_deployment_without_feeds_misses_none(instance: DagsterInstance, materialise: Materialise) -> None:
    materialise(PUBLISHED_FORECASTS, "first", "2026-03-30")
    watch = Watch(instance, publication_problems)
    assert now_and_later(watch, minutes=99) == []
    materialise(FEEDS, "first", "2026-03-29")
    assert now_and_later(Watch(instance, publication_problems, feeds="none"), minutes=99) == []


def now_and_later(watch: Watch, minutes: float) -> list[tuple[str, str]]:
    """The notices of feeds at a time after now, which is the time of the newest materialisation."""
    local = datetime.now(watch.deployment.zone) + timedelta(minutes=minutes)
    notices = watch.at(local.date().isoformat(), local.time().isoformat())
    return [(action, subject) for action, subject in notices if subject.startswith("feeds")]


def test_degraded_publication_is_superseded_by_next_issue_date(instance: DagsterInstance) -> None:
    for day in ("2026-03-30", "2026-03-31"):
        forecast(instance, day, degraded=True)
    publish(instance, "2026-03-30")
    watch = Watch(instance, publication_problems)
    watch.at("2026-03-30", "06:00")
    publish(instance, "2026-03-31")
    assert watch.at("2026-03-31", "06:00") == [
        ("resolved", "2026-03-30 without the model"),
        ("raised", "2026-03-31 without the model"),
    ]


def queue(instance: DagsterInstance, number: int) -> list[DagsterRun]:
    return [
        create_run_for_test(
            instance,
            job_name="counts",
            status=DagsterRunStatus.QUEUED,
            remote_job_origin=job_origin("counts"),
        )
        for _ in range(number)
    ]


def test_long_queue_is_a_backlog_until_it_is_shorter(instance: DagsterInstance) -> None:
    watch = Watch(instance, backlog, backlog_runs=2, backlog_minutes=60)
    now = datetime.now(watch.deployment.zone)
    at = (now.date().isoformat(), now.time().isoformat())
    runs = queue(instance, 2)
    assert watch.at(*at) == []
    runs += queue(instance, 1)
    assert watch.at(*at) == [("raised", "run queue")]
    runs += queue(instance, 1)
    assert watch.at(*at) == [("worse", "run queue")]
    for run in runs[2:]:
        instance.delete_run(run.run_id)
    assert watch.at(*at) == [("resolved", "run queue")]


def test_run_that_waits_too_long_is_a_backlog(instance: DagsterInstance) -> None:
    watch = Watch(instance, backlog, backlog_minutes=60)
    queue(instance, 1)
    for minutes, actions in ((59, []), (61, ["raised"]), (121, ["worse"])):
        later = datetime.now(watch.deployment.zone) + timedelta(minutes=minutes)
        notices = watch.at(later.date().isoformat(), later.time().isoformat())
        assert [action for action, _ in notices] == actions
