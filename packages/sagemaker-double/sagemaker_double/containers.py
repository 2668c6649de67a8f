"""One container: a process group of its own with SageMaker's folders below a private base. Knows no job and no S3."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PYTHONS = ("python", "python3")
CANNOT_START = 127
LOST = 137
"""Exit code of a process whose own code nobody can know."""
LAST_LINES = 60.0
"""Seconds to wait for the last lines of an ended container. A process that left the group may hold its output open."""


class Container:
    """`base` stands for `/opt/ml`. `on_line` gets each printed line; `on_exit` is called when the process has ended."""

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
        """As in a shell: 128 and the signal's number if a signal ended the process."""
        self.pid: int | None = None
        self._on_line, self._on_exit = on_line, on_exit
        self._process: subprocess.Popen[bytes] | None = None
        self._signals = threading.Lock()
        self._reaped = False

    def path(self, local_path: str) -> Path:
        """The real path of a path below `/opt/ml`."""
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
        if not self.command:
            self._on_line("The request names no entry point, and the setting image_entrypoint is empty")
            self._set_exit(CANNOT_START)
            return
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
            self._set_exit(CANNOT_START)
            return
        self.pid = self._process.pid
        reader = threading.Thread(target=self._read, args=[self._process.stdout], daemon=True)
        reader.start()
        threading.Thread(target=self._wait, args=[self._process, reader], daemon=True).start()

    @property
    def running(self) -> bool:
        return self.exit_code is None

    def signal(self, number: signal.Signals) -> None:
        """Signals the whole group. Does nothing once the process has ended: another group may have its number."""
        with self._signals:
            if self._process is not None and not self._reaped:
                _signal_group(self._process.pid, number)

    def _read(self, output: Any) -> None:
        with output as lines:
            for line in lines:
                self._on_line(line.decode(errors="replace").rstrip("\r\n"))

    def _wait(self, process: subprocess.Popen[bytes], reader: threading.Thread) -> None:
        code = LOST
        try:
            code = self._reap(process)
            reader.join(timeout=LAST_LINES)
        except Exception:
            traceback.print_exc()
        finally:
            self._set_exit(code if code >= 0 else 128 - code)

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        """Waits for the first process, and kills the rest of its group: a container ends with its first process."""
        if hasattr(os, "waitid"):  # macOS has it from Python 3.13 on
            # Leaves a zombie, so that no other group gets the number before the lock is held.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        else:
            process.wait()
        with self._signals:
            _signal_group(process.pid, signal.SIGKILL)
            self._reaped = True
            code = process.wait()
        kill_processes(self.base.parent)
        return code

    def _set_exit(self, code: int) -> None:
        self.exit_code = code
        self._on_exit()

    def remove(self) -> None:
        shutil.rmtree(self.base.parent, ignore_errors=True)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def kill_processes(folder: Path) -> None:
    """Kills each process that has a path in `folder` as a variable: also one that left its container's group. Needs /proc."""
    value = re.compile(b"=" + re.escape(os.fsencode(folder)) + b"[/\0]")
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if value.search(path.read_bytes()):
                os.kill(int(path.parent.name), signal.SIGKILL)


def end_all(containers: list[Container], grace: float, wake: threading.Event) -> None:
    """Sends SIGTERM to each, and SIGKILL after `grace` seconds. Returns when all have ended."""
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
