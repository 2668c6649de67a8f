"""`ruter-dagster retry` and `ruter-dagster replay`: execute a run again and print its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from dagster import DagsterInstance, DagsterRun

from ruter_dagster.config.settings import Settings
from ruter_dagster.config.state_folder import require_writable_state
from ruter_dagster.contracts.jobs import PUBLISHED_FORECASTS
from ruter_dagster.orchestration.event_log import describe_dates
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.orchestration.replay import AssetComparison, replay
from ruter_dagster.orchestration.runs import RunOutcome, find_run, new_log, retry

Print = Callable[[str], None]


def retry_run(settings: Settings, run_id: str, whole: bool, print_line: Print) -> int:
    """Continues a failed run; returns the exit code."""
    with _open_run(settings, run_id) as (instance, run, log):
        print_line(_describe(run))
        outcome = retry(run.run_id, instance, log, lambda asset: print_line(f"  {asset}"), whole=whole)
    _print_outcome(outcome, print_line)
    return 0 if outcome.succeeded else 1


def replay_run(settings: Settings, run_id: str, print_line: Print) -> int:
    """Repeats a run with its inputs and compares the content; returns the exit code."""
    with _open_run(settings, run_id) as (instance, run, log):
        print_line(_describe(run))
        result = replay(run.run_id, instance, log, lambda asset: print_line(f"  {asset}"))
    _print_outcome(result.outcome, print_line)
    for compared in result.assets:
        print_line(_describe_content(compared))
    return 0 if result.identical else 1


@contextmanager
def _open_run(settings: Settings, run_id: str) -> Iterator[tuple[DagsterInstance, DagsterRun, Path]]:
    """The instance, the run and a log file. Starts a broker if the run publishes and the settings name no cluster."""
    require_writable_state(settings)
    with open_instance() as instance:
        run = find_run(instance, run_id)
        with broker_of(settings) if _publishes(instance, run) else nullcontext():
            yield instance, run, new_log(settings.source_dir / "logs", f"rerun-{run.run_id[:8]}")


@contextmanager
def broker_of(settings: Settings) -> Iterator[None]:
    """Runs the local broker during the block if the settings name no cluster."""
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
    dates = describe_dates(run)
    return f"Run {run.run_id} of {run.job_name}" + (f", {dates}" if dates else "")


def _print_outcome(outcome: RunOutcome, print_line: Print) -> None:
    if outcome.succeeded:
        print_line(f"Run {outcome.run_id} succeeded")
    else:
        print_line(f"Run {outcome.run_id} failed: {outcome.failure}\nLog: {outcome.log}")


def _describe_content(comparison: AssetComparison) -> str:
    asset, different, partitions = comparison.asset, comparison.different, comparison.partitions
    if not different:
        return f"  {asset}: {f'{partitions} dates' if partitions > 1 else 'content'} identical"
    return f"  {asset}: {len(different)} of {partitions} differ: {', '.join(different[:7])}"
