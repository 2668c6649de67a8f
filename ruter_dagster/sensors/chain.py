"""The runs of one day's chain: their dates, tags and order, and the sensor that asks for those that follow others.

The first runs, counts and plan, are asked for by schedules.py or arrivals.py; both are tagged with the issue date.
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

from ruter_dagster.compat.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from ruter_dagster.config.gtfs_location import plans_ahead
from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.features import TRAINING_SAMPLE
from ruter_dagster.contracts.jobs import MIN_COUNTED_DATES, MIN_TRAINING_DATES, asset_of
from ruter_dagster.contracts.tables import STOP_LOADS
from ruter_dagster.orchestration.chain import FollowUp, Window, follow_ups, input_windows
from ruter_dagster.orchestration.event_log import content_hash

ISSUE_DATE_TAG = "ruter/issue_date"
"""Tag of every run of a day's chain: retries and runs repeated in the UI inherit it, so that what follows still follows."""
INPUTS_TAG = "ruter/inputs"
"""Tag of a run that follows others: a hash of the content that it reads."""
LOOK_BACK = 100
"""Newest runs of each job that are searched for the runs of a day's chain."""
INTERVAL_SECONDS = 30


def automation_is_on(settings: Settings) -> bool:
    """Whether schedules and sensors run by themselves: not on a laptop nor in a sandbox, where a person turns them on."""
    return settings.environment in ("dev", "test", "stage", "prod")


def sensor_status(settings: Settings) -> DefaultSensorStatus:
    return DefaultSensorStatus.RUNNING if automation_is_on(settings) else DefaultSensorStatus.STOPPED


def schedule_status(settings: Settings) -> DefaultScheduleStatus:
    return DefaultScheduleStatus.RUNNING if automation_is_on(settings) else DefaultScheduleStatus.STOPPED


def starts_on_arrival(settings: Settings) -> bool:
    """Whether the chain waits for a day to appear at the source, rather than for the clock."""
    return settings.source == "tides"


def issue_date_of(operating_date: date, settings: Settings) -> date:
    """The issue date that can be forecast once the counts of an operating date have come.

    The next day; for TIDES data without GTFS, which plan a date only by what ran on it, the last whose four dates are all there.
    """
    return operating_date + timedelta(1 if plans_ahead(settings) else -HORIZON_DAYS)


def counts_request(operating_date: date, settings: Settings, correction: str = "") -> RunRequest:
    """A run of a date's counts; `correction` is the version of its files where they are others than those that were read."""
    return RunRequest(
        run_key=f"counts {operating_date} {correction}".strip(),
        job_name="counts",
        partition_key=operating_date.isoformat(),
        tags={ISSUE_DATE_TAG: issue_date_of(operating_date, settings).isoformat()},
    )


def plan_request(operating_date: date, settings: Settings, operator: Operator, cause: str = "") -> RunRequest:
    """One run over the dates that the issue date forecasts, from the first date of the partitions on.

    Once more for each `cause`: the version of corrected files, or of a timetable.
    """
    issue_date = issue_date_of(operating_date, settings)
    first = max(issue_date, settings.history_start or operator.history_start)
    tags = {
        ISSUE_DATE_TAG: issue_date.isoformat(),
        ASSET_PARTITION_RANGE_START_TAG: first.isoformat(),
        ASSET_PARTITION_RANGE_END_TAG: (issue_date + timedelta(HORIZON_DAYS)).isoformat(),
    }
    return RunRequest(run_key=f"plan {issue_date} {cause}".strip(), job_name="plan", tags=tags)


def has_enough_to_train(instance: DagsterInstance, evaluation_days: int) -> bool:
    """Whether there are loads of enough operating dates for a model, and enough of the training sample before the evaluation's dates."""
    counted, sampled = (
        _dates_made(instance, asset_of(table.name)) for table in (STOP_LOADS, TRAINING_SAMPLE)
    )
    newest = list(islice(sampled, MIN_TRAINING_DATES + evaluation_days))
    trained = [day for day in newest if day <= newest[0] - timedelta(evaluation_days)]
    return (
        len(list(islice(counted, MIN_COUNTED_DATES))) == MIN_COUNTED_DATES
        and len(trained) >= MIN_TRAINING_DATES
    )


def _dates_made(instance: DagsterInstance, asset: str) -> Iterator[date]:
    """Dates of an asset that there are, newest first."""
    for day in sorted(instance.get_materialized_partitions(AssetKey.from_user_string(asset)), reverse=True):
        if content_hash(instance, asset, day) is not None:
            yield date.fromisoformat(day)


@dataclass(frozen=True)
class WatchedFollowUp:
    """A follow-up, with the inputs whose content decides whether it runs again."""

    declared: FollowUp
    inputs: tuple[Window, ...]


def chain_sensors(
    settings: Settings, jobs: Mapping[str, Any], assets: Sequence[AssetsDefinition]
) -> list[SensorDefinition]:
    """The sensor that requests forecasting, monitoring and the training sample."""
    watched = [
        WatchedFollowUp(follow_up, input_windows(follow_up, assets)) for follow_up in follow_ups(settings)
    ]

    @sensor(
        jobs=[jobs[each.declared.job] for each in watched],
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=sensor_status(settings),
        description="Requests forecasts of an issue date once its counts and its plan have succeeded, also after a retry; then "
        "monitoring and the training sample. Changed content is requested again, the same content is not.",
    )
    def daily_chain(context: SensorEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        newest = {
            job: newest_runs(context.instance, job)
            for job in {name for each in watched for name in (each.declared.job, *each.declared.after)}
        }
        last_issue_dates: dict[str, str] = json.loads(context.cursor or "{}")
        requests: list[RunRequest] = []
        for each in watched:
            job, per_tick = each.declared.job, each.declared.per_tick
            due = _requests(each, newest, last_issue_dates.get(job, ""), context.instance)
            of_tick = list(islice(due, per_tick))
            requests += of_tick
            if of_tick and len(of_tick) == per_tick:
                last_issue_dates[job] = of_tick[-1].tags[ISSUE_DATE_TAG]
        context.update_cursor(json.dumps(last_issue_dates))
        if not requests:
            yield SkipReason(
                "No issue date whose counts and plan succeeded lacks its forecasts or monitoring"
            )
        yield from requests

    return [daily_chain]


def newest_runs(instance: DagsterInstance, job: str) -> dict[str, RunRecord]:
    """The newest run of a job for each issue date, among its last runs."""
    newest: dict[str, RunRecord] = {}
    for record in instance.get_run_records(RunsFilter(job_name=job), limit=LOOK_BACK):
        issue_date = record.dagster_run.tags.get(ISSUE_DATE_TAG)
        if issue_date:
            newest.setdefault(issue_date, record)
    return newest


def _due(follow_up: FollowUp, newest: Mapping[str, Mapping[str, RunRecord]]) -> list[str]:
    """Issue dates for which every run before succeeded, and one of them is newer than the run that follows."""
    shared = set.intersection(*(set(newest[job]) for job in follow_up.after))
    newest_made = max((day for day, run in newest[follow_up.job].items() if not _has_failed(run)), default="")
    due = []
    for issue_date in sorted(shared):
        before = [newest[job][issue_date] for job in follow_up.after]
        last = newest[follow_up.job].get(issue_date)
        if follow_up.newest_only and issue_date < newest_made:
            continue
        succeeded = all(record.dagster_run.status == DagsterRunStatus.SUCCESS for record in before)
        if succeeded and (last is None or last.storage_id < max(record.storage_id for record in before)):
            due.append(issue_date)
    return due


def _has_failed(run: RunRecord) -> bool:
    return run.dagster_run.status in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


def _requests(
    watched: WatchedFollowUp,
    newest: Mapping[str, Mapping[str, RunRecord]],
    last: str,
    instance: DagsterInstance,
) -> Iterator[RunRequest]:
    """The runs that are due, first those after the issue date `last`, so that no date waits for dates that need no run."""
    due = _due(watched.declared, newest)
    for issue_date in sorted(due, key=lambda issue_date: (issue_date <= last, issue_date)):
        former = newest[watched.declared.job].get(issue_date)
        if request := _request(watched, issue_date, former, instance):
            yield request


def _request(
    watched: WatchedFollowUp, issue_date: str, former: RunRecord | None, instance: DagsterInstance
) -> RunRequest | None:
    """The run for an issue date; None if a required input is missing, or the `former` run read the same content."""
    follow_up = watched.declared
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
    """Part of a run key that names the run to be replaced: without it, content that returns would have an old key."""
    return f" after {former.dagster_run.run_id[:8]}" if former else ""
