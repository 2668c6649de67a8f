"""A job's way to its instances: waiting, quotas of containers, and all that may go wrong before it runs."""

from __future__ import annotations

import time

from .life import INTERNAL, Ended, Life

CAPACITY = "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."


def provision(life: Life) -> None:
    """Returns when the job has instances; an `Ended` tells why it gets none."""
    late = life.fault("delayed_start")
    if stop := life.fault("console_stop", starting=True):
        life.pause(stop.after)
        life.ask_stop()
    life.pause(life.settings.starting + (late.seconds if late else 0))
    _wait_for_spot(life)
    if fault := life.fault("client_error"):
        raise Ended("Failed", reason=f"ClientError: {fault.message or 'The image cannot be pulled.'}")
    if life.fault("internal", after=0.0, on_log=""):
        raise Ended("Failed", reason=INTERNAL)
    for instance_type in life.job.wanted_types:
        if not life.fault("capacity", instance_type=instance_type, at_create=False):
            life.job.instance_type = instance_type
            return
    raise Ended("Failed", reason=CAPACITY)


def _wait_for_spot(life: Life) -> None:
    if not life.job.spot:
        return
    fault = life.fault("spot_wait")
    if fault:
        life.pause(fault.seconds or max(life.wait_ends - time.monotonic(), 0))
    if fault or time.monotonic() >= life.wait_ends:
        raise Ended("Stopped", "MaxWaitTimeExceeded")


class Slot:
    """One of the containers that may run at once; the machine has fewer cores than AWS."""

    def __init__(self, life: Life) -> None:
        self._life, self._held = life, False

    def take(self) -> None:
        platform = self._life.platform
        while not self._held:
            with platform.slots:
                if platform.used_slots < platform.settings.slots:
                    platform.used_slots += 1
                    self._held = True
                    return
                platform.slots.wait(timeout=0.1)
            self._life.pause(0)

    def free(self) -> None:
        if self._held:
            self._held = False
            with self._life.platform.slots:
                self._life.platform.used_slots -= 1
                self._life.platform.slots.notify()
