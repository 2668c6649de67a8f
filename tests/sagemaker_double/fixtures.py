"""Fixtures for tests against the double: `from tests.sagemaker_double.fixtures import *` in a conftest or a test module."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from .control import Remote
from .settings import Settings

__all__ = ["aws", "sagemaker_double", "sagemaker_double_process"]

ROLE = "arn:aws:iam::123456789012:role/jobs"
ROOT = Path(__file__).parents[2]


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
    command = [sys.executable, "-m", "tests.sagemaker_double", "--port", "0", "--owner-on-stdin"]
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


@pytest.fixture(scope="session")
def sagemaker_double_process() -> Iterator[Remote]:
    with double_process() as remote:
        yield remote


@pytest.fixture
def sagemaker_double(
    sagemaker_double_process: Remote, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Remote]:
    """The double, empty, with boto3's variables set to it: one process a session, reset before each test."""
    sagemaker_double_process.reset()
    for name, value in aws_environment(sagemaker_double_process.url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    yield sagemaker_double_process
    sagemaker_double_process.reset()


@cache
def _session() -> Any:
    """One for all tests: it reads the services' models once. Where its clients point to, they ask of the variables."""
    import boto3

    return boto3.Session()


@pytest.fixture
def aws(sagemaker_double: Remote) -> Any:
    """`aws("s3")`: a boto3 client of the double."""
    return _session().client
