"""What of the settings reaches a job: variables without secrets and within SageMaker's limits, parameters, network, tags."""

from __future__ import annotations

import subprocess
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from dagster_sagemaker import InlineInput, ProcessingJob, TrainingJob, preflight, processing_request
from dagster_sagemaker.requests import made_of
from ruter_dagster.commands.pipeline_definition import PIPELINES, pipeline_jobs
from ruter_dagster.config.settings import Settings, SettingsError
from ruter_dagster.contracts.jobs import Balance, Evaluate, Promote, Train
from ruter_dagster.definitions import build_definitions
from ruter_dagster.resources.sagemaker import git_branch
from ruter_dagster.resources.sagemaker.launcher import SageMakerLauncher
from ruter_dagster.resources.sagemaker.requests import job_of
from ruter_dagster.resources.sagemaker.settings import load_jobs_settings
from tests.resources.sagemaker.test_settings import VARIABLES

LAKE: dict[str, Any] = {
    "environment": "dev",
    "lake": "s3://lake",
    "aws_region": "eu-west-1",
    "mlflow_tracking_uri": "https://mlflow.example.org",
    "kafka_bootstrap_servers": "kafka.example.org:9092",
}
BALANCE = Balance(dates=(date(2026, 11, 19),))


def settings(**changes: Any) -> Settings:
    return Settings(_env_file=None, **(VARIABLES | LAKE | changes))  # pyright: ignore[reportCallIssue]


def job(parameters: Any, given: Settings, **chosen: Any) -> Any:
    found = load_jobs_settings(given).jobs[parameters.job]
    return job_of(parameters, found.model_copy(update=chosen), given, "loads/stop_loads")


def test_a_processing_job_has_its_parameters_as_a_file() -> None:
    made = job(BALANCE, settings())
    assert isinstance(made, ProcessingJob)
    (given,) = made.inputs
    assert isinstance(given, InlineInput)
    assert Balance.model_validate_json(given.content) == BALANCE
    assert made.arguments == ("balance",)
    preflight(processing_request(made, "job", "ml.m5.large", folder="s3://lake/job"))


def test_a_training_job_has_spot_or_a_warm_pool_where_settings_say() -> None:
    parameters = Train(days=42, held_out=14)
    spot = job(parameters, settings(), spot=True, spot_wait_minutes=300)
    assert isinstance(spot, TrainingJob)
    assert (spot.spot, spot.max_wait_seconds) == (True, 18_000)
    warm = job(parameters, settings(), keep_alive_minutes=10)
    assert (warm.keep_alive_seconds, warm.checkpoint_s3) == (600, ""), "no job of ours reads a checkpoint"


def test_a_later_try_of_the_same_work_makes_the_same_job_whatever_others_have_pinned_by_then() -> None:
    def tried(parameters: Any, asked: Any, kind: str) -> dict[str, str]:
        chosen = load_jobs_settings(settings()).jobs[parameters.job].model_copy(update={"kind": kind})
        return made_of(job_of(parameters, chosen, settings(), asked=asked), {})

    pinned, code = ({"pins": {"raw.stop_visits": 7}}, {"code_version": "2"})
    moments = [
        Promote(model_version="3", promoted_at=datetime(2026, 11, 19, hour, tzinfo=UTC)) for hour in (6, 7)
    ]
    for kind in ("processing", "training"):
        first = tried(BALANCE, BALANCE, kind)
        assert tried(BALANCE.model_copy(update=pinned), BALANCE, kind) == first
        assert tried(moments[0], moments[0], kind) == tried(moments[1], moments[1], kind)
        for asked in (BALANCE.model_copy(update=pinned), BALANCE.model_copy(update=code)):
            assert tried(asked, asked, kind)["parameters"] != first["parameters"]


def test_the_variables_of_a_job_are_those_that_it_needs() -> None:
    environment = job(BALANCE, settings(demo_seed=7, job_days=3)).environment
    assert environment["RUTER_LAKE"] == "s3://lake"
    assert environment["RUTER_DEMO_SEED"] == "7"
    assert not {name for name in environment if name.startswith("RUTER_SAGEMAKER")}
    assert "RUTER_JOB_DAYS" not in environment


def test_a_secret_never_travels_in_a_variable() -> None:
    secret = {"slack_token": SecretStr("xoxb"), "kafka_sasl_password": SecretStr("horse")}
    with pytest.raises(SettingsError, match="RUTER_KAFKA_SASL_PASSWORD: remote jobs get no secret"):
        SageMakerLauncher.of(settings(**secret))
    environment = job(BALANCE, settings(**secret, secrets="ruter/dev")).environment
    assert environment["RUTER_SECRETS"] == "ruter/dev"
    assert not {"xoxb", "horse"} & set(environment.values())


def test_all_that_a_deployment_lacks_is_told_in_one_error() -> None:
    with pytest.raises(SettingsError) as fault:
        SageMakerLauncher.of(Settings(_env_file=None, environment="dev"))  # pyright: ignore[reportCallIssue]
    for variable in (
        "RUTER_SAGEMAKER_IMAGE",
        "RUTER_SAGEMAKER_ROLE",
        "RUTER_LAKE",
        "AWS_REGION",
        "RUTER_MLFLOW_TRACKING_URI",
        "KAFKA_BOOTSTRAP_SERVERS",
    ):
        assert variable in str(fault.value)


def test_a_longer_variable_fits_a_training_job_alone() -> None:
    long = settings(mlflow_tracking_uri="https://" + "m" * 400)
    assert job(Train(days=42, held_out=14), long).environment
    with pytest.raises(
        SettingsError,
        match="RUTER_MLFLOW_TRACKING_URI has 408 characters, and remote jobs accept at most 256",
    ):
        job(BALANCE, long)


def test_tags_tell_what_a_job_is_of() -> None:
    given = settings(branch="feature/levels#7")
    made = job(Evaluate(model_version="1a2b", days=14), given, tags={"team": "load"})
    assert made.tags == {
        "project": "ruter-dagster",
        "environment": "dev",
        "branch": "feature/levels-7",
        "source": "demo",
        "job": "evaluate",
        "model-version": "1a2b",
        "team": "load",
    }


def test_the_branch_is_the_checkouts_where_no_setting_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_branch, "ROOT", tmp_path)
    for known in (None, "levels"):
        git_branch._checked_out.cache_clear()
        assert job(BALANCE, settings()).tags.get("branch") == known
        subprocess.run(["git", "init", "--quiet", "--initial-branch", "levels", tmp_path], check=True)
    git_branch._checked_out.cache_clear()
    assert "RUTER_BRANCH" not in job(BALANCE, settings(branch="levels")).environment


def test_each_asset_is_in_the_pool_of_its_job() -> None:
    given = settings()
    launcher = SageMakerLauncher.of(given)
    definitions = build_definitions(given, launcher)
    jobs = {job.asset: job.parameters.job for name in PIPELINES for job in pipeline_jobs(name, given)}
    pools = {key: definitions.resolve_assets_def(key.split("/")).op.pool for key in jobs}
    assert pools["forecasts/published_forecasts"] == "publication", "its own, tighter one"
    assert pools["models/load_model"] == "sagemaker-training-ml.m5.2xlarge"
    for key in jobs.keys() - {"forecasts/published_forecasts"}:
        assert pools[key] == launcher.jobs.jobs[jobs[key]].pool
