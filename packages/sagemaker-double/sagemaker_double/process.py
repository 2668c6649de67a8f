"""Starts the double in a process of its own, and names the variables that point to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .control import Remote
from .settings import Settings

ROLE = "arn:aws:iam::123456789012:role/jobs"
ROOT = Path(__file__).parents[1]


def aws_environment(url: str) -> dict[str, str]:
    """The variables that point boto3, polars and every other reader of AWS's variables to the double."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": Settings.region,
        "AWS_REGION": Settings.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_S3_ALLOW_UNSAFE_RENAME": "true",
        "AWS_ALLOW_HTTP": "true",
    }


@contextmanager
def double_process(**settings: Any) -> Iterator[Remote]:
    """The double in a process of its own: it survives whoever is killed in the test."""
    command = [sys.executable, "-m", "sagemaker_double", "--port", "0", "--owner-on-stdin"]
    for name, value in settings.items():
        command += ["--set", f"{name}={json.dumps(value)}"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the double did not start: exit code {process.wait()}")
        yield Remote(url)
    finally:
        process.terminate()
        process.stdin.close()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
