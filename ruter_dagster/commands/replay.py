"""Repeats a former run with the very inputs that it used, and tells whether it made the same content. How runs are executed: orchestration/runs.py."""

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
    """What two runs made of one asset: partitions in both, and those whose content differs or that one run lacks."""

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
    """Executes a run again, pinned to the snapshots and the model version that it used, as its child.

    Raises PermanentFailure where there is no such run, or where it made nothing.
    """
    run = find_run(instance, run_id)
    former = made_by(instance, run.run_id)
    if not former:
        raise PermanentFailure(f"Run {run.run_id} made nothing that could be made again")
    config = pinned_config(run, former, import_module(definitions).defs)
    outcome = reexecute(
        run, instance, log, on_step, config=config, steps=run.step_keys_to_execute, definitions=definitions
    )
    return Replay(outcome, tuple(compare(former, made_by(instance, outcome.run_id))))


def pinned_config(run: DagsterRun, former: Sequence[Made], definitions: Definitions) -> dict[str, Any]:
    """The run's own configuration, and by step the snapshots and the model version that it used.

    What the run itself made before is not pinned: the repeated steps read what the repeated run makes.
    """
    config: dict[str, Any] = copy.deepcopy(dict(run.run_config))
    written = {made.asset: set(made.content) for made in former}
    for made in former:
        allowed = _options(definitions, run.job_name, made.step)
        pins = {
            table: int(used["snapshot_id"])
            for table, used in made.inputs.items()
            if not _made_here(used, written.get(asset_of(table)))
        }
        options: dict[str, Any] = {"pins": pins} if pins and "pins" in allowed else {}
        if made.model_version and "model_version" in allowed and LOAD_MODEL not in written:
            options["model_version"] = made.model_version
        if options:
            step = config.setdefault("ops", {}).setdefault(made.step, {}).setdefault("config", {})
            step |= options
    return config


def compare(former: Sequence[Made], now: Sequence[Made]) -> list[Compared]:
    """Each asset that the former run made, beside what the later one made of it."""
    later = {made.asset: made.content for made in now}
    compared = []
    for made in former:
        new = later.get(made.asset, {})
        keys = sorted({*made.content, *new}, key=str)
        different = tuple(str(key or made.asset) for key in keys if made.content.get(key) != new.get(key))
        compared.append(Compared(made.asset, len(keys), different))
    return compared


def _made_here(used: Mapping[str, Any], written: set[str | None] | None) -> bool:
    """Whether the run itself wrote every date that was read of a table; history from other runs must be pinned."""
    return written is not None and set(used.get("dates", ())) <= written


def _options(definitions: Definitions, job: str, step: str) -> set[str]:
    """The names that a step's configuration takes."""
    schema = definitions.resolve_job_def(job).node_def_named(step).config_schema  # pyright: ignore[reportAttributeAccessIssue]
    fields = getattr(getattr(schema, "config_type", None), "fields", None)
    return set(fields or ())
