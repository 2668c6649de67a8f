"""The metrics of a job: what it used, and whether it failed. A fault of their targets is logged and never fails the job."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.contracts.metrics import (
    JOB_CPU_SECONDS,
    JOB_FAILURES,
    JOB_MEMORY,
    JOB_SECONDS,
    Measurement,
)

log = logging.getLogger("ruter_dagster.jobs")


@dataclass(frozen=True)
class Resources:
    """What a job used: wall time without imports, CPU time with them, and its most memory in MB (2^20 bytes)."""

    seconds: float
    cpu_seconds: float
    megabytes: float

    @classmethod
    def used(cls, cpu_seconds_before: float, started: float) -> Resources:
        """What this process used since `started` (of `time.monotonic`), without the CPU time of earlier jobs."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return cls(
            time.monotonic() - started,
            time.process_time() - cpu_seconds_before,
            peak / (1024 if sys.platform == "linux" else 1024**2),
        )


def send_resources(resources: Resources, assets: Sequence[str], settings: Settings) -> None:
    """Sends what a job used, under the first asset that it reported. A job that reported none sends nothing."""
    if not assets:
        return
    now = datetime.now(UTC)
    values = (
        (JOB_SECONDS, resources.seconds),
        (JOB_CPU_SECONDS, resources.cpu_seconds),
        (JOB_MEMORY, resources.megabytes),
    )
    measurements = [Measurement(metric, round(value, 3), now, assets[0]) for metric, value in values]
    _send(measurements, settings, now)


def send_failure() -> None:
    """Counts a failed job. Settings that are wrong, which may be why it failed, name no target."""
    try:
        settings = load_settings()
    except Exception:  # The log has this error already.
        return
    now = datetime.now(UTC)
    _send([Measurement(JOB_FAILURES, 1, now)], settings, now)


def _send(measurements: Sequence[Measurement], settings: Settings, now: datetime) -> None:
    try:
        if targets := settings.metric_targets:
            targets.send(measurements, now)
    except Exception as error:
        log.warning("Metrics of the job were not sent: %s", error)
