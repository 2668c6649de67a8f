"""Repeats a run with the inputs that it used, and compares the content of both runs. orchestration/runs.py executes runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, DagsterRun, Definitions

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import LOAD_MODEL, asset_of
from ruter_dagster.orchestration.event_log import Made, made_by
from ruter_dagster.orchestration.runs import DEFINITIONS, RunOutcome, find_run, reexecute


@dataclass(frozen=True)
class Compared:
    """One asset in two runs: the number of partitions, and those whose content differs or that one run lacks."""

    asset: str
    partitions: int
    different: tuple[str, ...]


@dataclass(frozen=True)
class Replay:
    outcome: RunOutcome
    assets: tuple[Compared, ...]

    @property
    def identical(self) -> bool:
        return self.outcome.succeeded and not any(compared.different for compared in self.assets)


def replay(
    run_id: str,
    instance: DagsterInstance,
    log: Path,
    on_step: Callable[[str], None],
    *,
    definitions: str = DEFINITIONS,
) -> Replay:
    """Executes a run again as its child, pinned to the snapshots and the model version that it used.

    Raises PermanentFailure if there is no such run, or if it has no materialisations.
    """
    run = find_run(instance, run_id)
    former = made_by(instance, run.run_id)
    if not former:
        raise PermanentFailure(f"Run {run.run_id} has no materialisations to replay")
    config = pinned_config(run, former, import_module(definitions).defs)
    outcome = reexecute(
        run, instance, log, on_step, config=config, steps=run.step_keys_to_execute, definitions=definitions
    )
    return Replay(outcome, tuple(compare(former, made_by(instance, outcome.run_id))))


def pinned_config(run: DagsterRun, former: Sequence[Made], definitions: Definitions) -> dict[str, Any]:
    """The run's configuration, with the snapshots and the model version that each step used.

    Tables that the run itself wrote are not pinned: the repeated steps read the tables of the repeated run.
    """
    config: dict[str, Any] = copy.deepcopy(dict(run.run_config))
    written = {made.asset: set(made.content) for made in former}
    for made in former:
        allowed = _options(definitions, run.job_name, made.step)
        pins = {
            table: int(used["snapshot_id"])
            for table, used in made.inputs.items()
            if not _is_written_by_run(used, written.get(asset_of(table)))
        }
        options: dict[str, Any] = {"pins": pins} if pins and "pins" in allowed else {}
        if made.model_version and "model_version" in allowed and LOAD_MODEL not in written:
            options["model_version"] = made.model_version
        if options:
            step = config.setdefault("ops", {}).setdefault(made.step, {}).setdefault("config", {})
            step |= options
    return config


def compare(former: Sequence[Made], now: Sequence[Made]) -> list[Compared]:
    """Each asset of the former run, compared with the same asset of the later run."""
    later = {made.asset: made.content for made in now}
    compared = []
    for made in former:
        new = later.get(made.asset, {})
        keys = sorted({*made.content, *new}, key=str)
        different = tuple(str(key or made.asset) for key in keys if made.content.get(key) != new.get(key))
        compared.append(Compared(made.asset, len(keys), different))
    return compared


def _is_written_by_run(used: Mapping[str, Any], written: set[str | None] | None) -> bool:
    """Whether the run itself wrote every date that a step read. Dates of other runs must be pinned."""
    return written is not None and set(used.get("dates", ())) <= written


def _options(definitions: Definitions, job: str, step: str) -> set[str]:
    """The option names of a step's configuration."""
    schema = definitions.resolve_job_def(job).node_def_named(step).config_schema  # pyright: ignore[reportAttributeAccessIssue]
    fields = getattr(getattr(schema, "config_type", None), "fields", None)
    return set(fields or ())
