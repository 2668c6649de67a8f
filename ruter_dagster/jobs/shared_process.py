"""Runs jobs one after the other in one process: `python -m ruter_dagster.jobs.shared_process JOB SOCKET OWNER`.

For jobs whose imports take longer than their work: quality reports share a process, which imports Great Expectations
while the run's first step is at work. It ends with its owner, or when nobody has asked for long.
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
LOOKED_EVERY = 0.5


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ruter_dagster.jobs.shared_process", description=__doc__)
    parser.add_argument("job", choices=sorted(JOBS), help="the job that is imported at once")
    parser.add_argument("socket", type=Path, help="where launchers ask: a path in a folder of its own")
    parser.add_argument("owner", type=int, help="id of the process with which this one ends")
    given = parser.parse_args(arguments)
    server = Server(given.socket, given.owner)
    with Listener(str(given.socket), "AF_UNIX") as listener:
        threading.Thread(target=server.end_when_alone, daemon=True).start()
        import_module(f"ruter_dagster.jobs.{given.job}")
        while True:
            with suppress(OSError), listener.accept() as asked:
                server.answer(asked)


class Server:
    """What the process knows of itself: whether it is at work, and for whom."""

    def __init__(self, socket: Path, owner: int) -> None:
        self.socket, self.owner = socket, owner
        self.asked: Connection | None = None
        self.idle_since = time.monotonic()
        self.cpu_seconds_before = 0.0

    def answer(self, asked: Connection) -> None:
        """Runs the job that is asked for, and sends its exit code; ends the process where the launcher has gone."""
        with suppress(EOFError):
            asked.send("taken")  # a launcher that never reads this asks another process
            request = asked.recv()
            handles = [recv_handle(asked) for _ in (1, 2)]
            self.asked = asked
            threading.Thread(target=self.end_with_launcher, args=(asked,), daemon=True).start()
            with _output_to(handles):
                os.environ.clear()
                os.environ.update(request["environment"])
                exit_code = run_job([request["job"]], self.cpu_seconds_before)
            self.asked = None
            try:
                asked.send(exit_code)
            except ConnectionError:
                self.end()
        gc.collect()
        self.cpu_seconds_before, self.idle_since = time.process_time(), time.monotonic()

    def end_with_launcher(self, asked: Connection) -> None:
        """A launcher that hangs up was cancelled, or has died: the job closes what it has open, and all ends."""
        while self.asked is asked:
            if _has_hung_up(asked) and self.asked is asked:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(STOP_SECONDS)
                self.end()

    def end_when_alone(self) -> None:
        while is_alive(self.owner) and (self.asked or time.monotonic() - self.idle_since < IDLE_SECONDS):
            time.sleep(LOOKED_EVERY)
        self.end()

    def end(self) -> None:
        with suppress(OSError):
            self.socket.unlink(missing_ok=True)
            self.socket.parent.rmdir()
        os._exit(128 + signal.SIGTERM)


@contextmanager
def _output_to(handles: list[int]) -> Iterator[None]:
    """Standard output and error go to the handles, as those of a process that the step itself had started."""
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


def _has_hung_up(asked: Connection) -> bool:
    try:
        return asked.poll(LOOKED_EVERY)
    except (OSError, EOFError):
        return True


if __name__ == "__main__":
    main()
