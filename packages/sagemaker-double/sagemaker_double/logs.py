"""Puts what containers print into CloudWatch Logs' groups and streams, live. Moto answers the calls that read them."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from typing import Any

from moto.logs.models import logs_backends

from .faults import Faults
from .settings import ACCOUNT, Settings

LINE_LIMIT = 256 * 1024 - 26
BATCH = 1000


class Stream:
    """One log stream: lines come from a container's reader, and go to moto in the same order."""

    def __init__(self, backend: Any, group: str, name: str, lag: float) -> None:
        self.group, self.name, self.lag = group, name, lag
        self._backend, self._exists = backend, False
        self._lines: deque[tuple[float, int, str]] = deque()
        self._lock = threading.Lock()
        self._newest = 0
        self.closed = False

    def add(self, line: str) -> None:
        # CloudWatch refuses a batch that is not in order of time, and the clock may be set back.
        self._newest = max(self._newest, int(time.time() * 1000))
        self._lines.append((time.monotonic() + self.lag, self._newest, line))

    @property
    def done(self) -> bool:
        return self.closed and not self._lines

    def close(self) -> None:
        """Puts the last lines, unless they are late."""
        self.closed = True
        self.flush()

    def flush(self) -> None:
        """Puts the lines that are due. A stream exists from its first line on, as on AWS. Loses lines that moto refuses."""
        with self._lock:
            while events := self._due():
                try:
                    self._put(events)
                except Exception:  # a reset of moto in between takes the group away
                    traceback.print_exc()

    def _put(self, events: list[dict[str, Any]]) -> None:
        if not self._exists:
            _create(self._backend, self.group, self.name)
            self._exists = True
        self._backend.put_log_events(self.group, self.name, events)

    def _due(self) -> list[dict[str, Any]]:
        events = []
        while self._lines and len(events) < BATCH and self._lines[0][0] <= time.monotonic():
            _, timestamp, line = self._lines.popleft()
            if line:  # CloudWatch takes no empty message
                events.append({"timestamp": timestamp, "message": line[:LINE_LIMIT]})
        return events


class LogShipper:
    """All open streams, flushed by one thread."""

    def __init__(self, settings: Settings, faults: Faults) -> None:
        self._settings, self._faults = settings, faults
        self._streams: list[Stream] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def open(self, job: str, group: str, name: str) -> Stream:
        fault = self._faults.take("log_lag", job=job)
        backend = logs_backends[ACCOUNT][self._settings.region]
        stream = Stream(backend, group, name, fault.seconds if fault else 0.0)
        with self._lock:
            self._streams.append(stream)
        return stream

    def clear(self) -> None:
        """Forgets all streams."""
        with self._lock:
            self._streams = []

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._settings.log_interval):
            for stream in list(self._streams):
                stream.flush()
            with self._lock:
                self._streams = [stream for stream in self._streams if not stream.done]


_creation = threading.Lock()


def _create(backend: Any, group: str, stream: str) -> None:
    with _creation:
        if group not in backend.groups:
            backend.create_log_group(group, {})
        if stream not in backend.groups[group].streams:
            backend.create_log_stream(group, stream)
