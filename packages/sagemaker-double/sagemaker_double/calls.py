"""Counts calls by operation, job and access key. The double's own calls are not counted."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any


class Calls:
    """The calls since the last `clear`. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[tuple[float, str, str, int, str]] = []
        """Of each call: seconds since 1970, operation, job, HTTP status and access key."""
        self._resources: dict[str, dict[str, set[str]]] = {}
        """ARNs by access key and operation."""

    def add(self, operation: str, job: str, status: int, caller: str, resources: Sequence[str] = ()) -> None:
        with self._lock:
            self._calls.append((time.time(), operation, job, status, caller))
            self._resources.setdefault(caller, {}).setdefault(operation, set()).update(resources)

    def within(self, operation: str, seconds: float) -> int:
        """The number of calls of an operation in the last `seconds` that were not refused."""
        since = time.time() - seconds
        with self._lock:
            recent = itertools.takewhile(lambda call: call[0] >= since, reversed(self._calls))
            return sum(name == operation and status < 400 for _, name, _, status, _ in recent)

    def clear(self) -> None:
        with self._lock:
            self._calls.clear()
            self._resources.clear()

    def counts(self, timeline: bool = False) -> dict[str, Any]:
        """`total` and `errors` by operation, `jobs` by job and operation, `callers` by access key and operation.

        `timeline`: every call, with its time.
        """
        with self._lock:
            calls = list(self._calls)
        jobs: dict[str, Counter[str]] = {}
        callers: dict[str, Counter[str]] = {}
        for _, operation, job, _, caller in calls:
            if job:
                jobs.setdefault(job, Counter())[operation] += 1
            callers.setdefault(caller, Counter())[operation] += 1
        counts: dict[str, Any] = {
            "total": Counter(operation for _, operation, _, _, _ in calls),
            "jobs": jobs,
            "callers": callers,
            "errors": Counter(operation for _, operation, _, status, _ in calls if status >= 400),
        }
        return counts | ({"timeline": calls} if timeline else {})

    def resources(self) -> dict[str, dict[str, list[str]]]:
        """ARNs of the resources that calls named, by access key and operation."""
        with self._lock:
            return {
                caller: {operation: sorted(arns) for operation, arns in operations.items()}
                for caller, operations in self._resources.items()
            }
