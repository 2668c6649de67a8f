"""Ends a process with the one that started it. Who starts processes belongs elsewhere."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from functools import cache


@cache
def end_with_parent() -> None:
    """From now on a process that multiprocessing started is interrupted once the one that started it is gone, however it went.

    A step's process would outlive its run's, and race with the run that goes on in its place.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
