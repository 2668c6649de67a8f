"""The containers of a job, from Downloading to their end: their files, what ends them, and what they leave."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

from boto3.exceptions import S3UploadFailedError

from . import layout
from .containers import Container, end_all
from .context import INTERNAL, Interrupted, JobContext, JobEnded
from .faults import Fault
from .jobs import REASON_LIMIT
from .logs import Stream
from .transfers import NoObjects

NO_OBJECTS = (
    'ClientError: No S3 objects found under S3 URL "{}" given in input data source. Please ensure that the bucket exists '
    'in the selected region ({}), that objects exist under that S3 prefix, and that the role "{}" has "s3:ListBucket" '
    "permissions on bucket."
)
RUNNING_FAULTS = ("spot_interruption", "console_stop", "out_of_memory", "internal")


class Run:
    """The containers of one start of a job, one per host. A spot interruption makes another."""

    def __init__(self, context: JobContext) -> None:
        self.context, self.job, self.settings = context, context.job, context.settings
        self.containers: list[Container] = []
        self._uploads: list[layout.Uploads] = []
        self._streams: list[Stream] = []
        self._faults: list[Fault] = []
        self._due_fault: Fault | None = None

    # Downloading

    def prepare(self) -> None:
        self.job.enter("Downloading")
        transfers = self.context.platform.transfers
        for index, host in enumerate(layout.hosts(self.job)):
            container = self._container(host)
            self.containers.append(container)
            self._uploads.append(layout.Uploads(self.job, container, transfers))
            layout.configure(self.job, container, host)
            try:
                layout.download(self.job, container, index, transfers)
            except NoObjects as error:
                words = NO_OBJECTS.format(error, self.settings.region, self.job.request["RoleArn"])
                raise JobEnded("Failed", reason=words) from error
            except transfers.s3.exceptions.ClientError as error:
                raise JobEnded("Failed", reason=f"ClientError: Data download failed: {error}") from error
        self.context.pause(0)

    def _container(self, host: str) -> Container:
        job, settings, platform = self.job, self.settings, self.context.platform
        folder = tempfile.mkdtemp(prefix=f"{job.name}-{host}-", dir=platform.folder)
        base = Path(folder) / "opt-ml"
        base.mkdir()
        variables = layout.platform_environment(job, settings, platform.address, Path(folder))
        suffix = f"{int(time.time() * 1000) % 10**10:010d}{random.randrange(1000):03d}"
        stream = platform.logs.open(job.name, job.log_group, f"{job.name}/{host}-{suffix}")
        self._streams.append(stream)
        return Container(
            base,
            layout.command(job, base, settings.image_entrypoint),
            layout.environment(job, base, settings.base_variable, variables),
            settings.working_directory,
            partial(self._take_line, stream),
            job.wake.set,
        )

    def _take_line(self, stream: Stream, line: str) -> None:
        stream.add(line)
        self.job.take_line(line)
        with self.job.lock:
            for fault in [each for each in self._faults if each.on_log and each.on_log in line]:
                if self._due_fault is None:
                    self._faults.remove(fault)
                    if self.context.platform.faults.strike(fault):
                        self._due_fault = fault
                        self.job.wake.set()

    # Training, Processing

    def run(self) -> NoReturn:
        """Until the containers have ended, or something ends them. Always raises `JobEnded`, `Interrupted` or `Dropped`."""
        job = self.job
        kinds = (
            RUNNING_FAULTS if job.spot else [kind for kind in RUNNING_FAULTS if kind != "spot_interruption"]
        )
        self._faults = self.context.platform.faults.running(kinds, job.name)
        job.enter("Training")
        with job.lock:
            job.started = job.started or time.time()
            job.starts += 1
        for container in self.containers:
            container.start()
        job.pids = [container.pid for container in self.containers if container.pid]
        self._watch()
        self._end()

    def _watch(self) -> None:
        """Returns when all containers have ended by themselves."""
        began = time.monotonic()
        runtime_ends = began + self.job.limit("MaxRuntimeInSeconds", 86400) * self.settings.limit_scale
        wait_ends = self.context.wait_ends if self.job.spot else runtime_ends
        next_sync = began + self.settings.sync_interval
        while any(container.running for container in self.containers):
            timed = [began + fault.after for fault in list(self._faults) if not fault.on_log]
            self._sleep_until(min(runtime_ends, wait_ends, next_sync, *timed))
            self.context.check_dropped()
            self._apply_due_fault(time.monotonic() - began)
            self._check_ends(runtime_ends, wait_ends)
            if time.monotonic() >= next_sync:
                self._sync()
                next_sync = time.monotonic() + self.settings.sync_interval
            if any(container.exit_code for container in self.containers):
                self.kill()  # one host failed: the others are ended

    def _sleep_until(self, due: float) -> None:
        self.job.wake.wait(timeout=max(due - time.monotonic(), 0))
        self.job.wake.clear()

    def _apply_due_fault(self, seconds: float) -> None:
        with self.job.lock:
            for fault in [each for each in self._faults if not each.on_log and each.after <= seconds]:
                if self._due_fault is None:
                    self._faults.remove(fault)
                    if self.context.platform.faults.strike(fault):
                        self._due_fault = fault
            fault, self._due_fault = self._due_fault, None
        if fault is not None:
            self._apply(fault)

    def _apply(self, fault: Fault) -> None:
        if fault.kind == "console_stop":
            self.job.request_stop()
            return
        if fault.kind == "spot_interruption":
            end_all(self.containers, self.settings.grace, self.job.wake)
            self._sync()
            self.close_streams()
            raise Interrupted
        self.kill()
        if fault.kind == "internal":
            raise JobEnded("Failed", reason=INTERNAL)

    def _check_ends(self, runtime_ends: float, wait_ends: float) -> None:
        now = time.monotonic()
        if self.job.stop_requested:
            self._stop(JobEnded("Stopped"))
        if now >= runtime_ends:
            self._stop(JobEnded("Stopped", "MaxRuntimeExceeded"))
        if now >= wait_ends:
            self._stop(JobEnded("Stopped", "MaxWaitTimeExceeded"))

    def _stop(self, end: JobEnded) -> NoReturn:
        if end.secondary:
            self.job.enter("Stopping", status="Stopping")
        self.context.send_event()
        end_all(self.containers, self.settings.grace, self.job.wake)
        self.context.wait_for_slow_stop()
        self._upload(failed=False)
        raise end

    def _end(self) -> NoReturn:
        self.context.check_dropped()
        if self.job.stop_requested:  # while the containers were ending by themselves
            self._stop(JobEnded("Stopped"))
        code = next((container.exit_code for container in self.containers if container.exit_code), 0)
        self._upload(failed=bool(code))
        raise JobEnded(
            "Failed" if code else "Completed", reason=self._algorithm_error(code) if code else None
        )

    def _algorithm_error(self, code: int) -> str:
        """Training shows the text of output/failure. Processing's text is the ExitMessage."""
        if not self.job.training and self.settings.failure_wording == "old":
            return "AlgorithmError: See job logs for more information"
        texts = [
            container.read("/opt/ml/output/failure") for container in self.containers if self.job.training
        ]
        text = next((each.decode(errors="replace") for each in texts if each), "")
        head, tail = "AlgorithmError: ", f", exit code: {code}"
        return head + text[: REASON_LIMIT - len(head + tail)] + tail

    # The end

    def kill(self) -> None:
        """Sends SIGKILL to all, and returns when they have ended."""
        for container in self.containers:
            container.signal(signal.SIGKILL)
        while any(container.running and container.pid for container in self.containers):
            self.job.wake.wait(timeout=0.05)
            self.job.wake.clear()

    def _sync(self) -> None:
        for uploads in self._uploads:
            uploads.sync(running=any(container.running for container in self.containers))

    def _upload(self, *, failed: bool) -> None:
        if self.job.training and self.job.status == "InProgress":
            self.job.enter("Uploading")
        try:
            for uploads in self._uploads:
                uploads.finish(failed)
        except S3UploadFailedError as error:
            raise JobEnded("Failed", reason=f"ClientError: Artifact upload failed: {error}") from error

    def close_streams(self) -> None:
        for stream in self._streams:
            stream.close()

    def exit_message(self) -> str | None:
        """Of Processing only: the first 1,024 bytes. Raises `UnicodeDecodeError` if the text is not UTF-8."""
        texts = [container.read("/opt/ml/output/message") for container in self.containers]
        message = b"".join(text for text in texts if text)
        message.decode()
        return message[:REASON_LIMIT].decode(errors="ignore") or None

    def remove(self) -> None:
        for container in self.containers:
            container.remove()
