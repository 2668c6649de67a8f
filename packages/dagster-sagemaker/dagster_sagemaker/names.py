"""Names of jobs, and of the folders that hold their messages: the same key, run and attempt always give the same name."""

from __future__ import annotations

import hashlib
import re

NAME_LIMIT = 63
_FOLDER_WORDS = 20


def job_name(key: str, origin_run: str, attempt: int, *, step: str = "", prefix: str = "") -> str:
    """A name in SageMaker's characters, at most 63 of them: `<prefix>-<key>-<digest>-<attempt>`.

    The digest is of the whole key, step and run, so that what was cut off or replaced still tells two jobs apart.
    """
    tail = f"-{_digest(key, step, origin_run)}-{attempt}"
    head = "-".join(part for part in (_words(prefix), _words(key)) if part) or "job"
    return head[: NAME_LIMIT - len(tail)].rstrip("-") + tail


def folder_name(key: str, step: str = "") -> str:
    """The folder of a key below that of its run: short, because its address travels in 256-character variables."""
    return f"{_words(key)[:_FOLDER_WORDS].strip('-') or 'job'}-{_digest(key, step)}"


def _words(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]
