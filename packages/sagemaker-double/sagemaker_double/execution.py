"""One job from Starting to its end, in a thread of its own; spot interruptions start it again."""

from __future__ import annotations

import signal
import threading
import time
import traceback

from .jobs import Job
from .life import Ended, Interrupted, Life, Platform
from .running import Run
from .starting import Slot, provision


class Execution:
    """`run` it in a thread; `ended` is set when nothing of it is left."""

    def __init__(self, platform: Platform, job: Job) -> None:
        self.life, self.job = Life(platform, job), job
        self.ended = threading.Event()
        self._run = Run(self.life)
        self._slot = Slot(self.life)

    def run(self) -> None:
        """Never raises: what goes wrong in the double itself is an InternalServerError, its trace on standard error."""
        try:
            self.life.tell()
            self._go_through()
        except Ended as ended:
            self._finish(ended)
        except Exception as error:
            traceback.print_exc()
            self._run.kill()
            self._finish(Ended("Failed", reason=f"InternalServerError: {error!r} in the double"))
        finally:
            self._slot.free()
            self._run.remove()
            self.ended.set()

    def _go_through(self) -> None:
        while True:
            try:
                provision(self.life)
                self._slot.take()
                self._run.prepare()
                self._run.run()
            except Interrupted:
                self._slot.free()
                self._run.remove()
                self.job.enter("Interrupted")
                self.life.pause(self.life.settings.interrupted)
                self._run = Run(self.life)
                self.job.enter("Starting")

    def _finish(self, ended: Ended) -> None:
        """All there is to tell first, the status last, the event after it."""
        job = self.job
        self._run.close_streams()
        message = None
        try:
            message = None if job.training else self._run.exit_message()
        except UnicodeDecodeError:
            ended = Ended("Failed", reason="ClientError: /opt/ml/output/message is not UTF-8 encoded.")
        self._slot.free()
        with job.lock:
            job.exits = [container.exit_code for container in self._run.containers]
            job.failure_reason, job.exit_message, job.ended = ended.reason, message, time.time()
            job.enter(ended.secondary or ended.status, status=ended.status)
        self.life.tell()

    def shut_down(self) -> None:
        """Ends the job of a double that goes away, whatever state it is in."""
        with self.job.lock:
            self.job.stop_asked = True
            self.job.wake.set()
        for container in self._run.containers:
            container.signal(signal.SIGKILL)
