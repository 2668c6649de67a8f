"""Identifies the code that ran: commit, hash of the lock file, and hash of the code that computes features."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

import polars as pl

from ruter_dagster.config.settings import Settings

ROOT = Path(__file__).parents[2]


def commit(settings: Settings) -> str | None:
    """RUTER_COMMIT, or the checkout's HEAD with `-dirty` for changed files, or None for an installed package."""
    if settings.commit:
        return settings.commit
    if not (ROOT / ".git").exists():
        return None
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return described.stdout.strip() or None


def lock_hash() -> str | None:
    """The first 16 hexadecimal digits of the SHA-256 of requirements.lock; None for an installed package."""
    path = ROOT / "requirements.lock"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else None


@cache
def code_hash(*files: str) -> str:
    """Hash of the code that computes rows: source files of two packages, these further files, the lock file and polars' version.

    The commit is not enough: an installed package has none, and it does not show uncommitted changes.
    """
    digest = hashlib.sha256(f"{lock_hash()} {pl.__version__}".encode())
    package = ROOT / "ruter_dagster"
    for folder in ("contracts", "forecasting"):
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    for file in files:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:32]
