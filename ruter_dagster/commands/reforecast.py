"""`ruter-dagster reforecast`: forecasts the newest issue dates of a clone again, with this code."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date

from dagster import DagsterInstance

from ruter_dagster.config.settings import Settings
from ruter_dagster.config.state_folder import require_writable_state
from ruter_dagster.contracts.dates import date_spans
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS, TRAINING_SAMPLE
from ruter_dagster.contracts.jobs import LOAD_MODEL
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.orchestration.event_log import newest_materialisation
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.orchestration.job_costs import costs_of_runs
from ruter_dagster.orchestration.reforecast import StoredDates, forecast_runs, training_runs
from ruter_dagster.orchestration.runs import RunRequest, execute, new_log
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.clones import cloned_from, original_models
from ruter_dagster.storage.configured_tables import open_existing_tables
from ruter_dagster.storage.tables import TableStore

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
    """Forecasts the newest `number` issue dates of the clone again, with the models of the original forecasts.

    `train`: first compute features again, and train a model of this code on dates before the first issue date. Raises
    `PermanentFailure` if this state is no clone, or if a run fails.
    """
    require_writable_state(settings)
    store = open_existing_tables(settings)
    pin = cloned_from(store, LOAD_FORECASTS)
    if pin is None:
        raise PermanentFailure(
            "This state was not cloned from another one. Run `ruter-dagster clone --from STATE` first"
        )
    models = original_models(store)
    issue_dates = sorted(models)[-number:]
    with open_instance() as instance:
        runs = []
        if train:
            runs += _execute(_training_runs(issue_dates, store, settings), instance, settings, print_line)
            models |= dict.fromkeys(issue_dates, _trained_version(instance))
        requests = forecast_runs({day: models[day] for day in issue_dates})
        runs += _execute(requests, instance, settings, print_line)
        costs = costs_of_runs(instance.event_log_storage, runs)
    versions = {str(day): version for day, version in store.versions(LOAD_FORECASTS, issue_dates).items()}
    total = round(sum(job.cost for job in costs), 4) if costs else None
    result = Reforecast(pin.snapshot_id, runs, versions, len(costs), total)
    _artifacts(settings).put(REFORECAST_FILE, json.dumps(asdict(result), sort_keys=True).encode())
    return result


def recorded_reforecast(settings: Settings, original: int) -> Reforecast | None:
    """The newest reforecast of the forecasts at this snapshot; None if there was none since they were cloned."""
    content = _artifacts(settings).find(REFORECAST_FILE)
    result = Reforecast(**json.loads(content)) if content else None
    return result if result and result.original == original else None


def _training_runs(issue_dates: Sequence[date], store: TableStore, settings: Settings) -> list[RunRequest]:
    dates = (store.dates(table) for table in (DEPARTURE_FEATURES, LEVELS, TRAINING_SAMPLE))
    return training_runs(issue_dates, StoredDates(*dates), settings.training_days)


def _execute(
    requests: Sequence[RunRequest], instance: DagsterInstance, settings: Settings, print_line: Print
) -> list[str]:
    """Executes the runs one after the other and returns their ids. Raises `PermanentFailure` at the first that fails."""
    ids = []
    for request in requests:
        days = f", {date_spans(request.dates)}" if request.dates else ""
        print_line(f"{', '.join(request.assets)}{days}")
        log = new_log(settings.source_dir / "logs", "reforecast")
        outcome = execute(request, instance, log, lambda _: None)
        if not outcome.succeeded:
            raise PermanentFailure(f"Run {outcome.run_id} failed: {outcome.failure}\nLog: {outcome.log}")
        ids.append(outcome.run_id)
    return ids


def _trained_version(instance: DagsterInstance) -> str:
    event = newest_materialisation(instance, LOAD_MODEL, None)
    assert event is not None, f"{LOAD_MODEL} was just materialised"
    return str(event.metadata["model_version"].value)


def _artifacts(settings: Settings) -> ArtifactStore:
    return ArtifactStore.at(settings.artifacts_location, settings.aws_region)
