"""Compares the released schemas of messages with those of the default branch, so that no commit changes schema and copy together.

The base is `origin/main` (`CI_DEFAULT_BRANCH` names another branch), or the commit before it if that is what is checked. Without the
base nothing is compared, and the reason is printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.publishing.schema_compatibility import incompatibilities

ROOT = Path(__file__).parents[1]
FOLDER = "tests/publishing/released_schemas"


def base_commit(root: Path, branch: str) -> str | None:
    """The commit to compare with; None if the repository does not have it."""
    base = _git(root, "rev-parse", "--verify", "--quiet", f"refs/remotes/origin/{branch}^{{commit}}")
    if base and base == _git(root, "rev-parse", "HEAD"):
        return _git(root, "rev-parse", "--verify", "--quiet", "HEAD^")
    return base


def schema_faults(root: Path, base: str) -> list[str]:
    """One sentence for each change of a released schema since `base` that its readers cannot read."""
    names = _git(root, "ls-tree", "-r", "--name-only", base, "--", FOLDER) or ""
    return [fault for name in names.splitlines() for fault in _faults_of(root, base, name)]


def _faults_of(root: Path, base: str, name: str) -> list[str]:
    file = root / name
    if not file.exists():
        return [f"{name} was removed: consumers of this version still need it. Restore it."]
    former = json.loads(_git(root, "show", f"{base}:{name}") or "{}")
    found = incompatibilities(former, json.loads(file.read_text()))
    remedy = "Restore it, raise schemaVersion and add a new file: docs/messages.md"
    return [f"{name}: {fault}. {remedy}" for fault in found]


def _git(root: Path, *arguments: str) -> str | None:
    """The output of a git command; None if it fails or git is missing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def main() -> int:
    branch = os.environ.get("CI_DEFAULT_BRANCH") or "main"
    base = base_commit(ROOT, branch)
    if base is None:
        print(
            f"Released schemas are not compared: this clone has no earlier commit of origin/{branch}. Run git fetch origin {branch}"
        )
        return 0
    faults = schema_faults(ROOT, base)
    print("\n".join(faults) or f"Released schemas are readable by consumers of origin/{branch} ({base[:8]})")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
