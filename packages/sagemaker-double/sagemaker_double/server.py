"""The double as a whole: moto, the layer before it and the jobs, behind one HTTP address."""

from __future__ import annotations

import copy
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import ThreadedWSGIServer

from .api import JobCalls
from .application import OWN_CREDENTIAL, Answer, Application, Service, answer
from .athena import Athena
from .calls import Calls
from .context import Platform
from .control import Control
from .events import send_object_events
from .execution import Execution
from .faults import Faults
from .glue import GlueTables
from .jobs import Job
from .logs import LogShipper
from .queries import Warehouse
from .settings import Settings
from .transfers import Transfers

END_OF_JOBS = 20.0
"""Seconds that a reset waits for containers, which it kills."""
RESETS = 5


class JobService:
    """SageMaker's job calls as a service of the application."""

    def __init__(self, calls: JobCalls) -> None:
        self._calls = calls

    def owns(self, operation: str, request: dict[str, Any]) -> bool:
        return self._calls.owns(operation, request)

    def answer(self, operation: str, request: dict[str, Any], onward: Any) -> Answer:
        return answer(self._calls.call(operation, request))


class Server(ThreadedWSGIServer):
    """One thread per connection."""

    request_queue_size = (
        1024  # Busy machines accept late: a full queue costs clients seconds, or refuses them.
    )
    daemon_threads = True


class QuietHandler(MotoRequestHandler):
    timeout = 120  # A client that sends no complete request is cut off.

    def log(self, type: str, message: str, *args: Any) -> None:
        pass

    def log_error(self, format: str, *args: Any) -> None:
        pass


class Double:
    """`start` serves in a thread; `url` is then its address. `stop` ends the containers too."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1", **settings: Any) -> None:
        self.settings, self.faults, self.calls = Settings(), Faults(), Calls()
        self.settings.update(settings)
        self._start_settings = copy.deepcopy(vars(self.settings))
        self.folder = Path(tempfile.mkdtemp(prefix="sagemaker-double-"))
        self.executions: dict[str, Execution] = {}
        self.jobs = JobCalls(self.settings, self.faults, self._launch)
        self.logs = LogShipper(self.settings, self.faults)
        send_object_events(self.settings, self.faults)
        services: dict[str, Service] = {"sagemaker": JobService(self.jobs), "glue": GlueTables(self.settings)}
        moto, control = DomainDispatcherApplication(create_backend_app), Control(self)
        application = Application(moto, self.settings, self.faults, self.calls, services, control)
        self._server = Server(host, port, application, QuietHandler)
        self.url = f"http://{host}:{self._server.server_port}"
        transfers = Transfers(self._s3())
        services["athena"] = self.athena = Athena(
            self.settings, self.faults, Warehouse(transfers, self.settings.region)
        )
        self._platform = Platform(
            self.settings, self.faults, transfers, self.logs, self.url, self.folder, threading.Condition()
        )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._resets, self._launches = threading.Lock(), threading.Lock()
        self._stopped = False

    def start(self) -> Double:
        self._thread.start()
        return self

    @property
    def serving(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._stopped = True
        self.end_jobs()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.logs.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def end_jobs(self) -> None:
        """Kills every container, and forgets the jobs."""
        with self._launches:
            running = list(self.executions.values())
            self.executions.clear()
            self.jobs.jobs.clear()
        for execution in running:
            execution.drop()
        due = time.monotonic() + END_OF_JOBS
        for execution in running:
            execution.ended.wait(timeout=max(due - time.monotonic(), 0))

    def reset(self) -> None:
        """As at the start: no jobs, faults and counted calls, the settings of the start, and an empty moto."""
        with self._resets:
            self.faults.clear()
            self.end_jobs()
            self.logs.clear()
            self.calls.clear()
            self.athena.clear()
            self.settings.update(copy.deepcopy(self._start_settings))
            _reset_moto()

    def _launch(self, job: Job) -> None:
        """Runs the job, unless a reset has forgotten it since its Create."""
        with self._launches:
            if self._stopped or self.jobs.jobs.get(job.arn) is not job:
                return
            execution = self.executions[job.arn] = Execution(self._platform, job)
        threading.Thread(target=execution.run, name=job.name, daemon=True).start()

    def _s3(self) -> Any:
        return boto3.Session().client(
            "s3",
            region_name=self.settings.region,
            endpoint_url=self.url,
            aws_access_key_id=OWN_CREDENTIAL,
            aws_secret_access_key="none",
            config=Config(max_pool_connections=64, proxies={}, s3={"addressing_style": "path"}),
        )


def _reset_moto() -> None:
    """Tries again if a call of another thread changes moto's state meanwhile."""
    for _ in range(RESETS):
        with suppress(RuntimeError):
            moto_api_backend.reset()
            return
        time.sleep(0.05)
    moto_api_backend.reset()


def serve(double: Double, *, owner_on_stdin: bool = False) -> None:
    """Serves until a signal, or until standard input ends, which its owner holds open. Exits with 1 if the server fails."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    signal.signal(
        signal.SIGCHLD, signal.SIG_DFL
    )  # inherited as ignored, it would hide exit codes of containers
    if owner_on_stdin:
        threading.Thread(target=lambda: (os.read(0, 1), ended.set()), daemon=True).start()
    double.start()
    try:
        print(double.url, flush=True)
        while not ended.wait(timeout=1.0):
            if not double.serving:
                sys.exit("the HTTP server of the double has ended")
    finally:
        double.stop()
