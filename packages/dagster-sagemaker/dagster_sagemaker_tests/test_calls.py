"""Errors of botocore, sorted by whether the same call may fare better later."""

from __future__ import annotations

from itertools import pairwise

import boto3
import pytest
from botocore import exceptions
from botocore.config import Config
from dagster import RetryPolicy

from dagster_sagemaker import PipesSageMakerProcessingClient
from dagster_sagemaker.calls import Calls, Refused, Transient, call_error
from dagster_sagemaker_tests.conftest import messages
from dagster_sagemaker_tests.fake_aws import completes, refusal

UNREACHABLE = exceptions.EndpointConnectionError(
    endpoint_url="https://api.sagemaker.eu-north-1.amazonaws.com"
)


@pytest.mark.parametrize(
    "error",
    [
        UNREACHABLE,
        exceptions.ConnectTimeoutError(endpoint_url="https://x"),
        exceptions.ReadTimeoutError(endpoint_url="https://x"),
        exceptions.ConnectionClosedError(endpoint_url="https://x"),
        exceptions.ProxyConnectionError(proxy_url="http://x", error="refused"),
        exceptions.SSLError(endpoint_url="https://x", error="certificate"),
        exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        exceptions.ResponseStreamingError(error="cut"),
        exceptions.CredentialRetrievalError(provider="sso", error_msg="x"),
        exceptions.MetadataRetrievalError(error_msg="timed out"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_unanswered_call_is_transient(error):
    assert isinstance(call_error("Describe", error), Transient)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.NoRegionError(),
        exceptions.NoCredentialsError(),
        exceptions.ParamValidationError(report="x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_impossible_call_is_refused(error):
    assert isinstance(call_error("Describe", error), Refused)


def test_refused_connection_is_transient():
    client = boto3.client(
        "sagemaker",
        region_name="eu-north-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(Transient, match="EndpointConnectionError"):
        Calls()(client.describe_training_job, TrainingJobName="x")


@pytest.mark.parametrize(("call", "before"), [("create", 0), ("put", 0), ("get", 20), ("describe", 2)])
def test_network_outage_of_a_minute_only_delays(runner, call, before):
    runner.aws.faults = {call: [None] * before + [UNREACHABLE] * 6}
    runner.aws.scripts = [completes(run=300)]
    assert runner.run().success
    assert len(runner.aws.jobs) == 1


@pytest.fixture
def nowhere(monkeypatch):
    """A process that no region was given."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)


def test_step_without_a_region_fails_and_names_the_variable(runner, nowhere):
    failed = runner.failure(sagemaker=None, retry_policy=RetryPolicy(max_retries=2))
    assert not failed.allow_retries
    assert "AWS_REGION" in failed.description
    assert "sagemaker=boto3.client('sagemaker', region_name=…)" in failed.description


def test_default_session_of_the_user_is_used(nowhere, monkeypatch):
    monkeypatch.setattr("boto3.DEFAULT_SESSION", boto3.Session(region_name="eu-west-1"))
    client = PipesSageMakerProcessingClient("s3://bucket/artifacts")
    assert client._settings.sagemaker.meta.region_name == "eu-west-1"


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_region_comes_from_the_environment(nowhere, monkeypatch, variable):
    monkeypatch.setenv(variable, "eu-north-1")
    settings = PipesSageMakerProcessingClient("s3://bucket/artifacts")._settings
    assert {client.meta.region_name for client in (settings.sagemaker, settings.s3, settings.logs)} == {
        "eu-north-1"
    }


IN_USE = refusal("ResourceInUse", "Job name must be unique")
UNKNOWN = refusal("ValidationException", "Could not find requested job with name: x")


def test_name_in_use_without_a_job_is_polled_with_backoff(runner):
    runner.aws.faults = {"create": [IN_USE] * 8, "describe": [UNKNOWN] * 8}
    runner.aws.scripts = [completes()]
    result = runner.run()
    assert result.success
    creates = [time for time, call in runner.aws.log if call == "create"]
    pauses = [later - earlier for earlier, later in pairwise(creates)]
    assert all(later > 1.5 * earlier for earlier, later in pairwise(pauses[:6]))
    assert pauses[0] >= 0.5 and pauses[-1] >= 30
    assert "Could not find requested job" in messages(result, runner.instance)


def test_name_in_use_without_a_job_fails_the_step_retryably(runner):
    runner.aws.faults = {"create": [IN_USE] * 10_000, "describe": [UNKNOWN] * 10_000}
    failed = runner.failure()
    assert failed.allow_retries
    assert "A job of this name may be running; a retry adopts it." in failed.description
    assert runner.aws.calls["create"] < 100
