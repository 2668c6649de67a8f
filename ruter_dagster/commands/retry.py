"""`ruter-dagster retry` and `ruter-dagster replay`: what a person sees of a run that is executed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from dagster import DagsterInstance, DagsterRun

from ruter_dagster.commands.replay import Compared, replay
from ruter_dagster.config.settings import Settings
from ruter_dagster.config.state_folder import require_writable_state
from ruter_dagster.contracts.jobs import PUBLISHED_FORECASTS
from ruter_dagster.orchestration.event_log import dates_of_run
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.orchestration.runs import RunOutcome, find_run, new_log, retry

Print = Callable[[str], None]


def retry_run(settings: Settings, run_id: str, whole: bool, tell: Print) -> int:
    """Goes on with a failed run; returns the exit code."""
    with _opened(settings, run_id) as (instance, run, log):
        tell(_describe(run))
        outcome = retry(run.run_id, instance, log, lambda asset: tell(f"  {asset}"), whole=whole)
    _tell_end(outcome, tell)
    return 0 if outcome.succeeded else 1


def replay_run(settings: Settings, run_id: str, tell: Print) -> int:
    """Repeats a run with its own inputs and compares; returns the exit code."""
    with _opened(settings, run_id) as (instance, run, log):
        tell(_describe(run))
        result = replay(run.run_id, instance, log, lambda asset: tell(f"  {asset}"))
    _tell_end(result.outcome, tell)
    for compared in result.assets:
        tell(_describe_content(compared))
    return 0 if result.identical else 1


@contextmanager
def _opened(settings: Settings, run_id: str) -> Iterator[tuple[DagsterInstance, DagsterRun, Path]]:
    """The instance, the run and a log; a broker too where the run publishes and no cluster is named."""
    require_writable_state(settings)
    with open_instance() as instance:
        run = find_run(instance, run_id)
        with _broker(settings) if _publishes(instance, run) else nullcontext():
            yield instance, run, new_log(settings.source_dir / "logs", f"again-{run.run_id[:8]}")


@contextmanager
def _broker(settings: Settings) -> Iterator[None]:
    if settings.kafka_bootstrap_servers:
        yield
        return
    from ruter_dagster.publishing.broker import local_broker

    with local_broker(settings.source_dir / "broker"):
        yield


def _publishes(instance: DagsterInstance, run: DagsterRun) -> bool:
    if run.execution_plan_snapshot_id is None:
        return False
    plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
    return PUBLISHED_FORECASTS.replace("/", "__") in plan.step_keys_to_execute


def _describe(run: DagsterRun) -> str:
    dates = dates_of_run(run)
    return f"Run {run.run_id} of {run.job_name}" + (f", {dates}" if dates else "")


def _tell_end(outcome: RunOutcome, tell: Print) -> None:
    if outcome.succeeded:
        tell(f"Run {outcome.run_id} succeeded")
    else:
        tell(f"Run {outcome.run_id} failed: {outcome.failure}\nIts log: {outcome.log}")


def _describe_content(compared: Compared) -> str:
    if not compared.different:
        of = f"{compared.partitions} dates" if compared.partitions > 1 else "content"
        return f"  {compared.asset}: {of} identical"
    return f"  {compared.asset}: {len(compared.different)} of {compared.partitions} differ: {', '.join(compared.different[:7])}"
