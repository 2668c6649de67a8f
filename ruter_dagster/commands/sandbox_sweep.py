"""`ruter-dagster sandbox-sweep`: deletes what runs, AWS and people have made in a sandbox and Terraform does not know."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

import click

from ruter_dagster.aws.errors import first_line
from ruter_dagster.aws.sandbox import leftovers, quicksight, running, state
from ruter_dagster.commands.sandbox_topics import delete_sandbox_topics
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox

Deletion = Callable[[Sandbox], list[str]]

BEFORE: dict[str, Deletion] = {
    # What starts others first: the daemon starts runs, and runs start jobs.
    "services": running.stop_services,
    "tasks": running.stop_tasks,
    "pipelines": running.stop_pipelines,
    "jobs": running.stop_jobs,
    "topics": lambda sandbox: delete_sandbox_topics(sandbox, click.echo),
    "model-packages": leftovers.delete_model_packages,
    "tables": leftovers.delete_tables,
    "quicksight": quicksight.empty_quicksight_folder,
    "snapshots": leftovers.delete_snapshots,
}
"""Before Terraform destroys the sandbox. Topics need its network, and other kinds would make Terraform fail."""

AFTER: dict[str, Deletion] = {
    "stacks": leftovers.delete_stacks,
    "secrets": leftovers.delete_secrets,
    "task-definitions": leftovers.delete_task_definitions,
    "logs": leftovers.delete_logs,
}
"""Once the state has no resources: what is written up to the end, and what an interrupted deploy left behind."""

KINDS = (*BEFORE, *AFTER, "state")


def sweep(
    sandbox: Sandbox,
    report: Callable[[str], None],
    state_address: str | None = None,
    skipped: Collection[str] = (),
) -> list[str]:
    """Deletes each kind, also if another one failed. Repeating it does no harm.

    Args:
        sandbox: The sandbox.
        report: Called with each line of progress.
        state_address: `s3://BUCKET/sandbox/<id>/` once Terraform has destroyed the sandbox; None before.
        skipped: Kinds to leave out.

    Returns:
        What is left, one line for each kind that failed.
    """
    left: list[str] = []
    for kind, delete in _deletions(sandbox, state_address).items():
        if kind in skipped:
            report(f"{kind}: left out")
            continue
        failure = _delete(kind, partial(delete, sandbox), report)
        if failure:
            left.append(failure)
            report(failure)
    return left


def _deletions(sandbox: Sandbox, state_address: str | None) -> dict[str, Deletion]:
    if state_address is None:
        return BEFORE
    state.state_prefix(state_address, sandbox)  # Refused before anything is deleted.
    return {**AFTER, "state": lambda swept: state.delete_state(swept, state_address)}


def _delete(kind: str, delete: Callable[[], list[str]], report: Callable[[str], None]) -> str | None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        for line in delete():
            report(f"Deleted: {line}")
    except (PermanentFailure, BotoCoreError, ClientError) as error:
        return f"Left: {kind}: {first_line(error)}"
    return None
