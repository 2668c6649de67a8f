"""The server of Terraform's tests, with SageMaker jobs that run as processes: `python -m tests.sandbox.server`."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from werkzeug.serving import make_server

from ruter_dagster.contracts.container import BASE_VARIABLE
from sagemaker_double.server import Double
from tests.sandbox.moto_patches import patch_all
from tests.terraform.moto_shim import REGION, Shim


class JobsOnDouble:
    """Sends the calls on jobs to the double of SageMaker, all others to the shim. Both share the rest of AWS."""

    def __init__(self) -> None:
        self.double = Double(region=REGION, base_variable=BASE_VARIABLE)
        self.shim = Shim()
        patch_all()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        service, _, operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
        of_jobs = service == "SageMaker" and operation.endswith(("ProcessingJob", "TrainingJob", "Jobs"))
        if of_jobs and operation in self.double.jobs.operations:
            return self.double._server.app(environ, start_response)
        return self.shim(environ, start_response)


def main() -> None:
    """Serves on a free port until it is killed. The first line on standard output is the address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = JobsOnDouble()
    application.double.start()
    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    finally:
        application.double.stop()


if __name__ == "__main__":
    main()
