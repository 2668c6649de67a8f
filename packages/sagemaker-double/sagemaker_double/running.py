"""A job's containers, from Downloading to their end: what they are given, what ends them, what they leave."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from pathlib import Path

from . import layout
from .containers import Container, end_all
from .faults import Fault
from .life import INTERNAL, Ended, Interrupted, Life
from .logs import Stream
from .transfers import NothingThere

NOTHING_THERE = (
    'ClientError: No S3 objects found under S3 URL "{}" given in input data source. Please ensure that the bucket exists '
    'in the selected region ({}), that objects exist under that S3 prefix, and that the role "{}" has "s3:ListBucket" '
    "permissions on bucket."
)
RUNNING_FAULTS = ("spot_interruption", "console_stop", "out_of_memory", "internal")
REASON_LIMIT = 1024


class Run:
    """The containers of one start of a job, one a host. A spot interruption makes another."""

    def __init__(self, life: Life) -> None:
        self.life, self.job, self.settings = life, life.job, life.settings
        self.containers: list[Container] = []
        self._uploads: list[layout.Uploads] = []
        self._streams: list[Stream] = []
        self._armed: list[Fault] = []
        self._tripped: Fault | None = None

    # Downloading

    def prepare(self) -> None:
        self.job.enter("Downloading")
        transfers = self.life.platform.transfers
        for index, host in enumerate(layout.hosts(self.job)):
            container = self._container(host)
            self.containers.append(container)
            self._uploads.append(layout.Uploads(self.job, container, transfers))
            layout.configure(self.job, container, host)
            try:
                layout.download(self.job, container, index, transfers)
            except NothingThere as nothing:
                words = NOTHING_THERE.format(nothing, self.settings.region, self.job.request["RoleArn"])
                raise Ended("Failed", reason=words) from nothing
            except transfers.s3.exceptions.ClientError as error:
                raise Ended("Failed", reason=f"ClientError: Data download failed: {error}") from error
        self.life.pause(0)

    def _container(self, host: str) -> Container:
        job, settings, platform = self.job, self.settings, self.life.platform
        folder = tempfile.mkdtemp(prefix=f"{job.name}-{host}-", dir=platform.folder)
        base = Path(folder) / "opt-ml"
        base.mkdir()
        given = layout.platform_environment(job, settings, platform.address, Path(folder))
        suffix = f"{int(time.time() * 1000) % 10**10:010d}{random.randrange(1000):03d}"
        stream = platform.logs.open(job.name, job.log_group, f"{job.name}/{host}-{suffix}")
        self._streams.append(stream)
        return Container(
            base,
            layout.command(job, settings.image_entrypoint),
            layout.environment(job, base, settings.base_variable, given),
            settings.working_directory,
            lambda line: self._heard(stream, line),
            job.wake.set,
        )

    def _heard(self, stream: Stream, line: str) -> None:
        stream.add(line)
        for fault in self._armed:
            if fault.on_log and fault.on_log in line and self._tripped is None:
                self._tripped = fault
                self.job.wake.set()

    # Training, Processing

    def run(self) -> None:
        """Until the containers have ended, or something ends them; always leaves by `Ended` or `Interrupted`."""
        job = self.job
        taken = (self.life.fault(kind, starting=False) for kind in RUNNING_FAULTS)
        self._armed = [fault for fault in taken if fault]
        job.enter("Training")
        with job.lock:
            job.started = job.started or time.time()
            job.starts += 1
        for container in self.containers:
            container.start()
        job.pids = [container.pid for container in self.containers if container.pid]
        self._watch()
        self._exited()

    def _watch(self) -> None:
        job, began = self.job, time.monotonic()
        runtime_ends = began + job.limit("MaxRuntimeInSeconds", 86400) * self.settings.limit_scale
        wait_ends = self.life.wait_ends if job.spot else runtime_ends
        next_sync = began + self.settings.sync_interval
        timed = [(began + fault.after, fault) for fault in self._armed if not fault.on_log]
        while any(container.running for container in self.containers):
            due = min(runtime_ends, wait_ends, next_sync, *(at for at, _ in timed))
            job.wake.wait(timeout=max(due - time.monotonic(), 0))
            job.wake.clear()
            now = time.monotonic()
            if fault := self._tripped or next((each for at, each in timed if at <= now), None):
                timed = [(at, each) for at, each in timed if each is not fault]
                self._armed.remove(fault)
                self._tripped = None
                self._strike(fault)
            if job.stop_asked:
                self._stop(Ended("Stopped"))
            if now >= runtime_ends:
                self._stop(Ended("Stopped", "MaxRuntimeExceeded"))
            if now >= wait_ends:
                self._stop(Ended("Stopped", "MaxWaitTimeExceeded"))
            if now >= next_sync:
                self._sync()
                next_sync = time.monotonic() + self.settings.sync_interval
            if any(container.exit_code for container in self.containers):
                self.kill()  # one host failed: the others are ended

    def _strike(self, fault: Fault) -> None:
        if fault.kind == "console_stop":
            self.life.ask_stop()
            return
        if fault.kind == "spot_interruption":
            end_all(self.containers, self.settings.grace, self.job.wake)
            self._sync()
            self.close_streams()
            raise Interrupted
        self.kill()
        if fault.kind == "internal":
            raise Ended("Failed", reason=INTERNAL)

    def _stop(self, ended: Ended) -> None:
        if ended.secondary:
            self.job.enter("Stopping", status="Stopping")
        self.life.tell()
        end_all(self.containers, self.settings.grace, self.job.wake)
        self.life.linger()
        self._upload(failed=False)
        raise ended

    def _exited(self) -> None:
        if self.job.stop_asked:  # asked while the containers were ending by themselves
            self._stop(Ended("Stopped"))
        code = next((container.exit_code for container in self.containers if container.exit_code), 0)
        self._upload(failed=bool(code))
        raise Ended("Failed" if code else "Completed", reason=self._algorithm_error(code) if code else None)

    def _algorithm_error(self, code: int) -> str:
        """Training tells the text of output/failure; Processing's text is the ExitMessage."""
        texts = [
            container.read("/opt/ml/output/failure") for container in self.containers if self.job.training
        ]
        text = next((each.decode(errors="replace") for each in texts if each), "")
        head, tail = "AlgorithmError: ", f", exit code: {code}"
        return head + text[: REASON_LIMIT - len(head + tail)] + tail

    # The end

    def kill(self) -> None:
        """SIGKILL to all; returns when they have ended."""
        for container in self.containers:
            container.signal(signal.SIGKILL)
        while any(container.running and container.pid for container in self.containers):
            self.job.wake.wait(timeout=0.05)
            self.job.wake.clear()

    def _sync(self) -> None:
        for uploads in self._uploads:
            uploads.sync()

    def _upload(self, *, failed: bool) -> None:
        if self.job.training and self.job.status == "InProgress":
            self.job.enter("Uploading")
        for uploads in self._uploads:
            uploads.finish(failed)

    def close_streams(self) -> None:
        for stream in self._streams:
            stream.closed = True
            stream.flush()

    def exit_message(self) -> str | None:
        """Of Processing only: the first 1,024 bytes. A `UnicodeDecodeError` if the text is no UTF-8."""
        texts = [container.read("/opt/ml/output/message") for container in self.containers]
        message = b"".join(text for text in texts if text)
        message.decode()
        return message[:REASON_LIMIT].decode(errors="ignore") or None

    def remove(self) -> None:
        for container in self.containers:
            container.remove()
