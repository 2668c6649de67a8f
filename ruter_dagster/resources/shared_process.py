"""A process that the steps of this run share for jobs that import much and do little (`ruter_dagster.jobs.shared_process`)."""

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
LOOKED_EVERY = 0.05
DIED = -9
PRINTED = 4000
"""Characters shown of what the process printed."""


class SharedProcess:
    """One process for `job`, started by whichever step comes first, whose address lies below `folder`.

    It belongs to the process that runs the steps (the run's worker, or the command that executes several runs) and ends
    with it.
    """

    def __init__(self, job: str, folder: Path) -> None:
        self._job = job
        owner = multiprocessing.parent_process()
        self._owner = (owner.pid if owner else None) or os.getpid()
        self._address = folder / f"{job}-{self._owner}.json"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, environment: Mapping[str, str], ended: str | None = None) -> None:
        """Starts the process, unless it is there; what it imports at once it imports beside the caller.

        `ended` is the address of one known to have ended, though its id may belong to another process by now, or to
        threads that the system has yet to end.
        """
        with FileLock(self._address.with_suffix(".lock")):
            if self._socket in (None, ended):
                self._start(environment)

    def run(self, job: str, environment: Mapping[str, str]) -> int:
        """Runs a job to its end, its output going where this process's goes, and returns its exit code.

        A caller that is interrupted hangs up, which ends the job, and the process with it. A process that ends before it
        takes the job is followed by another, once.
        """
        socket = None
        for _ in range(2):
            self.start(environment, ended=socket)
            socket = self._socket or ""
            with suppress(EOFError, ConnectionError), self._connected(socket) as connection:
                connection.recv()  # the process takes the job
                connection.send({"job": job, "environment": dict(environment)})
                sys.stdout.flush()
                for stream in (1, 2):
                    send_handle(connection, stream, None)
                return self._exit_code(connection)
        raise RuntimeError(
            f"The process that {self._job} shares ended before it took the job. It printed: {self._printed()}"
        )

    def _exit_code(self, connection: Connection) -> int:
        try:
            return connection.recv()
        except (EOFError, ConnectionError):
            sys.stdout.write(self._printed())
            return DIED

    @property
    def _socket(self) -> str | None:
        """The address, where its process still lives."""
        if self._child and self._child.poll() is not None:
            return None
        try:
            known = json.loads(self._address.read_text())
        except (OSError, ValueError):
            return None
        return known["socket"] if is_alive(known["process"]) else None

    def _start(self, environment: Mapping[str, str]) -> None:
        self._forget_former()
        # Below the system's folder for such: a path of over a hundred characters is none of a socket.
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

    def _printed(self) -> str:
        """What the process itself printed, outside of any job: why it could not begin, say."""
        log = self._address.with_suffix(".log")
        return log.read_text(errors="replace")[-PRINTED:] if log.is_file() else ""

    def _forget_former(self) -> None:
        """Removes what the processes of former owners left in the folder."""
        for address in self._address.parent.glob(f"{self._job}-*.json"):
            if not is_alive(int(address.stem.rsplit("-", 1)[1])):
                for suffix in (".json", ".lock", ".log"):
                    address.with_suffix(suffix).unlink(missing_ok=True)

    def _connected(self, socket: str) -> Connection:
        """A connection, once the process listens; a `ConnectionError` where it has ended."""
        deadline = time.monotonic() + START_SECONDS
        while self._socket == socket:
            with suppress(FileNotFoundError):
                return Client(socket, "AF_UNIX")
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"The process that {self._job} shares did not begin in {START_SECONDS:.0f} s. It printed: {self._printed()}"
                )
            time.sleep(LOOKED_EVERY)
        raise ConnectionRefusedError(socket)
