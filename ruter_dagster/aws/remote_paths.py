"""Finds settings with a path of this machine, which a job on another machine cannot read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_FILES = {
    "RUTER_OPERATOR": "an s3:// address, or an absolute path in the jobs' image",
    "RUTER_WAREHOUSE_FILE": "an s3:// address, or an absolute path in the jobs' image",
    "RUTER_KAFKA_SSL_CA_LOCATION": "an absolute path in the jobs' image",
}


def remote_path_faults(variables: Mapping[str, str]) -> list[str]:
    """One line for each path that a remote job cannot read; none if AWS is simulated on this machine, where jobs run here too."""
    if urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname in _LOOPBACK:
        return []
    faults = [
        f"  {name}={variables[name]} is relative to the folder of this process, and a remote job has another one: set {allowed}"
        for name, allowed in _FILES.items()
        if _is_relative(variables.get(name, ""))
    ]
    mlflow = variables.get("RUTER_MLFLOW_TRACKING_URI", "")
    for name in ("RUTER_TIDES_PATH", "RUTER_GTFS_PATH"):
        path = variables.get(name, "")
        if path and not path.startswith("s3://"):
            faults.append(
                f"  {name}={path} is a folder of this machine, which remote jobs cannot read: copy it to S3, and set "
                "its s3:// prefix"
            )
    if mlflow.startswith("sqlite:"):
        faults.append(
            f"  RUTER_MLFLOW_TRACKING_URI={mlflow} is a file of this machine, and a job's container loses its files: "
            "set the address of a server (http(s)://…), or the ARN of SageMaker's MLflow"
        )
    return faults


def _is_relative(value: str) -> bool:
    """Whether the value is a relative path. A name without folder and ending is an operator of the package, not a path."""
    is_file = "/" in value or "." in value
    return is_file and not value.startswith(("/", "s3://"))
