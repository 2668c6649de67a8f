"""Which settings name a place of this machine, where a job elsewhere finds nothing."""

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


def out_of_reach(variables: Mapping[str, str]) -> list[str]:
    """What a job elsewhere does not find, a line each; nothing where AWS is a double on this machine, whose jobs run here."""
    if urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname in _LOOPBACK:
        return []
    faults = [
        f"  {name}={variables[name]} is a path from this process's folder, and jobs elsewhere have another: name {instead}"
        for name, instead in _FILES.items()
        if _is_relative(variables.get(name, ""))
    ]
    mlflow = variables.get("RUTER_MLFLOW_TRACKING_URI", "")
    for name in ("RUTER_TIDES_PATH", "RUTER_GTFS_PATH"):
        place = variables.get(name, "")
        if place and not place.startswith("s3://"):
            faults.append(
                f"  {name}={place} is a folder of this machine, which jobs elsewhere do not see: copy it to S3, and name "
                "its s3:// prefix"
            )
    if mlflow.startswith("sqlite:"):
        faults.append(
            f"  RUTER_MLFLOW_TRACKING_URI={mlflow} is a file of this machine; in a job's container it would be lost with it: "
            "name a server (http(s)://…), or the ARN of SageMaker's MLflow"
        )
    return faults


def _is_relative(value: str) -> bool:
    """Whether a file is meant (an operator's bare name is one of the package's), and by a path that begins nowhere."""
    is_file = "/" in value or "." in value
    return is_file and not value.startswith(("/", "s3://"))
