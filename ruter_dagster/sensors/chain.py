"""The runs of the daily chain: requests for its first runs, and the sensor that requests the runs that follow.

`schedules.py` or `arrivals.py` requests the first runs, counts and plan. Every run has the issue date as a tag.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from typing import Any

from dagster import (
    AssetKey,
    AssetsDefinition,
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    RunRecord,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from ruter_dagster.config.gtfs_location import plans_ahead
from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.features import TRAINING_SAMPLE
from ruter_dagster.contracts.jobs import MIN_COUNTED_DATES, MIN_TRAINING_DATES, asset_of
from ruter_dagster.contracts.tables import STOP_LOADS
from ruter_dagster.orchestration.chain import FollowUp, Window, follow_ups, input_windows
from ruter_dagster.orchestration.event_log import content_hash
from ruter_dagster.orchestration.partitions import range_tags

ISSUE_DATE_TAG = "ruter/issue_date"
"""Tag of every run of the daily chain. Retries inherit it, so that follow-ups are requested after a retry too."""
INPUTS_TAG = "ruter/inputs"
"""Tag of a follow-up: a hash of the content that it reads."""
RECENT_RUNS = 100
"""Number of newest runs of each job that are searched for runs of the daily chain."""
INTERVAL_SECONDS = 30


def automation_is_on(settings: Settings) -> bool:
    """Whether schedules and sensors are on by default. On a laptop and in a sandbox, a person turns them on."""
    return settings.environment in ("dev", "test", "stage", "prod")


def sensor_status(settings: Settings) -> DefaultSensorStatus:
    return DefaultSensorStatus.RUNNING if automation_is_on(settings) else DefaultSensorStatus.STOPPED


def schedule_status(settings: Settings) -> DefaultScheduleStatus:
    return DefaultScheduleStatus.RUNNING if automation_is_on(settings) else DefaultScheduleStatus.STOPPED


def starts_on_arrival(settings: Settings) -> bool:
    """Whether the chain starts when the source has a new date, and not by a schedule."""
    return settings.source == "tides"


def issue_date_of(operating_date: date, settings: Settings) -> date:
    """The issue date that can be forecast after the counts of an operating date.

    With a timetable: the next day. TIDES data without GTFS plan a date by the trips that ran on it. Their issue date is
    the last one whose four dates all have counts.
    """
    return operating_date + timedelta(1 if plans_ahead(settings) else -HORIZON_DAYS)


def counts_request(operating_date: date, settings: Settings, correction: str = "") -> RunRequest:
    """A run of the counts of a date. `correction`: the version of its files, if they were corrected."""
    return RunRequest(
        run_key=f"counts {operating_date} {correction}".strip(),
        job_name="counts",
        partition_key=operating_date.isoformat(),
        tags={ISSUE_DATE_TAG: issue_date_of(operating_date, settings).isoformat()},
    )


def plan_request(operating_date: date, settings: Settings, operator: Operator, cause: str = "") -> RunRequest:
    """One run of the plan of all dates that are forecast on the issue date.

    `cause`: why the plan is repeated; the version of corrected files, or of a timetable.
    """
    issue_date = issue_date_of(operating_date, settings)
    first = max(issue_date, settings.history_start or operator.history_start)
    dates = range_tags(first, issue_date + timedelta(HORIZON_DAYS))
    tags = {ISSUE_DATE_TAG: issue_date.isoformat(), **dates}
    return RunRequest(run_key=f"plan {issue_date} {cause}".strip(), job_name="plan", tags=tags)


def has_enough_to_train(instance: DagsterInstance, evaluation_days: int) -> bool:
    """Whether there are enough dates with loads, and enough dates of the training sample before the evaluation period."""
    counted, sampled = (
        _materialised_dates(instance, asset_of(table.name)) for table in (STOP_LOADS, TRAINING_SAMPLE)
    )
    newest = list(islice(sampled, MIN_TRAINING_DATES + evaluation_days))
    training_dates = [day for day in newest if day <= newest[0] - timedelta(evaluation_days)]
    return (
        len(list(islice(counted, MIN_COUNTED_DATES))) == MIN_COUNTED_DATES
        and len(training_dates) >= MIN_TRAINING_DATES
    )


def _materialised_dates(instance: DagsterInstance, asset: str) -> Iterator[date]:
    """Dates of an asset that have content, newest first."""
    for day in sorted(instance.get_materialized_partitions(AssetKey.from_user_string(asset)), reverse=True):
        if content_hash(instance, asset, day) is not None:
            yield date.fromisoformat(day)


@dataclass(frozen=True)
class WatchedFollowUp:
    """A follow-up, with the inputs whose content decides whether it is requested again."""

    follow_up: FollowUp
    inputs: tuple[Window, ...]


def chain_sensors(
    settings: Settings, jobs: Mapping[str, Any], assets: Sequence[AssetsDefinition]
) -> list[SensorDefinition]:
    """The sensor that requests forecasting, monitoring and the training sample."""
    watched = [
        WatchedFollowUp(follow_up, input_windows(follow_up, assets)) for follow_up in follow_ups(settings)
    ]

    @sensor(
        jobs=[jobs[each.follow_up.job] for each in watched],
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=sensor_status(settings),
        description="Requests forecasts of an issue date once its counts and its plan have succeeded, also after a retry; then "
        "monitoring and the training sample. Changed content is requested again, the same content is not.",
    )
    def daily_chain(context: SensorEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        last_issue_dates: dict[str, str] = json.loads(context.cursor or "{}")
        requests = _requests_of_tick(watched, last_issue_dates, context.instance)
        context.update_cursor(json.dumps(last_issue_dates))
        if not requests:
            yield SkipReason("All issue dates with counts and plan have their forecasts and monitoring")
        yield from requests

    return [daily_chain]


def _requests_of_tick(
    watched: Sequence[WatchedFollowUp], last_issue_dates: dict[str, str], instance: DagsterInstance
) -> list[RunRequest]:
    """The requests of one tick.

    `last_issue_dates`: for each job with a limit per tick, where the last tick stopped; updated here.
    """
    jobs = {job for each in watched for job in (each.follow_up.job, *each.follow_up.after)}
    runs = {job: newest_runs(instance, job) for job in jobs}
    requests: list[RunRequest] = []
    for each in watched:
        job, per_tick = each.follow_up.job, each.follow_up.per_tick
        due = _due_requests(each, runs, last_issue_dates.get(job, ""), instance)
        of_job = list(islice(due, per_tick))
        requests += of_job
        if of_job and len(of_job) == per_tick:
            last_issue_dates[job] = of_job[-1].tags[ISSUE_DATE_TAG]
    return requests


def newest_runs(instance: DagsterInstance, job: str) -> dict[str, RunRecord]:
    """The newest run of a job for each issue date, among the recent runs of the job."""
    newest: dict[str, RunRecord] = {}
    for record in instance.get_run_records(RunsFilter(job_name=job), limit=RECENT_RUNS):
        issue_date = record.dagster_run.tags.get(ISSUE_DATE_TAG)
        if issue_date:
            newest.setdefault(issue_date, record)
    return newest


def _due_issue_dates(follow_up: FollowUp, runs: Mapping[str, Mapping[str, RunRecord]]) -> list[str]:
    """Issue dates whose preceding runs all succeeded, and at least one of them after the last follow-up.

    `runs`: the newest runs by job and issue date.
    """
    own_runs = runs[follow_up.job]
    newest_followed = max((day for day, run in own_runs.items() if not has_failed(run)), default="")
    due = []
    for issue_date in sorted(set.intersection(*(set(runs[job]) for job in follow_up.after))):
        if follow_up.newest_only and issue_date < newest_followed:
            continue
        preceding = [runs[job][issue_date] for job in follow_up.after]
        own_run = own_runs.get(issue_date)
        succeeded = all(record.dagster_run.status == DagsterRunStatus.SUCCESS for record in preceding)
        last_preceding = max(record.storage_id for record in preceding)
        if succeeded and (own_run is None or own_run.storage_id < last_preceding):
            due.append(issue_date)
    return due


def has_failed(run: RunRecord) -> bool:
    """Whether a run failed or was cancelled."""
    return run.dagster_run.status in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


def _due_requests(
    watched: WatchedFollowUp,
    runs: Mapping[str, Mapping[str, RunRecord]],
    last_issue_date: str,
    instance: DagsterInstance,
) -> Iterator[RunRequest]:
    """The requests that are due. Issue dates after `last_issue_date` come first, so that each date has its turn."""
    due = _due_issue_dates(watched.follow_up, runs)
    for issue_date in sorted(due, key=lambda issue_date: (issue_date <= last_issue_date, issue_date)):
        former = runs[watched.follow_up.job].get(issue_date)
        if request := _request(watched, issue_date, former, instance):
            yield request


def _request(
    watched: WatchedFollowUp, issue_date: str, former: RunRecord | None, instance: DagsterInstance
) -> RunRequest | None:
    """The request for an issue date. None if a required input is missing, or if the `former` run read the same content."""
    follow_up = watched.follow_up
    partition = follow_up.partition(issue_date)

    def content(asset: str, day: int) -> str | None:
        return content_hash(instance, asset, (partition + timedelta(day)).isoformat())

    if content(*follow_up.required) is None:
        return None
    contents = [
        content(asset, day) for asset, first, last in watched.inputs for day in range(first, last + 1)
    ]
    digest = hashlib.sha256(" ".join(map(str, contents)).encode()).hexdigest()[:12]
    if former and former.dagster_run.tags.get(INPUTS_TAG) == digest:
        return None
    return RunRequest(
        run_key=f"{follow_up.job} {partition} {digest}{run_suffix(former)}",
        job_name=follow_up.job,
        partition_key=partition.isoformat(),
        tags={ISSUE_DATE_TAG: issue_date, INPUTS_TAG: digest},
    )


def run_suffix(former: RunRecord | None) -> str:
    """The part of a run key that names the run to replace. Without it, content that returns to an older state has an old key."""
    return f" after {former.dagster_run.run_id[:8]}" if former else ""
