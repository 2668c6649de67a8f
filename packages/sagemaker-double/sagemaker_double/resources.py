"""Names the resources of a call by their ARNs, as AWS checks them against policies."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from .settings import ACCOUNT


def resources_of(service: str, name: str, request: dict[str, Any], path: str, region: str) -> list[str]:
    """ARNs of the resources that a call names; empty for a call that names none, or of another service.

    `path` is that of the request's address. A role that a call gives to a service is one of the resources.
    """
    here = f"{region}:{ACCOUNT}"
    if service == "s3":
        bucket, _, key = unquote(path).strip("/").partition("/")
        if keys := request.get("Keys"):
            return [f"arn:aws:s3:::{bucket}/{each}" for each in keys]
        return [f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"]
    if service == "glue":
        return [f"arn:aws:glue:{here}:{part}" for part in _glue_parts(request)]
    if service == "sagemaker":
        kind, job = _job(request)
        roles = [request["RoleArn"]] if "RoleArn" in request else []
        return [f"arn:aws:sagemaker:{here}:{kind}/{job}", *roles] if job else []
    if service == "logs" and "logGroupName" in request:
        stream = request.get("logStreamName")
        group = f"arn:aws:logs:{here}:log-group:{request['logGroupName']}"
        return [f"{group}:log-stream:{stream}" if stream else group]
    if service == "sqs" and "QueueUrl" in request:
        return [f"arn:aws:sqs:{here}:{request['QueueUrl'].rsplit('/', 1)[-1]}"]
    if service == "secretsmanager" and "SecretId" in request:
        secret = request["SecretId"]
        # AWS appends six characters to each name.
        return [
            secret if secret.startswith("arn:") else f"arn:aws:secretsmanager:{here}:secret:{secret}-a1b2c3"
        ]
    if service == "athena" and name == "StartQueryExecution":
        return [f"arn:aws:athena:{here}:workgroup/{request.get('WorkGroup', 'primary')}"]
    return []


def _glue_parts(request: dict[str, Any]) -> list[str]:
    database = (
        request.get("DatabaseName") or request.get("Name") or request.get("DatabaseInput", {}).get("Name")
    )
    table = request.get("TableInput", {}).get("Name") or (
        request.get("Name") if "DatabaseName" in request else None
    )
    parts = ["catalog", f"database/{database}"]
    return [*parts, f"table/{database}/{table}"] if table else parts


def _job(request: dict[str, Any]) -> tuple[str, str]:
    """Kind and name of the job; empty for a call that names none."""
    for kind in ("Processing", "Training"):
        if name := request.get(f"{kind}JobName"):
            return f"{kind.lower()}-job", name
    arn = request.get("ResourceArn", "")
    kind, _, name = arn.rsplit(":", 1)[-1].partition("/")
    return kind, name
