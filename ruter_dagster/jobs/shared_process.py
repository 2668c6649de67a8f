"""Runs jobs one after the other in one process: `python -m ruter_dagster.jobs.shared_process JOB SOCKET OWNER`.

The goal is a short day: the imports of a quality report take longer than its work. The process imports Great Expectations
during the run's first step. It ends with its owner process, or after five minutes without a request.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing.connection import Connection, Listener
from multiprocessing.reduction import recv_handle
from pathlib import Path

from ruter_dagster.contracts.container import STOP_SECONDS, is_alive
from ruter_dagster.contracts.jobs import JOBS
from ruter_dagster.jobs.__main__ import main as run_job

IDLE_SECONDS = 300.0
POLL_SECONDS = 0.5


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ruter_dagster.jobs.shared_process", description=__doc__)
    parser.add_argument("job", choices=sorted(JOBS), help="the job to import at the start")
    parser.add_argument("socket", type=Path, help="path of the socket for requests, in a folder of its own")
    parser.add_argument("owner", type=int, help="id of the owner process; this process ends with it")
    args = parser.parse_args(arguments)
    server = Server(args.socket, args.owner)
    with Listener(str(args.socket), "AF_UNIX") as listener:
        threading.Thread(target=server.end_when_alone, daemon=True).start()
        import_module(f"ruter_dagster.jobs.{args.job}")
        while True:
            with suppress(OSError), listener.accept() as connection:
                server.answer(connection)


class Server:
    """Answers requests. `connection` is the request that is being answered, or None."""

    def __init__(self, socket: Path, owner: int) -> None:
        self.socket, self.owner = socket, owner
        self.connection: Connection | None = None
        self.idle_since = time.monotonic()
        self.cpu_seconds_before = 0.0

    def answer(self, connection: Connection) -> None:
        """Runs the requested job and sends its exit code. Ends the process if the launcher has ended."""
        with suppress(EOFError):
            connection.send("taken")  # A launcher that does not receive this starts another process.
            request = connection.recv()
            handles = [recv_handle(connection) for _ in (1, 2)]
            self.connection = connection
            threading.Thread(target=self.end_with_launcher, args=(connection,), daemon=True).start()
            with _output_to(handles):
                os.environ.clear()
                os.environ.update(request["environment"])
                exit_code = run_job([request["job"]], self.cpu_seconds_before)
            self.connection = None
            try:
                connection.send(exit_code)
            except ConnectionError:
                self.end()
        gc.collect()
        self.cpu_seconds_before, self.idle_since = time.process_time(), time.monotonic()

    def end_with_launcher(self, connection: Connection) -> None:
        """Stops the job and ends the process when the launcher closes the connection."""
        while self.connection is connection:
            if _is_closed(connection) and self.connection is connection:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(STOP_SECONDS)
                self.end()

    def end_when_alone(self) -> None:
        while is_alive(self.owner) and (self.connection or time.monotonic() - self.idle_since < IDLE_SECONDS):
            time.sleep(POLL_SECONDS)
        self.end()

    def end(self) -> None:
        with suppress(OSError):
            self.socket.unlink(missing_ok=True)
            self.socket.parent.rmdir()
        os._exit(128 + signal.SIGTERM)


@contextmanager
def _output_to(handles: list[int]) -> Iterator[None]:
    """Redirects standard output and error to the handles of the step that requested the job."""
    own = [os.dup(1), os.dup(2)]
    _redirect(handles)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        _redirect(own)


def _redirect(handles: list[int]) -> None:
    for handle, stream in zip(handles, (1, 2), strict=True):
        os.dup2(handle, stream)
        os.close(handle)


def _is_closed(connection: Connection) -> bool:
    try:
        return connection.poll(POLL_SECONDS)
    except (OSError, EOFError):
        return True


if __name__ == "__main__":
    main()
