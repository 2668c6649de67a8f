"""One container: a process group of its own with SageMaker's folders below a private base. Knows no job and no S3."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PYTHONS = ("python", "python3")
CANNOT_START = 127


class Container:
    """`base` stands for `/opt/ml`. `on_line` gets each line printed; `on_exit` is called when the process has ended."""

    def __init__(
        self,
        base: Path,
        command: list[str],
        environment: dict[str, str],
        directory: str,
        on_line: Callable[[str], None],
        on_exit: Callable[[], None],
    ) -> None:
        self.base, self.command, self.environment = base, command, environment
        self.directory = directory or str(base.parent / "work")
        self.exit_code: int | None = None
        """As a shell tells it: 128 and the signal's number if one ended it."""
        self.pid: int | None = None
        self._on_line, self._on_exit = on_line, on_exit
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def path(self, local_path: str) -> Path:
        """Where a path below `/opt/ml` lies."""
        return self.base / Path(local_path).relative_to("/opt/ml")

    def write(self, local_path: str, content: Any) -> None:
        path = self.path(local_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    def read(self, local_path: str) -> bytes | None:
        path = self.path(local_path)
        return path.read_bytes() if path.is_file() else None

    def start(self) -> None:
        Path(self.directory).mkdir(parents=True, exist_ok=True)
        program = sys.executable if self.command[0] in PYTHONS else self.command[0]
        try:
            self._process = subprocess.Popen(
                [shutil.which(program, path=self.environment["PATH"]) or program, *self.command[1:]],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self._on_line(f"{error.strerror}: {program}")
            self.exit_code = CANNOT_START
            self._on_exit()
            return
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait, daemon=True).start()

    @property
    def running(self) -> bool:
        return self.exit_code is None

    def signal(self, number: signal.Signals) -> None:
        """To the whole group. Nothing happens once the container has ended."""
        if self._process is not None and self.running:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._on_line(line.decode(errors="replace").rstrip("\r\n"))

    def _wait(self) -> None:
        assert self._process is not None and self._reader is not None
        if hasattr(os, "waitid"):  # macOS has it from Python 3.13 on
            # Not reaped yet, so that the group's number cannot have gone to somebody else.
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # a container ends with its first process
        code = self._process.wait()
        self._reader.join(timeout=5)
        self.exit_code = code if code >= 0 else 128 - code
        self._on_exit()

    def remove(self) -> None:
        shutil.rmtree(self.base.parent, ignore_errors=True)


def end_all(containers: list[Container], grace: float, wake: threading.Event) -> None:
    """SIGTERM to each, SIGKILL to those still there after `grace` seconds; returns when all have ended."""
    for container in containers:
        container.signal(signal.SIGTERM)
    due = time.monotonic() + grace
    while any(container.running for container in containers):
        wake.wait(timeout=max(due - time.monotonic(), 0.01))
        wake.clear()
        if time.monotonic() >= due:
            for container in containers:
                container.signal(signal.SIGKILL)
            due = time.monotonic() + 1
