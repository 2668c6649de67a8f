"""The commands `ruter-dagster sandbox-…`, which GitLab CI runs on a branch's sandbox."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from ruter_dagster.commands.options import DATE, loaded_settings

BUCKET = click.option("--bucket", required=True, help="Bucket of Terraform's states.")
REPOSITORY = click.option(
    "--repository", default="origin", show_default=True, help="Remote or address of the repository."
)


@click.command("sandbox-sweep", short_help="Delete what runs have made in a sandbox.")
@click.argument("sandbox_id", metavar="ID")
@click.option(
    "--state",
    "state_address",
    metavar="s3://BUCKET/sandbox/ID/",
    help="After Terraform's destroy: delete the last leftovers, and the state if it holds no resources.",
)
@click.option("--skip", "skipped", metavar="KIND", multiple=True, help="A kind to leave out; repeatable.")
def sandbox_sweep(sandbox_id: str, state_address: str | None, skipped: tuple[str, ...]) -> None:
    """Stop what runs in a sandbox, and delete what Terraform does not know. Takes a minute, and five more if topics were published.

    \b
    Before Terraform's destroy: services, tasks, pipelines, jobs, topics, model-packages, tables, quicksight, snapshots.
    After it, with --state:     stacks, secrets, task-definitions, logs, state.

    A kind that fails does not keep the others from being deleted. The exit code is then 1, and the output lists what is left. Run
    it again: what is deleted already is skipped. CloudWatch offers no deletion of metrics; they expire after 15 months.
    """
    from ruter_dagster.commands import sandbox_sweep as command
    from ruter_dagster.contracts.sandbox import Sandbox

    if unknown := set(skipped) - set(command.KINDS):
        raise click.BadParameter(
            f"{', '.join(sorted(unknown))}: allowed: {', '.join(command.KINDS)}", param_hint="--skip"
        )
    if command.sweep(Sandbox.of(sandbox_id), click.echo, state_address, skipped):
        sys.exit(1)


@click.command(
    "sandbox-run",
    short_help="Run a command in a sandbox's ECS.",
    context_settings={"ignore_unknown_options": True},
)
@click.option(
    "--max-minutes",
    type=click.IntRange(1, 480),
    default=60,
    show_default=True,
    help="The task is stopped then.",
)
@click.argument("sandbox_id", metavar="ID")
@click.argument("arguments", metavar="COMMAND", nargs=-1, required=True, type=click.UNPROCESSED)
def sandbox_run(sandbox_id: str, arguments: tuple[str, ...], max_minutes: int) -> None:
    """Run a command in a task of a sandbox's ECS, wait for it and print its log. The exit code is the command's.

    The task has the image, role, variables and network of Dagster's daemon.

    \b
      ruter-dagster sandbox-run s-mybranch-1a2b3c -- dagster instance info
    """
    from ruter_dagster.commands.sandbox_run import run_in_sandbox
    from ruter_dagster.contracts.sandbox import Sandbox

    sys.exit(run_in_sandbox(Sandbox.of(sandbox_id), arguments, click.echo, max_minutes))


@click.command("sandbox-smoke", short_help="Run counts in a sandbox, and check its rows.")
@click.argument("sandbox_id", metavar="ID")
@click.option(
    "--date",
    "day",
    type=DATE,
    metavar="YYYY-MM-DD",
    help="Operating date; by default the newest that has closed.",
)
@click.option("--inside", is_flag=True, help="This process is already in the sandbox: do not start a task.")
def sandbox_smoke(sandbox_id: str, day: datetime | None, inside: bool) -> None:
    """Queue a run of `counts` in a sandbox, wait for it and check that its tables have rows. Takes about 20 minutes.

    A task in the sandbox queues the run. It then takes the way of every run: code location, queue, daemon, ECS, SageMaker. If
    it fails, the log shows the reason.
    """
    from ruter_dagster.commands import sandbox_smoke as command
    from ruter_dagster.contracts.sandbox import Sandbox

    sandbox, date = Sandbox.of(sandbox_id), day.date() if day else None
    if inside:
        command.smoke_inside(loaded_settings(), sandbox, date, click.echo)
    else:
        sys.exit(command.smoke(sandbox, date, click.echo))


@click.command("sandbox-orphans", short_help="List sandboxes that should not exist any more.")
@BUCKET
@REPOSITORY
def sandbox_orphans(bucket: str, repository: str) -> None:
    """Print the ids of the sandboxes to destroy, one on a line. Runs in GitLab CI. Takes seconds.

    They have a state, but no branch; or GitLab has stopped their environment, and their state is older than two hours. Locks that
    are older than two hours were left by killed jobs: all of them are released. Locked sandboxes are not printed.
    """
    from ruter_dagster.commands.sandbox_orphans import orphans

    for sandbox in orphans(bucket, repository, lambda line: click.echo(line, err=True)):
        click.echo(sandbox.id)


@click.command("sandbox-environments", short_help="Delete GitLab's environments of deleted branches.")
@BUCKET
@REPOSITORY
def sandbox_environments(bucket: str, repository: str) -> None:
    """Stop GitLab's environments sandbox/* whose branch is gone, and delete those that are stopped. Runs in GitLab CI. Takes seconds.

    A branch keeps its environment while its sandbox has a state.
    """
    from ruter_dagster.commands.sandbox_orphans import clean_environments

    left = clean_environments(bucket, repository, click.echo)
    for line in left:
        click.echo(line, err=True)
    if left:
        sys.exit(1)


COMMANDS = (sandbox_sweep, sandbox_run, sandbox_smoke, sandbox_orphans, sandbox_environments)
