"""How a job gets its instances: the time in Starting, the limit of containers, and what fails before it runs."""

from __future__ import annotations

import time

from .context import INTERNAL, JobContext, JobEnded

CAPACITY = "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."


def provision(context: JobContext) -> None:
    """Returns when the job has instances. Raises `JobEnded` if it gets none."""
    late = context.fault("delayed_start")
    if stop := context.fault("console_stop", starting=True):
        context.pause(stop.after)
        context.job.request_stop()
    context.pause(context.settings.starting + (late.seconds if late else 0))
    _wait_for_spot(context)
    if fault := context.fault("client_error"):
        raise JobEnded("Failed", reason=f"ClientError: {fault.message or 'The image cannot be pulled.'}")
    if context.fault("internal", after=0.0, on_log=""):
        raise JobEnded("Failed", reason=INTERNAL)
    for instance_type in context.job.requested_types:
        if not context.fault("capacity", instance_type=instance_type, at_create=False):
            context.job.instance_type = instance_type
            return
    raise JobEnded("Failed", reason=CAPACITY)


def _wait_for_spot(context: JobContext) -> None:
    if not context.job.spot:
        return
    fault = context.fault("spot_wait")
    if fault:
        context.pause(fault.seconds or max(context.wait_ends - time.monotonic(), 0))
    if fault or time.monotonic() >= context.wait_ends:
        raise JobEnded("Stopped", "MaxWaitTimeExceeded")


class Slot:
    """One of the containers that may run at once, because the machine has fewer cores than AWS."""

    def __init__(self, context: JobContext) -> None:
        self._context, self._held = context, False

    def take(self) -> None:
        platform = self._context.platform
        while not self._held:
            with platform.slots:
                if platform.used_slots < platform.settings.slots:
                    platform.used_slots += 1
                    self._held = True
                    return
                platform.slots.wait(timeout=0.1)
            self._context.pause(0)

    def free(self) -> None:
        if self._held:
            self._held = False
            with self._context.platform.slots:
                self._context.platform.used_slots -= 1
                self._context.platform.slots.notify()
