"""What every stage of a job's life needs: the platform's parts, waiting that a stop ends, and the ways to end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import events
from .faults import Fault, Faults
from .jobs import Job
from .logs import LogShipper
from .settings import Settings
from .transfers import Transfers

INTERNAL = "InternalServerError: We encountered an internal error. Please try again."


@dataclass(eq=False)
class Ended(Exception):
    """The job is over: its final status, and why."""

    status: str
    secondary: str = ""
    reason: str | None = None


class Interrupted(Exception):
    """The spot instance was taken back."""


@dataclass
class Platform:
    """What all jobs share. `address`: the double's own, which containers call as AWS; `folder`: where theirs lie."""

    settings: Settings
    faults: Faults
    transfers: Transfers
    logs: LogShipper
    address: str
    folder: Path
    slots: threading.Condition
    used_slots: int = 0


@dataclass
class Life:
    """One job on the platform."""

    platform: Platform
    job: Job
    began: float = field(default_factory=time.monotonic)

    @property
    def settings(self) -> Settings:
        return self.platform.settings

    def fault(self, kind: str, **wanted: Any) -> Fault | None:
        return self.platform.faults.take(kind, job=self.job.name, **wanted)

    def tell(self) -> None:
        events.tell(self.job, self.settings, self.platform.faults)

    @property
    def wait_ends(self) -> float:
        """MaxWaitTimeInSeconds counts from Create, the running included."""
        return self.began + self.job.limit("MaxWaitTimeInSeconds", 86400) * self.settings.limit_scale

    def pause(self, seconds: float) -> None:
        """Waits in a state without containers; a stop ends it."""
        due = time.monotonic() + seconds
        while True:
            if self.job.stop_asked:
                self.tell()
                self.linger()
                raise Ended("Stopped")
            left = due - time.monotonic()
            if left <= 0:
                return
            self.job.wake.wait(timeout=left)
            self.job.wake.clear()

    def ask_stop(self) -> None:
        """As the console does."""
        with self.job.lock:
            if not self.job.over and not self.job.stop_asked:
                self.job.stop_asked = True
                self.job.enter("Stopping", status="Stopping")

    def linger(self) -> None:
        if slow := self.fault("slow_stop"):
            time.sleep(slow.seconds)
