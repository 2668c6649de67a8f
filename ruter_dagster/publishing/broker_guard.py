"""Runs the broker's Java process and ends it with its owner, however the owner ends. Nothing else.

A script of its own that imports nothing of the house: `broker_guard.py OWNER_PID STATE_FILE BOOTSTRAP_SERVERS COMMAND…`.
A child that watches its parent's id is the one way that works on Linux and macOS alike and that survives a
SIGKILL of the owner; a pipe from the owner would stay open in any process the owner has forked.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LOOK_EVERY_SECONDS = 0.1
LEAVE_SECONDS = 20.0
"""A broker writes its data out on TERM, in about 2 s; after this long it is killed."""


def main(owner: int, state_file: Path, bootstrap_servers: str, command: list[str]) -> int:
    """Run `command` until it ends, the owner is gone or TERM arrives; return the command's exit code."""
    asked_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: asked_to_stop.append(number))
    # The data folder's lock came in as an open file. Java must inherit it: the lock then holds while Java lives.
    broker = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)
    try:
        _write_state(state_file, bootstrap_servers, broker.pid)
        while broker.poll() is None and not asked_to_stop and os.getppid() == owner:
            time.sleep(LOOK_EVERY_SECONDS)
    finally:
        _stop(broker)
        state_file.unlink(missing_ok=True)
    return broker.returncode


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
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:]))
