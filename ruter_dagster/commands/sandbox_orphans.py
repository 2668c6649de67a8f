"""`ruter-dagster sandbox-orphans` and `sandbox-environments`: sandboxes and GitLab environments that should not exist any more."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from ruter_dagster.aws.sandbox.state import (
    changed_lately,
    existing_states,
    lock_holder,
    release_abandoned_lock,
)
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox, ref_slug, sandbox_id
from ruter_dagster.notifications.gitlab_environments import delete_environments, project_of, stopped_slugs

TIMEOUT_SECONDS = 120
_HEADS = "refs/heads/"


def orphans(bucket: str, repository: str, report: Callable[[str], None]) -> list[Sandbox]:
    """The sandboxes to destroy: those without a branch, and those of a branch whose environment GitLab has stopped.

    Locks that killed jobs have left are released, whatever the sandbox. A sandbox that somebody has locked is left out. `report`
    gets the reason of each. Raises `PermanentFailure` if the list of branches cannot be right.
    """
    # States before branches: a sandbox that is created in between is not listed at all.
    existing = existing_states(bucket)
    branches = {sandbox_id(branch): branch for branch in live_branches(repository)}
    stopped = stopped_slugs(project_of(os.environ))
    orphaned = []
    for sandbox in existing:
        if holder := release_abandoned_lock(bucket, sandbox):
            report(f"{sandbox.id}: released the lock of {holder}")
        reason = _reason(bucket, sandbox, branches.get(sandbox.id), stopped)
        if reason and (holder := lock_holder(bucket, sandbox)):
            report(f"{sandbox.id} {reason}, but is locked by {holder}: the next run looks again")
        elif reason:
            report(f"{sandbox.id} {reason}: it is destroyed")
            orphaned.append(sandbox)
    return orphaned


def _reason(bucket: str, sandbox: Sandbox, branch: str | None, stopped: set[str]) -> str | None:
    """Why a sandbox is destroyed, None if it is kept. A new deploy of a stopped environment has just written its state."""
    if branch is None:
        return "has no branch"
    if ref_slug(branch) in stopped and not changed_lately(bucket, sandbox):
        return "was not destroyed when GitLab stopped its environment"
    return None


def clean_environments(bucket: str, repository: str, report: Callable[[str], None]) -> list[str]:
    """Deletes GitLab's environments of deleted branches, and stopped ones. Returns a line for each that is left.

    The environment of a branch whose sandbox still has a state is kept: `orphans` reads there that it was stopped.
    """
    existing = {sandbox.id for sandbox in existing_states(bucket)}
    branches = live_branches(repository)
    slugs = {ref_slug(branch) for branch in branches}
    kept = {ref_slug(branch) for branch in branches if sandbox_id(branch) in existing}
    return delete_environments(project_of(os.environ), slugs, kept, report)


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
