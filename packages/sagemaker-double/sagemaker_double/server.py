"""The double as a whole: moto, the layer before it and the jobs, behind one HTTP address."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from .api import JobCalls
from .application import OWN_CREDENTIAL, Answer, Application, Service, answer
from .athena import Athena
from .calls import Calls
from .control import Control
from .events import tell_of_objects
from .execution import Execution
from .faults import Faults
from .glue import GlueTables
from .jobs import Job
from .life import Platform
from .logs import LogShipper
from .queries import Warehouse
from .settings import Settings
from .transfers import Transfers


class JobService:
    """SageMaker's job calls as a service of the application."""

    def __init__(self, calls: JobCalls) -> None:
        self._calls = calls

    def owns(self, operation: str, request: dict[str, Any]) -> bool:
        return self._calls.owns(operation, request)

    def answer(self, operation: str, request: dict[str, Any], onward: Any) -> Answer:
        return answer(self._calls.call(operation, request))


class QuietHandler(MotoRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        pass

    def log_error(self, format: str, *args: Any) -> None:
        pass


class Double:
    """`start` serves in a thread; `url` is then its address. `stop` ends the containers too."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1", **settings: Any) -> None:
        self.settings, self.faults, self.calls = Settings(), Faults(), Calls()
        self.settings.update(settings)
        self.folder = Path(tempfile.mkdtemp(prefix="sagemaker-double-"))
        self.executions: dict[str, Execution] = {}
        self.jobs = JobCalls(self.settings, self.faults, self._launch)
        self.logs = LogShipper(self.settings, self.faults)
        tell_of_objects(self.settings, self.faults)
        services: dict[str, Service] = {"sagemaker": JobService(self.jobs), "glue": GlueTables(self.settings)}
        moto, control = DomainDispatcherApplication(create_backend_app), Control(self)
        application = Application(moto, self.settings, self.faults, self.calls, services, control)
        self._server = make_server(host, port, application, threaded=True, request_handler=QuietHandler)
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        self.url = f"http://{host}:{self._server.server_port}"
        transfers = Transfers(self._s3())
        services["athena"] = self.athena = Athena(
            self.settings, self.faults, Warehouse(transfers, self.settings.region)
        )
        slots = threading.Condition()
        self._platform = Platform(
            self.settings, self.faults, transfers, self.logs, self.url, self.folder, slots
        )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def start(self) -> Double:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.end_jobs()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.logs.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def end_jobs(self) -> None:
        """Kills every container, and forgets the jobs."""
        running = list(self.executions.values())
        for execution in running:
            execution.shut_down()
        for execution in running:
            execution.ended.wait(timeout=5)
        self.executions.clear()
        self.jobs.jobs.clear()

    def reset(self) -> None:
        """As new: no jobs, faults, counted calls; moto empty."""
        from moto.moto_api._internal.models import moto_api_backend

        self.faults.clear()
        self.end_jobs()
        self.calls.clear()
        self.athena.clear()
        defaults = Settings(region=self.settings.region)
        self.settings.update(vars(defaults))
        moto_api_backend.reset()

    def _launch(self, job: Job) -> None:
        execution = self.executions[job.arn] = Execution(self._platform, job)
        threading.Thread(target=execution.run, name=job.name, daemon=True).start()

    def _s3(self) -> Any:
        return boto3.Session().client(
            "s3",
            region_name=self.settings.region,
            endpoint_url=self.url,
            aws_access_key_id=OWN_CREDENTIAL,
            aws_secret_access_key="none",
            config=Config(max_pool_connections=64, s3={"addressing_style": "path"}),
        )


def serve(double: Double, *, owner_on_stdin: bool = False) -> None:
    """Until the process is told to end, or its owner has ended and with it our standard input."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if owner_on_stdin:
        threading.Thread(target=lambda: (os.read(0, 1), ended.set()), daemon=True).start()
    double.start()
    print(double.url, flush=True)
    ended.wait()
    double.stop()
