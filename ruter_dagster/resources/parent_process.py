"""Ends a child process when its parent process ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from functools import cache


@cache
def end_with_parent() -> None:
    """Terminates this process as soon as its parent ends, if multiprocessing started it.

    Otherwise a step would outlive its run, and compete with the run that continues the work.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def terminate_after_parent() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate_after_parent, daemon=True).start()
