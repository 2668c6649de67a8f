"""Runs the broker's Java process for as long as anyone uses it, however its users end. Nothing else.

A script of its own that imports only Python's library: `broker_guard.py STATE_FILE BOOTSTRAP_SERVERS COMMAND…`.
Each user holds a POSIX lock on a file of its own. The system frees that lock when the process ends, killed or not, and a
process that the user has forked does not inherit it. A user's process id alone would not do: ids are used again.
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

LOOK_EVERY_SECONDS = 0.1
LEAVE_SECONDS = 20.0
"""A broker writes its data out on TERM, in about 2 s; after this long it is killed."""

_HELD: dict[Path, tuple[int, IO[str]]] = {}
"""This process's own entries: to open and close one of them again would free its lock."""


class BrokerUsers:
    """The users of the broker on one data folder, of any process of this machine."""

    def __init__(self, data_dir: Path) -> None:
        # By one path, so that an entry of this process is known as its own through a link too.
        folder = data_dir.resolve()
        self._folder, self._lock = folder / "users", folder / "users.lock"

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Nobody else enters, leaves or counts the users meanwhile."""
        with self._lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def enter(self) -> Path:
        """Make this process a user, until `leave` or its end; call it while `settled`. Returns the entry."""
        self._folder.mkdir(exist_ok=True)
        entry = self._folder / f"{os.getpid()}-{uuid4().hex}"
        file = entry.open("w")
        fcntl.lockf(file, fcntl.LOCK_EX)
        _HELD[entry] = os.getpid(), file
        return entry

    def leave(self, entry: Path) -> None:
        """Give up an entry; one that was given up already is none."""
        entry.unlink(missing_ok=True)
        _, file = _HELD.pop(entry, (0, None))
        if file is not None:
            file.close()

    def exist(self) -> bool:
        """Whether there is any user; entries of processes that have ended are removed. Call it while `settled`."""
        entries = list(self._folder.iterdir()) if self._folder.exists() else []
        held = [_is_held(entry) for entry in entries]
        return any(held)

    def forget(self) -> None:
        """Remove all entries, where a new broker has none of the former one's users."""
        for entry in self._folder.iterdir() if self._folder.exists() else ():
            entry.unlink(missing_ok=True)


def _is_held(entry: Path) -> bool:
    if _HELD.get(entry, (0,))[0] == os.getpid():
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
    """Run `command` until it ends, nobody uses it or TERM arrives; return the command's exit code."""
    stop_requests: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop_requests.append(number))
    # The data folder's lock came in as an open file. Java must inherit it: the lock then holds while Java lives.
    broker = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)
    users = BrokerUsers(state_file.parent)
    try:
        _write_state(state_file, bootstrap_servers, broker.pid)
        while broker.poll() is None and not stop_requests and not _unused(users, state_file):
            time.sleep(LOOK_EVERY_SECONDS)
    finally:
        state_file.unlink(missing_ok=True)
        _stop(broker)
    return broker.returncode


def _unused(users: BrokerUsers, state_file: Path) -> bool:
    """Whether nobody uses the broker; then its state file is removed too, so that nobody joins a broker that ends."""
    with users.settled():
        if users.exist():
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
            broker.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            broker.kill()
            broker.wait()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
