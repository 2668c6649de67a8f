"""Which branch the code that starts jobs is of; which commit made a table is told by jobs/provenance.py."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

from ruter_dagster.config.settings import Settings

ROOT = Path(__file__).parents[3]
_NOT_IN_TAGS = re.compile(r"[^\w .:/=+@-]")


def branch_of(settings: Settings) -> str | None:
    """RUTER_BRANCH, else the checkout's branch, as a tag may have it; None for an installed package and a detached HEAD."""
    branch = settings.branch or _checked_out()
    return _NOT_IN_TAGS.sub("-", branch)[:256] or None


@cache
def _checked_out() -> str:
    """Once a process: the code that it has loaded stays that of the branch it was started on."""
    if not (ROOT / ".git").exists():
        return ""
    command = ["git", "symbolic-ref", "--short", "--quiet", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
