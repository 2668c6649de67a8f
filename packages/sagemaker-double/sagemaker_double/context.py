"""What every stage of a job needs: the parts of the platform, waits that a stop ends, and the ways in which a job ends."""

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
class JobEnded(Exception):
    """The job has ended: its final status, and why."""

    status: str
    secondary: str = ""
    reason: str | None = None


class Interrupted(Exception):
    """The spot instance was taken back."""


class Dropped(Exception):
    """The double was reset or ends. The job leaves nothing behind, and nobody hears of its end."""


@dataclass
class Platform:
    """What all jobs share. `address`: of the double, which containers call as AWS; `folder`: holds the containers' folders."""

    settings: Settings
    faults: Faults
    transfers: Transfers
    logs: LogShipper
    address: str
    folder: Path
    slots: threading.Condition
    used_slots: int = 0


@dataclass
class JobContext:
    """One job on the platform."""

    platform: Platform
    job: Job
    began: float = field(default_factory=time.monotonic)

    @property
    def settings(self) -> Settings:
        return self.platform.settings

    def fault(self, kind: str, **wanted: Any) -> Fault | None:
        return self.platform.faults.take(kind, job=self.job.name, **wanted)

    def send_event(self) -> None:
        events.send_state_change(self.job, self.settings, self.platform.faults)

    @property
    def wait_ends(self) -> float:
        """MaxWaitTimeInSeconds counts from Create, the running included."""
        return self.began + self.job.limit("MaxWaitTimeInSeconds", 86400) * self.settings.limit_scale

    def check_dropped(self) -> None:
        if self.job.dropped.is_set():
            raise Dropped

    def pause(self, seconds: float) -> None:
        """Waits in a state without containers. Raises `JobEnded` if the job is stopped meanwhile."""
        due = time.monotonic() + seconds
        while True:
            self.check_dropped()
            if self.job.stop_requested:
                self.send_event()
                self.wait_for_slow_stop()
                raise JobEnded("Stopped")
            left = due - time.monotonic()
            if left <= 0:
                return
            self.job.wake.wait(timeout=left)
            self.job.wake.clear()

    def wait_for_slow_stop(self) -> None:
        if slow := self.fault("slow_stop"):
            self.job.dropped.wait(timeout=slow.seconds)
        self.check_dropped()
