"""The runs of one day's chain: their dates, tags and order, and the sensor that asks for those that follow others.

The first runs, counts and plan, are asked for by schedules.py or arrivals.py; both are tagged with the issue date.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from typing import Any

from dagster import (
    AssetKey,
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
from ruter_dagster.contracts.date_windows import HORIZON_DAYS, LEVEL_WINDOW_DAYS
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS, TRAINING_SAMPLE
from ruter_dagster.contracts.jobs import MIN_COUNTED_DATES, MIN_TRAINING_DATES, asset_of
from ruter_dagster.contracts.tables import LOAD_FORECASTS, STOP_LOADS
from ruter_dagster.orchestration.event_log import content_hash

ISSUE_DATE_TAG = "ruter/issue_date"
"""Tag of every run of a day's chain: retries and runs repeated in the UI inherit it, so that what follows still follows."""
LOOK_BACK = 100
"""Newest runs of each job among which those of a chain are looked for."""
INTERVAL_SECONDS = 30
SAMPLES_AT_ONCE = 5
"""Samples that a tick asks for: after weeks without a sensor, or an upgrade, as many dates are due as there were runs."""


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


@dataclass(frozen=True)
class FollowUp:
    """A run that is asked for when others of its issue date have passed, once for each content of its inputs.

    `day` is its partition, in days from the issue date; `inputs` are assets with the first and last date that is read,
    in days from that partition. The first date of the first input must be there. `not_behind`: an issue date is not made once a newer
    one has been. `at_once`: the most runs that a tick asks for, where there is a limit; those of other issue dates
    follow at later ticks.
    """

    job: str
    after: tuple[str, ...]
    day: int
    inputs: tuple[tuple[str, int, int], ...]
    not_behind: bool = False
    at_once: int | None = None

    def partition(self, issue_date: str) -> date:
        return date.fromisoformat(issue_date) + timedelta(self.day)


def follow_ups(settings: Settings) -> tuple[FollowUp, ...]:
    """What follows: forecasts when counts and plan have passed, monitoring and sample of the newest date that was forecast and counted."""
    # A source without a timetable is forecast only when the truth is there, so that the issue date itself is the newest.
    late = not plans_ahead(settings)
    forecasting = FollowUp(
        "forecasting",
        after=("counts", "plan"),
        day=0,
        inputs=(
            (asset_of(STOP_LOADS.name), -1, -1),
            (asset_of(STOP_LOADS.name), -LEVEL_WINDOW_DAYS, -2),
            (asset_of(DEPARTURE_FEATURES.name), -LEVEL_WINDOW_DAYS, HORIZON_DAYS),
        ),
        # Late or corrected counts of last week must not publish last week's forecasts after today's.
        not_behind=not late,
    )
    monitoring = FollowUp(
        "monitoring",
        after=("forecasting",) if late else ("counts",),
        day=0 if late else -1,
        inputs=((asset_of(STOP_LOADS.name), 0, 0), (asset_of(LOAD_FORECASTS.name), -HORIZON_DAYS, 0)),
    )
    # Sampled as soon as the truth has come: its levels and weather are those of the issue dates up to three days before.
    sampling = FollowUp(
        "sampling",
        after=monitoring.after,
        day=monitoring.day,
        inputs=(
            (asset_of(DEPARTURE_FEATURES.name), 0, 0),
            (asset_of(STOP_LOADS.name), 0, 0),
            (asset_of(LEVELS.name), -HORIZON_DAYS, 0),
        ),
        at_once=SAMPLES_AT_ONCE,
    )
    return forecasting, monitoring, sampling


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


def chain_sensors(settings: Settings, jobs: Mapping[str, Any]) -> list[SensorDefinition]:
    """The sensor that asks for forecasting, monitoring and the training sample."""
    follow = follow_ups(settings)

    @sensor(
        jobs=[jobs[follow_up.job] for follow_up in follow],
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=sensor_status(settings),
        description="Asks for forecasts of an issue date when its counts and its plan have passed, retried or not, and "
        "for monitoring and the training sample. Changed content asks again, the same content does not.",
    )
    def daily_chain(context: SensorEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        newest = {
            job: newest_runs(context.instance, job)
            for job in {name for follow_up in follow for name in (follow_up.job, *follow_up.after)}
        }
        last: dict[str, str] = json.loads(context.cursor or "{}")
        asked: list[RunRequest] = []
        for follow_up in follow:
            requests = _requests(follow_up, newest, last.get(follow_up.job, ""), context.instance)
            taken = list(islice(requests, follow_up.at_once))
            asked += taken
            if taken and len(taken) == follow_up.at_once:
                last[follow_up.job] = taken[-1].tags[ISSUE_DATE_TAG]
        context.update_cursor(json.dumps(last))
        if not asked:
            yield SkipReason(
                "No issue date whose counts and plan have passed waits for its forecasts or monitoring"
            )
        yield from asked

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
    """Issue dates for which every run before has passed, and one of them is newer than the run that follows."""
    shared = set.intersection(*(set(newest[job]) for job in follow_up.after))
    newest_made = max((day for day, run in newest[follow_up.job].items() if _may_stand(run)), default="")
    due = []
    for issue_date in sorted(shared):
        before = [newest[job][issue_date] for job in follow_up.after]
        last = newest[follow_up.job].get(issue_date)
        if follow_up.not_behind and issue_date < newest_made:
            continue
        passed = all(record.dagster_run.status == DagsterRunStatus.SUCCESS for record in before)
        if passed and (last is None or last.storage_id < max(record.storage_id for record in before)):
            due.append(issue_date)
    return due


def _may_stand(run: RunRecord) -> bool:
    """Whether a run has made, or is about to make, what it was asked for."""
    return run.dagster_run.status not in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


def _requests(
    follow_up: FollowUp,
    newest: Mapping[str, Mapping[str, RunRecord]],
    last: str,
    instance: DagsterInstance,
) -> Iterator[RunRequest]:
    """The runs that are due, those after the issue date `last` first: dates that need no run again hold up no others."""
    due = _due(follow_up, newest)
    for issue_date in sorted(due, key=lambda issue_date: (issue_date <= last, issue_date)):
        if request := _request(follow_up, issue_date, instance):
            yield request


def _request(follow_up: FollowUp, issue_date: str, instance: DagsterInstance) -> RunRequest | None:
    """The run for an issue date; its key follows from what it would read, so that the same is not asked for twice."""
    partition = follow_up.partition(issue_date)
    content = [
        content_hash(instance, asset, (partition + timedelta(offset)).isoformat())
        for asset, first, last in follow_up.inputs
        for offset in range(first, last + 1)
    ]
    if content[0] is None:
        return None
    digest = hashlib.sha256(" ".join(map(str, content)).encode()).hexdigest()[:12]
    return RunRequest(
        run_key=f"{follow_up.job} {partition} {digest}",
        job_name=follow_up.job,
        partition_key=partition.isoformat(),
        tags={ISSUE_DATE_TAG: issue_date},
    )
