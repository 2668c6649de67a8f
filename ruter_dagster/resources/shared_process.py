"""A process that the steps of a run share for short jobs with long imports. `ruter_dagster.jobs.shared_process` runs in it.

The goal is the duration of a day's runs: docs/decisions/shared-process.md.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Client, Connection
from multiprocessing.reduction import send_handle
from pathlib import Path

from filelock import FileLock

from ruter_dagster.contracts.container import is_alive

START_SECONDS = 60.0
POLL_SECONDS = 0.05
EXIT_DIED = -9
"""Exit code of a job whose process ended without an exit code."""
MAX_OUTPUT = 4000
"""Characters of the process's output that an error message shows."""


class SharedProcess:
    """One process for `job`. The first step starts it; a file in `folder` has its address.

    It belongs to the process that runs the steps (the run worker, or the command that executes several runs) and ends
    together with that process.
    """

    def __init__(self, job: str, folder: Path) -> None:
        self._job = job
        owner = multiprocessing.parent_process()
        self._owner = (owner.pid if owner else None) or os.getpid()
        self._address = folder / f"{job}-{self._owner}.json"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, environment: Mapping[str, str], ended: str | None = None) -> None:
        """Starts the process unless it is running. It imports its libraries while the caller continues.

        `ended` is the address of a process that is known to have ended. Its id alone does not show that: another
        process may have the id now.
        """
        with FileLock(self._address.with_suffix(".lock")):
            if self._socket in (None, ended):
                self._start(environment)

    def run(self, job: str, environment: Mapping[str, str]) -> int:
        """Runs a job to its end and returns its exit code. The job prints to the output of this process.

        If the caller is interrupted, the connection closes, and the job and the process end. If the process ends before
        it accepts the job, a new process is started once.
        """
        socket = None
        for _ in range(2):
            self.start(environment, ended=socket)
            socket = self._socket or ""
            with suppress(EOFError, ConnectionError), self._connect(socket) as connection:
                connection.recv()  # the process accepts the job
                connection.send({"job": job, "environment": dict(environment)})
                sys.stdout.flush()
                for stream in (1, 2):
                    send_handle(connection, stream, None)
                return self._exit_code(connection)
        raise RuntimeError(
            f"The shared process for {self._job} ended before it accepted the job. It printed: {self._output()}"
        )

    def _exit_code(self, connection: Connection) -> int:
        try:
            return connection.recv()
        except (EOFError, ConnectionError):
            sys.stdout.write(self._output())
            return EXIT_DIED

    @property
    def _socket(self) -> str | None:
        """The socket of the process. None if the process is not running."""
        if self._child and self._child.poll() is not None:
            return None
        try:
            address = json.loads(self._address.read_text())
        except (OSError, ValueError):
            return None
        return address["socket"] if is_alive(address["process"]) else None

    def _start(self, environment: Mapping[str, str]) -> None:
        self._remove_old_files()
        # In the system's temporary folder, because the path of a socket has at most about 100 characters.
        socket = str(Path(tempfile.mkdtemp(prefix="ruter-")) / "jobs")
        with self._address.with_suffix(".log").open("wb") as output:
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "ruter_dagster.jobs.shared_process",
                    self._job,
                    socket,
                    str(self._owner),
                ],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._address.write_text(json.dumps({"process": self._child.pid, "socket": socket}))

    def _output(self) -> str:
        """What the process printed outside of jobs, for instance why it could not start."""
        log = self._address.with_suffix(".log")
        return log.read_text(errors="replace")[-MAX_OUTPUT:] if log.is_file() else ""

    def _remove_old_files(self) -> None:
        """Removes the files of processes whose owners have ended."""
        for address in self._address.parent.glob(f"{self._job}-*.json"):
            if not is_alive(int(address.stem.rsplit("-", 1)[1])):
                for suffix in (".json", ".lock", ".log"):
                    address.with_suffix(suffix).unlink(missing_ok=True)

    def _connect(self, socket: str) -> Connection:
        """A connection, as soon as the process listens. Raises `ConnectionError` if the process has ended."""
        deadline = time.monotonic() + START_SECONDS
        while self._socket == socket:
            with suppress(FileNotFoundError):
                return Client(socket, "AF_UNIX")
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"The shared process for {self._job} did not start in {START_SECONDS:.0f} s. It printed: {self._output()}"
                )
            time.sleep(POLL_SECONDS)
        raise ConnectionRefusedError(socket)
