"""The definition is what AWS's SDK would render, the whole chain in the order of the asset graph, and within SageMaker's limits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from pydantic import SecretStr

from ruter_dagster.commands.pipeline_definition import PIPELINES, pipeline_definition
from ruter_dagster.config.settings import Settings, SettingsError
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import JOBS
from ruter_dagster.orchestration.chain import RUNS
from ruter_dagster.resources.sagemaker.pipeline import render_pipeline, step_name
from tests.pipeline.example import DEFAULTS, MODEL, STEPS, VISITS

HERE = Path(__file__).parent
GOLDEN = HERE / "golden.json"
SDK = "sagemaker==2.257.7"
ROLE = "arn:aws:iam::123456789012:role/jobs"


def settings(**more: Any) -> Settings:
    lake = {
        "lake": "s3://lake/ruter",
        "AWS_REGION": "eu-north-1",
        "mlflow_tracking_uri": "https://mlflow.example",
        "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
    }
    return Settings(environment="dev", _env_file=None, **lake | more)  # type: ignore[call-arg]


@cache
def definition(name: str, **more: Any) -> dict[str, Any]:
    return pipeline_definition(name, settings(**more), role=ROLE, image="image@sha256:0")


def without_what_the_sdk_says_of_its_own(rendered: dict[str, Any]) -> dict[str, Any]:
    """It writes network isolation also where that is off, and adds its own profiler, which is off, to Training."""
    for step in rendered["Steps"]:
        arguments = step["Arguments"]
        if step["Type"] == "Training":
            arguments.pop("ProfilerConfig", None)
        for place in (arguments, arguments.get("NetworkConfig", {})):
            assert not place.pop("EnableNetworkIsolation", False)
    return rendered


def test_the_sdk_renders_the_same():
    ours = without_what_the_sdk_says_of_its_own(render_pipeline(STEPS, DEFAULTS))
    assert ours == without_what_the_sdk_says_of_its_own(json.loads(GOLDEN.read_text()))


@pytest.mark.extended
def test_the_golden_file_is_what_the_sdk_renders_today(tmp_path: Path):
    uv, python = (
        shutil.which("uv") or (HERE.parents[1] / ".uv/bin/uv").as_posix(),
        tmp_path / "sdk/bin/python",
    )
    subprocess.run([uv, "venv", "--quiet", "--python", "3.11", tmp_path / "sdk"], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, SDK], check=True)
    printed = subprocess.run(
        [HERE.parents[1] / ".venv/bin/python", "-m", "tests.pipeline.example"],
        capture_output=True,
        check=True,
    )
    made = tmp_path / "made.json"
    subprocess.run(
        [python, HERE / "with_sdk.py", made], input=printed.stdout, capture_output=True, check=True
    )
    assert json.loads(made.read_text()) == json.loads(GOLDEN.read_text())
    assert SDK in (HERE / "with_sdk.py").read_text()


@pytest.mark.parametrize("name", PIPELINES)
def test_each_asset_is_a_step_after_its_inputs(name: str):
    steps = {step["Name"]: step for step in definition(name)["Steps"]}
    assert set(steps) == {step_name(key) for run in PIPELINES[name] for key in RUNS[run]}
    before: set[str] = set()
    for step in steps.values():
        assert set(step.get("DependsOn", [])) <= before
        before.add(step["Name"])


def test_forecasts_wait_for_checked_features_plan_levels_and_weather():
    steps = {step["Name"]: step for step in definition("daily")["Steps"]}
    assert set(steps["forecasts-load-forecasts"]["DependsOn"]) == {
        "features-departure-features", "quality-departure-features", "features-levels", "quality-levels",
        "raw-planned-departures", "quality-planned-departures",
        "raw-weather-forecasts", "quality-weather-forecasts",
    }  # fmt: skip
    assert steps["forecasts-published-forecasts"]["DependsOn"] == ["forecasts-load-forecasts"]


@pytest.mark.parametrize(
    ("source", "counted", "watched"),
    [
        ({}, "D-1", "D-1"),
        ({"source": "tides", "tides_path": "s3://counts/aarhus", "operator": "ruter"}, "D+3", "D"),
        (
            {
                "source": "tides",
                "tides_path": "s3://counts/aarhus",
                "gtfs_path": "s3://feeds",
                "operator": "ruter",
            },
            "D-1",
            "D-1",
        ),
    ],
    ids=["demo", "tides", "tides with a timetable"],
)
def test_dates_are_those_of_the_schedules_and_sensors(source: dict[str, str], counted: str, watched: str):
    steps = {step["Name"]: step for step in definition("daily", **source)["Steps"]}

    def dates(name: str) -> list[str]:
        arguments = steps[name]["Arguments"]["AppSpecification"]["ContainerArguments"]
        assert arguments[0] in JOBS and arguments[3:] == [
            "--issue-date", {"Get": "Parameters.IssueDate"}, "--requested-at", {"Get": "Execution.StartDateTime"},
        ]  # fmt: skip
        return json.loads(arguments[2])["dates"]

    assert dates("raw-stop-visits") == [counted]
    assert dates("raw-planned-departures") == ["D", "D+1", "D+2", "D+3"]
    assert dates("forecasts-published-forecasts") == ["D"]
    assert dates("monitoring-forecast-performance") == [watched]


def test_training_continues_with_its_trained_version():
    train, *later = definition("training")["Steps"]
    assert train["Type"] == "Training"
    assert [step["Type"] for step in later] == ["Processing", "Training", "Processing"]
    for step in later:
        arguments = next(
            step["Arguments"][name]["ContainerArguments"]
            for name in ("AppSpecification", "AlgorithmSpecification")
            if name in step["Arguments"]
        )
        assert json.loads(arguments[2])["model_version"] == "newest"


def test_no_secret_is_in_it():
    secrets = {
        "kafka_sasl_password": SecretStr("s3cret"),
        "slack_token": SecretStr("xoxb"),
        "secrets": "ruter/dev",
    }
    rendered = json.dumps(
        pipeline_definition("training", settings().model_copy(update=secrets), role=ROLE, image="image")
    )
    assert "ruter/dev" in rendered, "jobs read the secret by its name"
    assert "s3cret" not in rendered and "xoxb" not in rendered


def test_every_step_is_tried_again_with_growing_pauses():
    for step in definition("daily")["Steps"]:
        assert {kind for policy in step["RetryPolicies"] for kind in policy["ExceptionType"]} == {
            "Step.SERVICE_FAULT", "Step.THROTTLING", "SageMaker.JOB_INTERNAL_ERROR", "SageMaker.CAPACITY_ERROR",
            "SageMaker.RESOURCE_LIMIT",
        }  # fmt: skip
        for policy in step["RetryPolicies"]:
            assert policy["BackoffRate"] > 1
            assert ("MaxAttempts" in policy) != ("ExpireAfterMin" in policy), "SageMaker takes one of the two"


def test_invalid_job_is_refused_with_every_fault():
    long = replace(VISITS, arguments=("snapshot", "--parameters", "x" * 257))
    hot = replace(MODEL, job=replace(MODEL.job, keep_alive_seconds=600))  # type: ignore[type-var]
    with pytest.raises(PermanentFailure) as refused:
        render_pipeline([long, hot], DEFAULTS)
    assert "raw-stop-visits" in str(refused.value) and "ContainerArguments[2]) has 257" in str(refused.value)
    assert "models-load-model" in str(refused.value) and "warm pool" in str(refused.value)


def test_without_a_lake_the_steps_would_share_nothing():
    with pytest.raises(SettingsError, match="RUTER_LAKE"):
        pipeline_definition("daily", Settings(environment="dev", _env_file=None), role=ROLE, image="")  # type: ignore[call-arg]


def test_daily_pipeline_needs_a_kafka_cluster_and_training_does_not():
    nowhere = settings(KAFKA_BOOTSTRAP_SERVERS=None)
    with pytest.raises(SettingsError, match="KAFKA_BOOTSTRAP_SERVERS is not set"):
        pipeline_definition("daily", nowhere, role=ROLE, image="")
    assert pipeline_definition("training", nowhere, role=ROLE, image="")["Steps"]


@mock_aws
@pytest.mark.parametrize("name", PIPELINES)
def test_sagemaker_accepts_the_printed_definition_without_an_image(name: str):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUTER_")}
    command = [HERE.parents[1] / ".venv/bin/ruter-dagster", "pipeline-definition", name, "--role", ROLE]
    printed = subprocess.run(
        command, env=environment | settings().to_environment(), capture_output=True, text=True
    )
    assert printed.returncode == 0, printed.stderr
    sagemaker = boto3.client("sagemaker", region_name="eu-north-1")
    sagemaker.create_pipeline(
        PipelineName=name, PipelineDefinition=printed.stdout, RoleArn=ROLE, ClientRequestToken="t" * 32
    )
    kept = sagemaker.describe_pipeline(PipelineName=name)["PipelineDefinition"]
    defaults = {one["Name"]: one["DefaultValue"] for one in json.loads(kept)["Parameters"]}
    assert (defaults["Role"], defaults["Image"], defaults["IssueDate"]) == (ROLE, "${image}", "today")
