"""The job `publish` with a broker that is killed meanwhile: `publish_killing_broker.py PHASE SECONDS PID`.

SECONDS after the beginning of PHASE, the broker's process PID is killed. `publication` begins when the job takes the transactional
id, `commit` when the transaction is committed. Prints how long each phase took, and whether the broker was killed within the phase.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from ruter_dagster.jobs.__main__ import main
from ruter_dagster.publishing import transaction

PHASES = ("publication", "commit")


class KillingProducer(transaction.Producer):
    """A producer of the real library that starts the clock of each phase."""

    phase, seconds, pid = "", 0.0, 0
    committed = False
    _begun: float

    def init_transactions(self, *arguments: Any) -> None:
        self._begun = time.monotonic()
        self._start_clock("publication")
        super().init_transactions(*arguments)

    def commit_transaction(self, *arguments: Any) -> None:
        begun = time.monotonic()
        self._start_clock("commit")
        super().commit_transaction(*arguments)
        now = time.monotonic()
        type(self).committed = True
        print(f"publication {now - self._begun:.4f} s, commit {now - begun:.4f} s", flush=True)

    def _start_clock(self, phase: str) -> None:
        if phase == self.phase:
            # A repeated call of the same phase does not kill the next broker.
            type(self).phase = ""
            threading.Timer(self.seconds, self._kill_broker).start()

    def _kill_broker(self) -> None:
        under_way = not self.committed
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        print(f"broker killed, under way: {under_way}", flush=True)


if __name__ == "__main__":
    phase, seconds, pid = sys.argv[1:]
    KillingProducer.phase, KillingProducer.seconds, KillingProducer.pid = phase, float(seconds), int(pid)
    transaction.Producer = KillingProducer
    sys.exit(main(["publish"]))
