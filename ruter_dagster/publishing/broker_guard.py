"""Runs the broker's Java process as long as any process uses it, however these processes end.

A separate script that imports only Python's standard library: `broker_guard.py STATE_FILE BOOTSTRAP_SERVERS COMMAND…`.
Each user (a process) holds a POSIX lock on a file of its own. The system releases the lock when the process ends, and forked
processes do not inherit it. A process id alone is not enough, because ids are reused.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

CHECK_INTERVAL_SECONDS = 0.1
SHUTDOWN_SECONDS = 20.0
"""A broker writes its data to disk on SIGTERM, in about 2 s. It is killed after this time."""

_OWN_ENTRIES: dict[Path, tuple[int, IO[str]]] = {}
"""Entries of this process, with its id. Opening and closing such a file again would release its lock."""


class BrokerUsers:
    """The processes on this machine that use the broker of one data folder: one entry (a locked file) each."""

    def __init__(self, data_dir: Path) -> None:
        # Resolved, so that this process recognises its own entries through a symbolic link too.
        folder = data_dir.resolve()
        self._folder, self._lock = folder / "users", folder / "users.lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Other processes wait until the block ends before they add, remove or count users."""
        with self._lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def add(self) -> Path:
        """Makes this process a user until `remove` or its end, and returns the entry. Call it while `locked`."""
        self._folder.mkdir(exist_ok=True)
        entry = self._folder / f"{os.getpid()}-{uuid4().hex}"
        file = entry.open("w")
        fcntl.lockf(file, fcntl.LOCK_EX)
        _OWN_ENTRIES[entry] = os.getpid(), file
        return entry

    def remove(self, entry: Path) -> None:
        """Removes an entry. Does nothing if it was removed before."""
        entry.unlink(missing_ok=True)
        _, file = _OWN_ENTRIES.pop(entry, (0, None))
        if file is not None:
            file.close()

    def any_left(self) -> bool:
        """Whether any process uses the broker. Deletes entries of ended processes. Call it while `locked`."""
        entries = list(self._folder.iterdir()) if self._folder.exists() else []
        in_use = [_is_in_use(entry) for entry in entries]
        return any(in_use)

    def clear(self) -> None:
        """Removes all entries: a new broker does not inherit the users of the previous one."""
        for entry in self._folder.iterdir() if self._folder.exists() else ():
            entry.unlink(missing_ok=True)


def _is_in_use(entry: Path) -> bool:
    if _OWN_ENTRIES.get(entry, (0,))[0] == os.getpid():
        return True
    try:
        with entry.open("r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            entry.unlink(missing_ok=True)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def main(state_file: Path, bootstrap_servers: str, command: list[str]) -> int:
    """Runs `command` until it ends, no process uses it, or SIGTERM arrives. Returns the command's exit code."""
    stop_requests: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop_requests.append(number))
    # The data folder's lock is an inherited open file. Java inherits it too, so that the lock lasts as long as Java.
    broker = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)
    users = BrokerUsers(state_file.parent)
    try:
        _write_state(state_file, bootstrap_servers, broker.pid)
        while broker.poll() is None and not stop_requests and not _is_unused(users, state_file):
            time.sleep(CHECK_INTERVAL_SECONDS)
    finally:
        state_file.unlink(missing_ok=True)
        _stop(broker)
    return broker.returncode


def _is_unused(users: BrokerUsers, state_file: Path) -> bool:
    """Whether no process uses the broker. If so, removes its state file, so that no process joins a broker that ends."""
    with users.locked():
        if users.any_left():
            return False
        state_file.unlink(missing_ok=True)
        return True


def _write_state(state_file: Path, bootstrap_servers: str, pid: int) -> None:
    unfinished = state_file.with_suffix(".partial")
    unfinished.write_text(json.dumps({"bootstrap_servers": bootstrap_servers, "pid": pid}))
    unfinished.replace(state_file)


def _stop(broker: subprocess.Popen[bytes]) -> None:
    if broker.poll() is None:
        broker.terminate()
        try:
            broker.wait(SHUTDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            broker.kill()
            broker.wait()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
