"""One job from Starting to its end, in a thread of its own. A spot interruption starts it again."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from typing import NoReturn

from .context import Dropped, Interrupted, JobContext, JobEnded, Platform
from .jobs import Job
from .running import Run
from .starting import Slot, provision


class Execution:
    """`run` it in a thread. `ended` is set when nothing of it is left."""

    def __init__(self, platform: Platform, job: Job) -> None:
        self.context, self.job = JobContext(platform, job), job
        self.ended = threading.Event()
        self._run = Run(self.context)
        self._slot = Slot(self.context)

    def run(self) -> None:
        """Never raises. An error of the double itself fails the job as an InternalServerError; its trace is on standard error."""
        try:
            self._finish(self._end())
        except Dropped:
            self._run.kill()
        except Exception as error:
            traceback.print_exc()
            self._run.kill()
            self._record(_error_of_double(error), message=None)
        finally:
            self._slot.free()
            self._run.remove()
            self.ended.set()

    def _end(self) -> JobEnded:
        """Runs the job, and returns how it ended."""
        try:
            self.context.send_event()
            self._run_stages()
        except JobEnded as end:
            return end

    def _run_stages(self) -> NoReturn:
        while True:
            try:
                provision(self.context)
                self._slot.take()
                self._run.prepare()
                self._run.run()
            except Interrupted:
                self._slot.free()
                self._run.remove()
                self.job.enter("Interrupted")
                self.context.pause(self.context.settings.interrupted)
                self._run = Run(self.context)
                self.job.enter("Starting")

    def _finish(self, end: JobEnded) -> None:
        """Writes the last lines of the logs first, then the status, then sends the event."""
        self._run.close_streams()
        message = None
        try:
            message = None if self.job.training else self._run.exit_message()
        except UnicodeDecodeError:
            end = JobEnded("Failed", reason="ClientError: /opt/ml/output/message is not UTF-8 encoded.")
        self._slot.free()
        self._record(end, message)
        self.context.send_event()

    def _record(self, end: JobEnded, message: str | None) -> None:
        job = self.job
        with job.lock:
            job.exits = [container.exit_code for container in self._run.containers]
            job.failure_reason, job.exit_message, job.ended = end.reason, message, time.time()
            job.enter(end.secondary or end.status, status=end.status)

    def drop(self) -> None:
        """Ends the job without any trace, in whatever state it is."""
        self.job.dropped.set()
        self.job.wake.set()
        for container in self._run.containers:
            container.signal(signal.SIGKILL)


def _error_of_double(error: Exception) -> JobEnded:
    return JobEnded("Failed", reason=f"InternalServerError: {error!r} in the double")
