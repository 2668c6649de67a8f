"""Starts the double in a process of its own, and names the variables that point to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .containers import kill_processes
from .control import Remote
from .settings import Settings

ROLE = "arn:aws:iam::123456789012:role/jobs"
LAST_LINES = 40
END = 30.0
"""Seconds that the double has to end its containers and itself."""


def aws_environment(url: str, region: str = Settings.region) -> dict[str, str]:
    """The variables that point boto3, polars and every other reader of AWS's variables to the double of this region."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_S3_ALLOW_UNSAFE_RENAME": "true",
        "AWS_ALLOW_HTTP": "true",
    }


@contextmanager
def double_process(**settings: Any) -> Iterator[Remote]:
    """The double in a process of its own, which outlives any process that a test kills.

    It ends with this process, even if that is killed. If the double ends too early, its last words are printed, the main
    thread gets a KeyboardInterrupt, and each further call of `Remote` raises `DoubleUnavailable` with them. Its containers are
    killed, and their folders are removed.
    """
    process = _DoubleProcess(settings)
    try:
        yield Remote(process.url(), process.last_words)
    finally:
        process.end()


class _DoubleProcess:
    def __init__(self, settings: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "sagemaker_double", "--port", "0", "--owner-on-stdin"]
        for name, value in settings.items():
            command += ["--set", f"{name}={json.dumps(value)}"]
        self._process = subprocess.Popen(
            command,
            env=_own_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # signals to the group of the tests are not for the double
        )
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._folder: Path | None = None
        self._started = self._ending = False
        self._watcher = threading.Thread(target=self._watch, args=[self._process.stderr], daemon=True)
        self._watcher.start()

    def url(self) -> str:
        """The address, as soon as the double serves. Raises `RuntimeError` if it does not start."""
        assert self._process.stdout is not None
        url = self._process.stdout.readline().strip()
        if not url:
            self._watcher.join(timeout=END)
            raise RuntimeError(f"the double did not start. {self.last_words()}")
        self._folder = Path(Remote(url, self.last_words).ask("GET", "")["folder"])
        self._started = True
        return url

    def _watch(self, errors: IO[str]) -> None:
        """Passes on what the double writes to standard error. The end of that is the end of the double."""
        for line in errors:
            self._lines.append(line)
            with suppress(Exception):  # pytest may have closed its file
                sys.stderr.write(line)
        self._process.wait()
        if self._folder is not None and self._folder.exists():  # killed: the double removes it otherwise
            kill_processes(self._folder)
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._started and not self._ending:
            with suppress(Exception):
                sys.stderr.write(f"{self.last_words()}\n")
            # A real signal ends a sleep or a call, which `interrupt_main` does not.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def last_words(self) -> str:
        code = self._process.poll()
        state = "It is still running" if code is None else f"It ended with exit code {code}"
        return f"{state}; it last wrote: {''.join(self._lines) or 'nothing'}"

    def end(self) -> None:
        self._ending = True
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.terminate()
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(timeout=END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._watcher.join(timeout=END)
        process.stdout.close()


def _own_environment() -> dict[str, str]:
    """Without settings of AWS: the double needs none, and a profile that does not exist would stop it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return kept | nowhere | {"AWS_EC2_METADATA_DISABLED": "true"}
