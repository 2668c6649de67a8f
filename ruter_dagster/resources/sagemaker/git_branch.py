"""Finds the git branch of the code that starts jobs. `jobs/provenance.py` records the commit that wrote a table."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

from ruter_dagster.config.settings import Settings

ROOT = Path(__file__).parents[3]
_INVALID_IN_TAGS = re.compile(r"[^\w .:/=+@-]")
_MAX_TAG_LENGTH = 256


def find_branch(settings: Settings) -> str | None:
    """RUTER_BRANCH, else the branch of the checkout, as a valid AWS tag. None for an installed package and a detached HEAD."""
    branch = settings.branch or _checked_out_branch()
    return _INVALID_IN_TAGS.sub("-", branch)[:_MAX_TAG_LENGTH] or None


@cache
def _checked_out_branch() -> str:
    """The branch at the first call: the process keeps the code that it loaded at its start."""
    if not (ROOT / ".git").exists():
        return ""
    command = ["git", "symbolic-ref", "--short", "--quiet", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
