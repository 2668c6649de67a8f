"""Replays a run with the inputs that it read, and compares the content of both runs. `orchestration/runs.py` executes runs."""

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
from ruter_dagster.orchestration.event_log import StepOutput, step_outputs
from ruter_dagster.orchestration.runs import DEFINITIONS, RunOutcome, find_run, reexecute


@dataclass(frozen=True)
class AssetComparison:
    """An asset in two runs: the number of partitions, and the partitions that differ or that one run lacks."""

    asset: str
    partitions: int
    different: tuple[str, ...]


@dataclass(frozen=True)
class Replay:
    """The outcome of a repeated run, and each asset compared with the original run."""

    outcome: RunOutcome
    assets: tuple[AssetComparison, ...]

    @property
    def identical(self) -> bool:
        return self.outcome.succeeded and not any(comparison.different for comparison in self.assets)


def replay(run_id: str, instance: DagsterInstance, log: Path, report_step: Callable[[str], None]) -> Replay:
    """Executes a run again as its child, pinned to the snapshots and the model version that it read.

    Raises PermanentFailure if there is no such run, or if it has no materialisations.
    """
    run = find_run(instance, run_id)
    original = step_outputs(instance, run.run_id)
    if not original:
        raise PermanentFailure(f"Run {run.run_id} has no materialisations to replay")
    config = pinned_config(run, original, import_module(DEFINITIONS).defs)
    outcome = reexecute(run, instance, log, report_step, config=config, steps=run.step_keys_to_execute)
    return Replay(outcome, tuple(compare_outputs(original, step_outputs(instance, outcome.run_id))))


def pinned_config(run: DagsterRun, outputs: Sequence[StepOutput], definitions: Definitions) -> dict[str, Any]:
    """The run's configuration, with the snapshots and the model version that each step read.

    Tables that the run itself wrote are not pinned: the repeated steps read the tables of the repeated run.
    """
    config: dict[str, Any] = copy.deepcopy(dict(run.run_config))
    written = {output.asset: set(output.content) for output in outputs}
    for output in outputs:
        allowed = _option_names(definitions, run.job_name, output.step)
        pins = {
            table: int(read["snapshot_id"])
            for table, read in output.inputs.items()
            if not _is_written_by_run(read, written.get(asset_of(table)))
        }
        options: dict[str, Any] = {"pins": pins} if pins and "pins" in allowed else {}
        if output.model_version and "model_version" in allowed and LOAD_MODEL not in written:
            options["model_version"] = output.model_version
        if options:
            step = config.setdefault("ops", {}).setdefault(output.step, {}).setdefault("config", {})
            step |= options
    return config


def compare_outputs(original: Sequence[StepOutput], repeated: Sequence[StepOutput]) -> list[AssetComparison]:
    """Each asset of the original run, compared with the same asset of the repeated run."""
    repeated_content = {output.asset: output.content for output in repeated}
    comparisons = []
    for output in original:
        old, new = output.content, repeated_content.get(output.asset, {})
        partitions = sorted({*old, *new}, key=str)
        different = tuple(str(key or output.asset) for key in partitions if old.get(key) != new.get(key))
        comparisons.append(AssetComparison(output.asset, len(partitions), different))
    return comparisons


def _is_written_by_run(read: Mapping[str, Any], written: set[str | None] | None) -> bool:
    """Whether the run itself wrote every date that a step read. Tables with dates of other runs must be pinned."""
    return written is not None and set(read.get("dates", ())) <= written


def _option_names(definitions: Definitions, job: str, step: str) -> set[str]:
    """The names of the options in a step's configuration."""
    schema = definitions.resolve_job_def(job).node_def_named(step).config_schema  # pyright: ignore[reportAttributeAccessIssue]
    fields = getattr(getattr(schema, "config_type", None), "fields", None)
    return set(fields or ())
