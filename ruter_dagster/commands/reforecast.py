"""`ruter-dagster reforecast`: forecasts the newest issue dates of a clone again, with this code.

Imports no pyiceberg, because it also runs in Dagster's own container.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from tempfile import gettempdir

from dagster import DagsterInstance

from ruter_dagster.config.settings import Settings
from ruter_dagster.config.state_folder import require_writable_state
from ruter_dagster.contracts.dates import date_spans
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import LOAD_MODEL, asset_of
from ruter_dagster.contracts.tables import LOAD_FORECASTS, STOP_LOADS
from ruter_dagster.orchestration.event_log import content_hashes, newest_materialisation
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.orchestration.job_costs import costs_of_runs
from ruter_dagster.orchestration.reforecast import forecast_runs, monitoring_runs, training_runs
from ruter_dagster.orchestration.runs import RunRequest, execute, new_log
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.clone_record import CloneRecord

Print = Callable[[str], None]
REFORECAST_FILE = "reforecasts/newest.json"
"""Key of the artifact about the newest reforecast, for a command on a machine that cannot read Dagster's event log."""


@dataclass(frozen=True)
class Reforecast:
    """A reforecast: the snapshot of the original forecasts, the runs, and the content version of each issue date (ISO).

    `cost` is the estimated cost of the jobs in US dollars. It is None if no job has a cost, as on a laptop.
    """

    original: int
    runs: list[str]
    versions: dict[str, str]
    jobs: int
    cost: float | None


def reforecast(settings: Settings, number: int, train: bool, print_line: Print) -> Reforecast:
    """Forecasts the newest `number` issue dates of the clone again, with the models of the original forecasts. Measures their drift.

    `train`: first compute features again, and train a model of this code on dates before the first issue date. Raises
    `PermanentFailure` if this state is no clone, or if a run fails.
    """
    if settings.lake is None:
        require_writable_state(settings)
    clone = CloneRecord.find(_artifacts(settings))
    if clone is None:
        raise PermanentFailure(
            "This state was not cloned from another one. Run `ruter-dagster clone --from STATE` first"
        )
    issue_dates = sorted(clone.models)[-number:]
    with open_instance() as instance:
        runs, models = [], dict(clone.models)
        if train:
            requests = training_runs(issue_dates, clone.dates, settings.training_days)
            runs += _execute(requests, instance, settings, print_line)
            models |= dict.fromkeys(issue_dates, _trained_version(instance))
        requests = forecast_runs({day: models[day] for day in issue_dates})
        requests += monitoring_runs(issue_dates, clone.dates.get(STOP_LOADS.name, ()))
        runs += _execute(requests, instance, settings, print_line)
        result = _result(clone, runs, issue_dates, instance)
    _artifacts(settings).put(REFORECAST_FILE, json.dumps(asdict(result), sort_keys=True).encode())
    return result


def recorded_reforecast(settings: Settings, original: int) -> Reforecast | None:
    """The newest reforecast of the forecasts at this snapshot; None if there was none since they were cloned."""
    content = _artifacts(settings).find(REFORECAST_FILE)
    result = Reforecast(**json.loads(content)) if content else None
    return result if result and result.original == original else None


def _result(
    clone: CloneRecord, runs: list[str], issue_dates: Sequence[date], instance: DagsterInstance
) -> Reforecast:
    versions = content_hashes(instance, asset_of(LOAD_FORECASTS.name))
    costs = costs_of_runs(instance.event_log_storage, runs)
    return Reforecast(
        clone.forecasts,
        runs,
        {str(day): versions[str(day)] for day in issue_dates if str(day) in versions},
        len(costs),
        round(sum(job.cost for job in costs), 4) if costs else None,
    )


def _execute(
    requests: Sequence[RunRequest], instance: DagsterInstance, settings: Settings, print_line: Print
) -> list[str]:
    """Executes the runs one after the other and returns their ids. Raises `PermanentFailure` at the first that fails."""
    ids = []
    for request in requests:
        days = f", {date_spans(request.dates)}" if request.dates else ""
        print_line(f"{', '.join(request.assets)}{days}")
        log = new_log(_log_folder(settings), "reforecast")
        outcome = execute(request, instance, log, lambda _: None)
        if not outcome.succeeded:
            raise PermanentFailure(f"Run {outcome.run_id} failed: {outcome.failure}\nLog: {outcome.log}")
        ids.append(outcome.run_id)
    return ids


def _log_folder(settings: Settings) -> Path:
    """The folder of the runs' logs. With a lake it is temporary: the state folder of a container is read-only."""
    return (
        settings.source_dir / "logs" if settings.lake is None else Path(gettempdir()) / "ruter-dagster-logs"
    )


def _trained_version(instance: DagsterInstance) -> str:
    event = newest_materialisation(instance, LOAD_MODEL, None)
    assert event is not None, f"{LOAD_MODEL} was just materialised"
    return str(event.metadata["model_version"].value)


def _artifacts(settings: Settings) -> ArtifactStore:
    return ArtifactStore.at(settings.artifacts_location, settings.aws_region)
