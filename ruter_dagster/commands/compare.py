"""`ruter-dagster compare`: the forecasts of this state beside those of another state or an earlier snapshot, as one note."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path

import polars as pl

from ruter_dagster.commands.reforecast import Reforecast, recorded_reforecast
from ruter_dagster.commands.states import NamedState, find_state
from ruter_dagster.compat.storage import DagsterSqliteStorage, EventLogStorage
from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.dates import date_spans
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import asset_of
from ruter_dagster.contracts.tables import DRIFT, LOAD_FORECASTS, STOP_LOADS
from ruter_dagster.dashboards.comparison_note import ComparedState, Comparison, RunCost, comparison_note
from ruter_dagster.forecasting.comparison import (
    FORECAST_COLUMNS,
    LOAD_COLUMNS,
    accuracy,
    change_sums,
    changes,
    compare_drift,
    error_sums,
    largest_changes,
    pair_forecasts,
)
from ruter_dagster.notifications.gitlab import MergeRequest, merge_requests, note_marker, post_note
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.orchestration.job_costs import costs_of_runs, runs_that_wrote
from ruter_dagster.resources.sagemaker.git_branch import find_branch
from ruter_dagster.storage.clones import cloned_from, pinned_snapshot
from ruter_dagster.storage.configured_tables import open_existing_tables
from ruter_dagster.storage.snapshots import TableSnapshot
from ruter_dagster.storage.tables import TableStore

Events = AbstractContextManager[EventLogStorage | None]

SNAPSHOT = "snapshot:"
LARGEST = 10
"""Number of departures among the largest changes."""


@dataclass(frozen=True)
class Request:
    """What to compare with (`other`, as typed), the number of issue dates, and further links by name.

    Without `other`, it is the state that this one was cloned from.
    """

    other: str | None
    issue_dates: int = 7
    links: Mapping[str, str] | None = None


@dataclass(frozen=True)
class State:
    """One side: its name in the note, its tables, and how to open its event log, which is None if it is not here.

    `reforecast` is set for a clone whose forecasts were made again.
    """

    label: str
    forecasts: TableSnapshot
    loads: TableSnapshot
    drift: TableSnapshot
    open_events: Callable[[], Events]
    reforecast: Reforecast | None = None

    @property
    def snapshots(self) -> dict[str, int | None]:
        tables = {LOAD_FORECASTS: self.forecasts, STOP_LOADS: self.loads, DRIFT: self.drift}
        return {table.name: snapshot.snapshot_id for table, snapshot in tables.items()}


@dataclass(frozen=True)
class Sums:
    """Sums of the departures of all issue dates, see `forecasting.comparison`."""

    changes: pl.DataFrame
    errors: pl.DataFrame
    largest: pl.DataFrame
    only_this: int
    only_other: int
    models: tuple[Sequence[str], Sequence[str]]


def compare(settings: Settings, request: Request) -> str:
    """The note. Raises `PermanentFailure` if the sides have no forecast in common."""
    name = request.other or _source_of(settings)
    this, other = _this_state(settings), _other_state(settings, name)
    issue_dates = _common_dates(this, other)[-request.issue_dates :]
    sums = _compare_dates(this, other, issue_dates)
    if sums.changes.is_empty():
        raise PermanentFailure(
            f"{this.label} and {other.label} forecast no departure in common on the issue dates {date_spans(issue_dates)}. Compare "
            "states of the same source"
        )
    comparison = _comparison(this, other, issue_dates, sums, operator_of(settings).time_zone)
    return comparison_note(comparison, _links(settings, request))


def open_merge_requests() -> list[MergeRequest]:
    """The merge requests to post to, from the variables of GitLab CI."""
    return merge_requests(os.environ)


def post(settings: Settings, requests: Sequence[MergeRequest], note: str) -> list[str]:
    """Posts the note to each merge request. Returns one sentence for each."""
    branch = os.environ.get("CI_COMMIT_REF_NAME") or find_branch(settings) or "unknown branch"
    if not requests:
        return [f"The branch {branch} has no open merge request, so the note was not posted"]
    outcomes = [(request, post_note(request, note_marker(branch), note)) for request in requests]
    return [f"The note of {branch} was {outcome} in merge request {request}" for request, outcome in outcomes]


def _comparison(
    this: State, other: State, issue_dates: Sequence[date], sums: Sums, time_zone: str
) -> Comparison:
    drift, drift_dates = _drift(this, other)
    described = [
        ComparedState(state.label, state.snapshots, models, _cost(state, issue_dates), drift_date)
        for state, models, drift_date in zip((this, other), sums.models, drift_dates, strict=True)
    ]
    local = pl.col("scheduled_departure_time").dt.convert_time_zone(time_zone)
    return Comparison(
        *described,
        issue_dates=issue_dates,
        only_this=sums.only_this,
        only_other=sums.only_other,
        changes=changes(sums.changes),
        largest=sums.largest.with_columns(time=local.dt.strftime("%H:%M")),
        accuracy=pl.concat([accuracy(sums.errors), accuracy(sums.errors, ["mode"])]),
        by_line=accuracy(sums.errors, ["mode", "line_id"]),
        drift=drift,
    )


def _this_state(settings: Settings) -> State:
    store = open_existing_tables(settings)
    state = _state(settings.environment, store, partial(_own_events, settings))
    pin = cloned_from(store, LOAD_FORECASTS)
    return replace(state, reforecast=recorded_reforecast(settings, pin.snapshot_id)) if pin else state


def _other_state(settings: Settings, name: str) -> State:
    """The state that `--with` names: a snapshot, the state that this one was cloned from, or any other."""
    if name.startswith(SNAPSHOT):
        return _earlier_state(settings, name)
    other = find_state(settings, name)
    open_events = partial(_events_in, other.folder) if other.folder else nullcontext
    return _pinned_state(settings, other, open_events) or _state(other.label, other.store, open_events)


def _source_of(settings: Settings) -> str:
    """The state that this one was cloned from, as `find_state` takes it."""
    pin = cloned_from(open_existing_tables(settings), LOAD_FORECASTS)
    if pin is None:
        raise PermanentFailure(
            "This state was not cloned from another one. Name the state to compare with: --with STATE"
        )
    return pin.source


def _pinned_state(settings: Settings, other: NamedState, open_events: Callable[[], Events]) -> State | None:
    """The state that this one was cloned from, at the pinned snapshots, which the clone has too. None if it was not cloned from `other`."""
    store = open_existing_tables(settings)
    pin = cloned_from(store, LOAD_FORECASTS)
    if pin is None or pin.source != other.source:
        return None
    forecasts, loads, drift = (pinned_snapshot(store, table) for table in (LOAD_FORECASTS, STOP_LOADS, DRIFT))
    return State(other.label, forecasts, loads, drift, open_events)


def _earlier_state(settings: Settings, name: str) -> State:
    number = name.removeprefix(SNAPSHOT)
    if not number.isdigit():
        raise PermanentFailure(
            f"{name}: the id of a snapshot is a number, as the UI shows it in the metadata `snapshot_id`"
        )
    return _state(name, open_existing_tables(settings), partial(_own_events, settings), int(number))


def _state(
    label: str,
    store: TableStore,
    open_events: Callable[[], Events],
    snapshot_id: int | None = None,
) -> State:
    forecasts = store.snapshot(LOAD_FORECASTS, snapshot_id)
    return State(label, forecasts, store.snapshot(STOP_LOADS), store.snapshot(DRIFT), open_events)


def _common_dates(this: State, other: State) -> list[date]:
    """The issue dates that both sides have, in order. Of a clone, only those that it forecast again."""
    ours, theirs = this.forecasts.dates(), other.forecasts.dates()
    for state, dates in ((this, ours), (other, theirs)):
        if not dates:
            raise PermanentFailure(
                f"{state.label} has no forecasts. Check the name, or materialise forecasts/load_forecasts there first"
            )
    common = set(ours) & set(theirs)
    if this.reforecast:
        common &= set(map(date.fromisoformat, this.reforecast.versions))
    if common:
        return sorted(common)
    raise PermanentFailure(
        f"No issue date is in both. {this.label} has {date_spans(ours)}; {other.label} has {date_spans(theirs)}. Materialise "
        "forecasts/load_forecasts for the same dates"
    )


def _compare_dates(this: State, other: State, issue_dates: Sequence[date]) -> Sums:
    """Compares one issue date at a time, because all forecasts of a large network do not fit into memory."""
    change_parts, error_parts, largest_parts = [], [], []
    only, models = [0, 0], (set[str](), set[str]())
    for day in issue_dates:
        frames = [state.forecasts.read([day], FORECAST_COLUMNS, ordered=False) for state in (this, other)]
        pairs = pair_forecasts(*frames)
        loads = _truth(this, other, pairs["operating_date"].unique().to_list())
        change_parts.append(change_sums(pairs))
        error_parts.append(error_sums(pairs, loads))
        largest_parts.append(largest_changes(pairs, LARGEST))
        for side, frame in enumerate(frames):
            only[side] += frame.height - pairs.height
            models[side].update(frame["model_version"].drop_nulls().unique())
    return Sums(
        pl.concat(change_parts),
        pl.concat(error_parts),
        largest_changes(pl.concat(largest_parts), LARGEST),
        only_this=only[0],
        only_other=only[1],
        models=(sorted(models[0]), sorted(models[1])),
    )


def _truth(this: State, other: State, dates: Sequence[date]) -> pl.DataFrame:
    """The loads of these service dates. A date that both sides have is read from the other side.

    A branch that balances counts in another way is thus measured against the loads of the state it is compared with.
    """
    theirs = list(other.loads.versions(dates))
    ours = [day for day in this.loads.versions(dates) if day not in theirs]
    parts = [
        state.loads.read(days, LOAD_COLUMNS, ordered=False) for state, days in ((other, theirs), (this, ours))
    ]
    return pl.concat(parts)


def _drift(this: State, other: State) -> tuple[pl.DataFrame, list[date | None]]:
    """Drift metrics of the newest operating date of each side, and these dates."""
    newest = [state.drift.dates()[-1:] for state in (this, other)]
    frames = [state.drift.read(days) for state, days in zip((this, other), newest, strict=True)]
    return compare_drift(*frames), [next(iter(days), None) for days in newest]


def _cost(state: State, issue_dates: Sequence[date]) -> RunCost | None:
    """The cost of the runs that wrote these forecasts. None if it is recorded nowhere that this machine can read."""
    versions = state.forecasts.versions(issue_dates)
    if again := state.reforecast:
        is_same = all(again.versions.get(str(day)) == version for day, version in versions.items())
        return (
            RunCost(again.cost, len(again.runs), again.jobs) if is_same and again.cost is not None else None
        )
    with state.open_events() as events:
        if events is None:
            return None
        runs = set(runs_that_wrote(events, asset_of(LOAD_FORECASTS.name), versions).values())
        costs = costs_of_runs(events, sorted(runs))
    return RunCost(sum(job.cost for job in costs), len(runs), len(costs)) if costs else None


@contextmanager
def _own_events(settings: Settings) -> Iterator[EventLogStorage | None]:
    if os.environ.get("DAGSTER_HOME"):
        with open_instance() as instance:
            yield instance.event_log_storage
        return
    with _events_in(settings.source_dir) as events:
        yield events


@contextmanager
def _events_in(folder: Path) -> Iterator[EventLogStorage | None]:
    """The event log of a state folder, which may be another's. `dagster.yaml` opens only that of the settings."""
    history = folder / "instance"
    yield DagsterSqliteStorage.from_local(str(history)).event_log_storage if history.is_dir() else None


def _links(settings: Settings, request: Request) -> dict[str, str]:
    """Dagster of this state, the job of GitLab CI, and those of the command."""
    job = os.environ.get("CI_JOB_URL")
    return {"Dagster": settings.dagster_url, **({"Job": job} if job else {}), **(request.links or {})}
