"""Which code ran: the commit, the lock file's hash, and the hash of what computes."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

import polars as pl

from ruter_dagster.config.settings import Settings

ROOT = Path(__file__).parents[2]


def commit(settings: Settings) -> str | None:
    """RUTER_COMMIT, else the checkout's HEAD with `-dirty` where files differ, else None (an installed package)."""
    if settings.commit:
        return settings.commit
    if not (ROOT / ".git").exists():
        return None
    found = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() or None


def lock_hash() -> str | None:
    """The first 16 hex digits of requirements.lock's SHA-256; None for an installed package without it."""
    path = ROOT / "requirements.lock"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else None


@cache
def code_hash() -> str:
    """Hash of all that turns the same rows into the same features: the source files below, the lock file, polars.

    A commit would not do: an installed package has none, and a developer's change comes before it.
    """
    digest = hashlib.sha256(f"{lock_hash()} {pl.__version__}".encode())
    package = ROOT / "ruter_dagster"
    for room in ("contracts", "forecasting"):
        for path in sorted((package / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:32]
