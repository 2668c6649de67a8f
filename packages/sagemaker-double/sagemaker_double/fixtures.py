"""Fixtures for tests against the double of AWS. pytest loads them by the entry point of the installed package."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from .control import Remote
from .process import aws_environment, double_process
from .settings import Settings

__all__ = ["aws", "sagemaker_double", "sagemaker_double_process", "sagemaker_double_settings"]


@pytest.fixture(scope="session")
def sagemaker_double_settings() -> dict[str, Any]:
    """Settings of the double. Override the fixture in `conftest.py` to change them for all tests."""
    return {}


@pytest.fixture(scope="session")
def sagemaker_double_process(sagemaker_double_settings: dict[str, Any]) -> Iterator[Remote]:
    """The process of the double, one per session. It outlives any process that a test kills."""
    with double_process(**sagemaker_double_settings) as remote:
        yield remote


@pytest.fixture
def sagemaker_double(
    sagemaker_double_process: Remote,
    sagemaker_double_settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Remote]:
    """The double, reset before and after each test. boto3's variables point to it."""
    sagemaker_double_process.reset()
    region = sagemaker_double_settings.get("region", Settings.region)
    for name, value in aws_environment(sagemaker_double_process.url, region).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    yield sagemaker_double_process
    sagemaker_double_process.reset()


@cache
def _session() -> Any:
    """One for all tests, because it reads the services' models once. Its clients read their address from the variables."""
    import boto3

    return boto3.Session()


@pytest.fixture
def aws(sagemaker_double: Remote) -> Any:
    """`aws("s3")`: a boto3 client of the double."""
    return _session().client
