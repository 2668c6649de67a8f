"""Names of jobs and of their S3 folders. The same key, run and attempt always give the same name."""

from __future__ import annotations

import hashlib
import re

NAME_LIMIT = 63
_FOLDER_KEY_LENGTH = 20


def job_name(key: str, origin_run: str, attempt: int, *, step: str = "", prefix: str = "") -> str:
    """A valid job name of at most 63 characters: `<prefix>-<key>-<digest>-<attempt>`.

    The digest covers the whole key, step and run. It keeps names distinct when the key is shortened.
    """
    tail = f"-{_digest(key, step, origin_run)}-{attempt}"
    head = "-".join(part for part in (_slug(prefix), _slug(key)) if part) or "job"
    return head[: NAME_LIMIT - len(tail)].rstrip("-") + tail


def folder_name(key: str, step: str = "") -> str:
    """The folder of a key inside the folder of its run. Short: its address must fit in a 256-character variable."""
    return f"{_slug(key)[:_FOLDER_KEY_LENGTH].strip('-') or 'job'}-{_digest(key, step)}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]
