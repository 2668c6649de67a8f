"""Detects failed runs, blocking checks and failed publications, and when a later run has corrected them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunRecord,
    RunsFilter,
    RunStatusChangeRecordsFilter,
)

from ruter_dagster.compat.checks import AssetCheckExecutionRecordStatus
from ruter_dagster.compat.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
)
from ruter_dagster.contracts.alerts import Kind
from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.jobs import FEEDS, PUBLISHED_FORECASTS
from ruter_dagster.notifications.incidents import Key, Problem, Severity
from ruter_dagster.orchestration.event_log import (
    FailureCause,
    blocking_checks,
    describe_check,
    describe_dates,
    failure_cause,
    report_addresses,
)
from ruter_dagster.orchestration.run_output import last_log_lines
from ruter_dagster.sensors.problems import Findings, Observation
from ruter_dagster.sensors.publication_problems import FEEDS_SUBJECT
from ruter_dagster.sensors.retries import waits_for_retry

KINDS_OF_RUNS: tuple[Kind, ...] = ("run_failure", "blocking_check", "failed_publication")
MAX_FAILURES_PER_TICK = 50
MAX_EXAMINED_RUNS = 100
"""Failed runs of open incidents that one tick examines. Each needs about five queries."""
MAX_LATER_RUNS = 200
"""Newest successful runs that are searched for one that corrects a failure."""
MAX_EVALUATIONS = 50
"""Newest passed evaluations of a check that are searched for one that corrects a failure."""
JOBS_BY_ISSUE_DATE = ("forecasting", "feeds")
"""Jobs whose results replace those of earlier issue dates: nobody needs the earlier ones any more."""
_ASSET_JOB = "__ASSET_JOB"
"""Dagster's name for runs of assets that a person selected."""

State = Literal["active", "over", "unknown"]


@dataclass(frozen=True)
class RunCursor:
    """What a tick read: the record id of the newest examined failure, and the position of the next incident to examine."""

    failure: int
    incident: int = 0


def run_problems(observation: Observation, cursor: RunCursor) -> tuple[Findings, RunCursor]:
    """The problems of runs that failed after the cursor, and the state of open incidents of runs.

    A failure that waits for a retry is no problem yet. Returns the next cursor too, which stays before the first such failure.
    A tick examines at most about `MAX_EXAMINED_RUNS` runs of open incidents; the next tick goes on with the others.
    """
    failures, failure = _new_failures(observation, cursor.failure)
    problems = [
        _problem(observation, record)
        for record in failures
        if _state(observation, record.dagster_run.run_id)[0] == "active"
    ]
    renewed = {problem.key for problem in problems}
    findings, incident = _open_problems(observation, cursor.incident, renewed)
    findings.active += problems
    return findings, RunCursor(failure, incident)


def _open_problems(observation: Observation, first: int, renewed: Collection[Key]) -> tuple[Findings, int]:
    """The state of open incidents of runs from a position on, and the position of the next one to examine.

    `renewed`: incidents with a new failure, which keep their earlier runs although they are not examined.
    """
    incidents = [
        incident
        for incident in observation.open_incidents(*KINDS_OF_RUNS)
        if incident.problem.run_ids and incident.over_since is None
    ]
    start = first % len(incidents) if incidents else 0
    findings, left, position = Findings(), MAX_EXAMINED_RUNS, start
    for number, incident in enumerate(incidents[start:] + incidents[:start]):
        if left > 0:
            state, examined = _examine(observation, incident.problem, left)
            findings.add(state)
            left, position = left - examined, start + number + 1
        elif incident.problem.key in renewed:
            findings.active.append(incident.problem)
    return findings, position


def _examine(observation: Observation, problem: Problem, limit: int) -> tuple[Findings, int]:
    """The state of an incident of runs, and the number of runs that were examined.

    One run that is still a problem is enough. Runs that are over leave the incident, so that later ticks do not examine them.
    """
    pending: list[str] = []
    reason = ""
    for number, run_id in enumerate(problem.run_ids):
        state, text = ("active", "") if number == limit else _state(observation, run_id)
        if state == "active":
            run_ids = (*pending, *problem.run_ids[number:])
            return Findings([problem.model_copy(update={"run_ids": run_ids})]), number + 1
        if state == "over":
            reason = text
        else:
            pending.append(run_id)
    return Findings() if pending else Findings(over={problem.key: reason}), len(problem.run_ids)


def newest_failure(instance: DagsterInstance) -> int:
    """The record id of the newest failure of a run, 0 without one."""
    records = instance.fetch_run_status_changes(DagsterEventType.RUN_FAILURE, limit=1).records
    return records[0].storage_id if records else 0


def _new_failures(observation: Observation, cursor: int) -> tuple[list[RunRecord], int]:
    """The final failures after the cursor, and the next cursor."""
    instance = observation.instance
    records_filter = RunStatusChangeRecordsFilter(DagsterEventType.RUN_FAILURE, after_storage_id=cursor)
    records = instance.fetch_run_status_changes(
        records_filter, limit=MAX_FAILURES_PER_TICK, ascending=True
    ).records
    failures, has_pending = [], False
    for record in records:
        run = instance.get_run_record_by_id(record.run_id)
        is_pending = run is not None and waits_for_retry(instance, run.dagster_run, record.timestamp)
        if run and not is_pending and AUTO_RETRY_RUN_ID_TAG not in run.dagster_run.tags:
            failures.append(run)
        has_pending = has_pending or is_pending
        if not has_pending:
            cursor = record.storage_id
    return failures, cursor


def _state(observation: Observation, run_id: str) -> tuple[State, str]:
    """Whether a failed run is still a problem, and why not."""
    instance = observation.instance
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        return "over", f"the run {run_id[:8]} was deleted"
    run = record.dagster_run
    if run.status != DagsterRunStatus.FAILURE:
        return "unknown", ""
    cause = failure_cause(instance, run_id)
    if reason := _corrected(instance, record, cause) or _passed(instance, record, cause):
        return "over", reason
    return ("unknown" if AUTO_RETRY_RUN_ID_TAG in run.tags else "active"), ""


def _corrected(instance: DagsterInstance, record: RunRecord, cause: FailureCause) -> str:
    """Which later runs succeeded for all dates of a failed run. Empty if none did.

    They are runs that materialised the asset that failed, of whatever job, or runs of the same job if no step had started.
    """
    run = record.dagster_run
    missing = set(dates_of(run))
    for success, dates in _later_successes(instance, record, cause.asset):
        missing -= dates
        if not missing:
            return f"{job_and_dates(run)} succeeded in run {success[:8]}"
    if run.job_name in JOBS_BY_ISSUE_DATE:
        later = _later_runs(instance, record, job_name=run.job_name)
        newest = max((day for success in later for day in dates_of(success)), default="")
        if newest > max(dates_of(run)):
            return f"superseded by issue date {newest}"
    return ""


def _later_successes(
    instance: DagsterInstance, record: RunRecord, asset: str | None
) -> Iterator[tuple[str, set[str]]]:
    """Id and dates of each later successful run of a failed run's job, or of each that materialised the asset."""
    if asset is None:
        for run in _later_runs(instance, record, job_name=record.dagster_run.job_name):
            yield run.run_id, set(dates_of(run))
        return
    dates = dates_of(record.dagster_run)
    records_filter = AssetRecordsFilter(
        AssetKey.from_user_string(asset),
        asset_partitions=None if dates == [""] else dates,
        after_timestamp=_created(record),
    )
    events = instance.fetch_materializations(records_filter, limit=MAX_LATER_RUNS + len(dates)).records
    run_ids = list(dict.fromkeys(event.run_id for event in events if event.run_id))
    later = {run.run_id for run in _later_runs(instance, record, run_ids=run_ids)} if run_ids else set()
    for event in events:
        if event.run_id in later:
            yield event.run_id, {event.partition_key or ""}


def _later_runs(instance: DagsterInstance, record: RunRecord, **values: Any) -> list[DagsterRun]:
    """The newest successful runs that were created after a failed one, with these values of Dagster's filter of runs."""
    runs_filter = RunsFilter(
        statuses=[DagsterRunStatus.SUCCESS], created_after=record.create_timestamp, **values
    )
    records = instance.get_run_records(runs_filter, limit=MAX_LATER_RUNS)
    return [success.dagster_run for success in records if success.storage_id > record.storage_id]


def _created(record: RunRecord) -> float:
    return record.create_timestamp.replace(tzinfo=UTC).timestamp()


def _passed(instance: DagsterInstance, record: RunRecord, cause: FailureCause) -> str:
    """Which blocking checks of a failed run passed later for all of its dates. Empty unless all did."""
    run = record.dagster_run
    checks = [check.asset_check_key for check in blocking_checks(instance, run.run_id, cause.asset)]
    ended = record.end_time or record.create_timestamp.timestamp()
    if checks and all(_dates_passed(instance, check, ended) >= set(dates_of(run)) for check in checks):
        return f"{', '.join(check.name for check in checks)} passed for {describe_dates(run)}"
    return ""


def _dates_passed(instance: DagsterInstance, check: AssetCheckKey, after: float) -> set[str]:
    """The dates on which a check was judged and passed after a time, in seconds since 1970."""
    records = instance.event_log_storage.get_asset_check_execution_history(
        check, limit=MAX_EVALUATIONS, status={AssetCheckExecutionRecordStatus.SUCCEEDED}
    )
    dates: set[str] = set()
    for record in records:
        event = record.event.dagster_event if record.event else None
        judged = event.asset_check_evaluation_data.metadata.get("judged") if event else None
        run = instance.get_run_by_id(record.run_id) if record.create_timestamp > after else None
        if run and not (judged and judged.value is False):
            dates |= set(dates_of(run))
    return dates


def dates_of(run: DagsterRun) -> list[str]:
    """The partitions of a run; one empty text for a run without partitions."""
    first, last = run.tags.get(ASSET_PARTITION_RANGE_START_TAG), run.tags.get(ASSET_PARTITION_RANGE_END_TAG)
    if first and last:
        days = day_range(datetime.fromisoformat(first).date(), datetime.fromisoformat(last).date())
        return [day.isoformat() for day in days]
    return [run.tags.get(PARTITION_NAME_TAG, "")]


def job_and_dates(run: DagsterRun) -> str:
    """A run in words: its job, or its assets, and its dates."""
    name = run.job_name
    if name == _ASSET_JOB:
        assets = sorted(key.to_user_string() for key in run.asset_selection or ())
        name = ", ".join(assets[:3]) + (f" and {len(assets) - 3} more" if len(assets) > 3 else "")
    return " ".join(filter(None, (name, describe_dates(run))))


def _problem(observation: Observation, record: RunRecord) -> Problem:
    """The problem of a failed run: which check blocked it, or the error of its first failed step."""
    run, instance = record.dagster_run, observation.instance
    cause = failure_cause(instance, run.run_id)
    checks = blocking_checks(instance, run.run_id, cause.asset)
    run_link = observation.link(f"Run {run.run_id[:8]}", f"runs/{run.run_id}")
    if checks:
        return Problem(
            kind="blocking_check",
            subject=f"{cause.asset} {describe_dates(run)}".strip(),
            severity=Severity.ERROR,
            title=f"Blocked by a check: {job_and_dates(run)}",
            since=_since(record),
            affected=_affected(observation, run, cause, "No job reads these dates"),
            details="\n".join(map(describe_check, checks)),
            links=(*(("Report", address) for address in report_addresses(checks)), run_link),
            remedy=f"Correct the data at the source, then read it again: `ruter-dagster retry {run.run_id} --whole`",
            run_ids=(run.run_id,),
        )
    kind, subject, title = _identity(run, cause)
    return Problem(
        kind=kind,
        subject=subject,
        severity=Severity.ERROR,
        title=title,
        since=_since(record),
        affected=_affected(observation, run, cause),
        details=cause.reason,
        log=last_log_lines(instance, run.run_id, cause.asset),
        links=(run_link,),
        remedy=f"Fix the cause, then continue from the failed step: `ruter-dagster retry {run.run_id}`",
        run_ids=(run.run_id,),
    )


def _identity(run: DagsterRun, cause: FailureCause) -> tuple[Kind, str, str]:
    """Kind, subject and title of a failure. The runs of one backfill are one incident."""
    if backfill := run.tags.get(BACKFILL_ID_TAG):
        name = f"{job_and_dates(run).removesuffix(describe_dates(run)).strip()} of backfill {backfill}"
        return "run_failure", name, f"Runs failed: {name}"
    if cause.asset == PUBLISHED_FORECASTS:
        dates = describe_dates(run)
        return "failed_publication", dates, f"Not published: forecasts of issue date {dates}"
    if cause.asset == FEEDS:
        dates = describe_dates(run)
        return "failed_publication", FEEDS_SUBJECT + dates, f"Not written: feeds of issue date {dates}"
    return "run_failure", job_and_dates(run), f"Run failed: {job_and_dates(run)}"


def _affected(
    observation: Observation, run: DagsterRun, cause: FailureCause, *others: str
) -> tuple[str, ...]:
    """The dates, the failed asset, and the assets that depend on it."""
    dates = describe_dates(run)
    readers = observation.deployment.not_updated(cause.asset)
    parts = (
        f"Dates: {dates}" if dates else "",
        f"Asset: {cause.asset}" if cause.asset else "",
        readers,
        *others,
    )
    return tuple(part for part in parts if part)


def _since(record: RunRecord) -> datetime:
    times: Iterable[float | None] = (record.end_time, record.start_time, record.create_timestamp.timestamp())
    return datetime.fromtimestamp(next(time for time in times if time), UTC)
