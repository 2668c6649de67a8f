"""`ruter-dagster sandbox-orphans` and `sandbox-environments`: sandboxes and GitLab environments whose branch is gone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from ruter_dagster.aws.sandbox.state import existing_states, release_abandoned_lock
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox, ref_slug, sandbox_id
from ruter_dagster.notifications.gitlab_environments import delete_environments, project_of

TIMEOUT_SECONDS = 120
_HEADS = "refs/heads/"


def orphans(bucket: str, repository: str, report: Callable[[str], None]) -> list[Sandbox]:
    """The sandboxes that have a state and no branch. Locks that killed jobs have left on their states are released.

    States are listed before branches: a sandbox that is created in between is not listed at all. Raises `PermanentFailure` if
    the list of branches cannot be right.
    """
    existing = existing_states(bucket)
    live = {sandbox_id(branch) for branch in live_branches(repository)}
    found = [sandbox for sandbox in existing if sandbox.id not in live]
    for sandbox in found:
        if holder := release_abandoned_lock(bucket, sandbox):
            report(f"{sandbox.id}: released the lock of {holder}")
    return found


def clean_environments(repository: str, report: Callable[[str], None]) -> list[str]:
    """Deletes GitLab's environments of deleted branches, and stopped ones. Returns a line for each that is left."""
    slugs = {ref_slug(branch) for branch in live_branches(repository)}
    return delete_environments(project_of(os.environ), slugs, report)


def live_branches(repository: str) -> list[str]:
    """The branches of a repository: its address, or the name of a remote.

    Raises `PermanentFailure` if git fails, or does not list the default branch: every sandbox would seem to be without a branch.
    """
    try:
        done = subprocess.run(
            ["git", "ls-remote", "--heads", repository],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            env=os.environ | {"GIT_TERMINAL_PROMPT": "0"},
        )
    except subprocess.TimeoutExpired:
        raise PermanentFailure(f"git ls-remote {repository} gave no answer. Nothing was destroyed.") from None
    if done.returncode != 0:
        reason = done.stderr.strip().partition("\n")[0] or f"exit code {done.returncode}"
        raise PermanentFailure(f"git ls-remote failed: {reason}. Nothing was destroyed.")
    lines = (line.partition("\t")[2] for line in done.stdout.splitlines())
    branches = [line.removeprefix(_HEADS) for line in lines if line.startswith(_HEADS)]
    default = os.environ.get("CI_DEFAULT_BRANCH") or "main"
    if default not in branches:
        raise PermanentFailure(
            f"git ls-remote {repository} lists {len(branches)} branches without {default}, so the list is not complete. "
            "Nothing was destroyed."
        )
    return branches
