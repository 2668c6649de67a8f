"""Puts what containers print into CloudWatch Logs' groups and streams, live. Moto answers the reading of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

from .faults import Faults
from .settings import ACCOUNT, Settings

LINE_LIMIT = 256 * 1024 - 26
BATCH = 1000


class Stream:
    """One log stream: lines come from a container's reader, and go to moto in their order."""

    def __init__(self, backend: Any, group: str, name: str, lag: float) -> None:
        self.group, self.name, self.lag = group, name, lag
        self._backend, self._made = backend, False
        self._lines: deque[tuple[float, str]] = deque()
        self._lock = threading.Lock()
        self.closed = False

    def add(self, line: str) -> None:
        self._lines.append((time.time(), line))

    @property
    def done(self) -> bool:
        return self.closed and not self._lines

    def flush(self) -> None:
        """Puts the lines that are due; on AWS as here a stream is there from its first line on."""
        with self._lock:
            while events := self._due():
                if not self._made:
                    _make(self._backend, self.group, self.name)
                    self._made = True
                self._backend.put_log_events(self.group, self.name, events)

    def _due(self) -> list[dict[str, Any]]:
        events = []
        while self._lines and len(events) < BATCH and self._lines[0][0] + self.lag <= time.time():
            at, line = self._lines.popleft()
            if line:  # CloudWatch takes no empty message
                events.append({"timestamp": int(at * 1000), "message": line[:LINE_LIMIT]})
        return events


class LogShipper:
    """All open streams, flushed by one thread."""

    def __init__(self, settings: Settings, faults: Faults) -> None:
        self._settings, self._faults = settings, faults
        self._streams: list[Stream] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def open(self, job: str, group: str, name: str) -> Stream:
        from moto.logs.models import logs_backends

        fault = self._faults.take("log_lag", job=job)
        backend = logs_backends[ACCOUNT][self._settings.region]
        stream = Stream(backend, group, name, fault.seconds if fault else 0.0)
        self._streams.append(stream)
        return stream

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._settings.log_interval):
            for stream in list(self._streams):
                with suppress(Exception):  # a reset of moto in between takes the group away
                    stream.flush()
                if stream.done:
                    self._streams.remove(stream)


_making = threading.Lock()


def _make(backend: Any, group: str, stream: str) -> None:
    with _making:
        if group not in backend.groups:
            backend.create_log_group(group, {})
        if stream not in backend.groups[group].streams:
            backend.create_log_stream(group, stream)
