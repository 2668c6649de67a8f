"""A job gets variables without secrets and within SageMaker's limits, its parameters, network and tags."""

from __future__ import annotations

import subprocess
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from dagster_sagemaker import InlineInput, ProcessingJob, TrainingJob, create_request, preflight
from dagster_sagemaker.requests import identity_digests
from ruter_dagster.commands.pipeline_definition import PIPELINES, pipeline_jobs
from ruter_dagster.config.settings import Settings, SettingsError
from ruter_dagster.contracts.jobs import Balance, Evaluate, Promote, Publish, Train
from ruter_dagster.definitions import build_definitions
from ruter_dagster.resources.sagemaker import git_branch
from ruter_dagster.resources.sagemaker.launcher import SageMakerLauncher
from ruter_dagster.resources.sagemaker.requests import build_job
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
PUBLISH = Publish(dates=(date(2026, 11, 20),), issued_at="03:00")


def settings(**changes: Any) -> Settings:
    return Settings(_env_file=None, **(VARIABLES | LAKE | changes))  # pyright: ignore[reportCallIssue]


def job(parameters: Any, loaded_settings: Settings, **job_settings: Any) -> Any:
    loaded = load_jobs_settings(loaded_settings).jobs[parameters.job]
    return build_job(parameters, loaded.model_copy(update=job_settings), loaded_settings, "loads/stop_loads")


def test_processing_job_has_parameters_as_file() -> None:
    built = job(BALANCE, settings())
    assert isinstance(built, ProcessingJob)
    (file,) = built.inputs
    assert isinstance(file, InlineInput)
    assert Balance.model_validate_json(file.content) == BALANCE
    assert built.arguments == ("balance",)
    preflight(create_request(built, "job", "ml.m5.large", folder="s3://lake/job"))


def test_training_job_has_spot_or_warm_pool_by_settings() -> None:
    parameters = Train(days=42, held_out=14)
    spot = job(parameters, settings(), spot=True, spot_wait_minutes=300)
    assert isinstance(spot, TrainingJob)
    assert (spot.spot, spot.max_wait_seconds) == (True, 18_000)
    warm = job(parameters, settings(), keep_alive_minutes=10)
    assert (warm.keep_alive_seconds, warm.checkpoint_s3) == (600, ""), (
        "no job of this project reads a checkpoint"
    )


def test_later_attempt_builds_same_job_despite_other_pins() -> None:
    def attempt(parameters: Any, unpinned: Any, kind: str) -> dict[str, str]:
        job_settings = load_jobs_settings(settings()).jobs[parameters.job].model_copy(update={"kind": kind})
        return identity_digests(build_job(parameters, job_settings, settings(), unpinned=unpinned), {})

    pinned, code = ({"pins": {"raw.stop_visits": 7}}, {"code_version": "2"})
    promotions = [
        Promote(model_version="3", promoted_at=datetime(2026, 11, 19, hour, tzinfo=UTC)) for hour in (6, 7)
    ]
    for kind in ("processing", "training"):
        first = attempt(BALANCE, BALANCE, kind)
        assert attempt(BALANCE.model_copy(update=pinned), BALANCE, kind) == first
        assert attempt(promotions[0], promotions[0], kind) == attempt(promotions[1], promotions[1], kind)
        for other in (BALANCE.model_copy(update=pinned), BALANCE.model_copy(update=code)):
            assert attempt(other, other, kind)["parameters"] != first["parameters"]


def test_job_has_only_variables_that_it_needs() -> None:
    environment = job(BALANCE, settings(demo_seed=7, job_days=3)).environment
    assert environment["RUTER_LAKE"] == "s3://lake"
    assert environment["RUTER_DEMO_SEED"] == "7"
    assert not {name for name in environment if name.startswith("RUTER_SAGEMAKER")}
    assert "RUTER_JOB_DAYS" not in environment


def test_no_secret_is_in_a_variable() -> None:
    secret = {"slack_token": SecretStr("xoxb"), "kafka_sasl_password": SecretStr("horse")}
    with pytest.raises(SettingsError, match="RUTER_KAFKA_SASL_PASSWORD: remote jobs get no secret"):
        SageMakerLauncher.of(settings(**secret))
    environment = job(PUBLISH, settings(**secret, secrets="ruter/dev")).environment
    assert environment["RUTER_SECRETS"] == "ruter/dev"
    assert not {"xoxb", "horse"} & set(environment.values())


def test_only_jobs_that_use_kafka_get_its_settings_and_the_secret() -> None:
    sasl = {
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "SCRAM-SHA-512",
        "kafka_sasl_username": "ruter",
        "kafka_sasl_password": SecretStr("horse"),
        "slack_token": SecretStr("xoxb"),
        "secrets": "ruter/dev",
    }
    names = {"KAFKA_BOOTSTRAP_SERVERS", "RUTER_KAFKA_SECURITY_PROTOCOL", "RUTER_SECRETS"}
    assert names <= set(job(PUBLISH, settings(**sasl)).environment)
    assert not [
        name for name in job(BALANCE, settings(**sasl)).environment if "KAFKA" in name or "SECRET" in name
    ]


def test_one_error_lists_all_missing_settings() -> None:
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


def test_long_variable_fits_only_training_job() -> None:
    long = settings(mlflow_tracking_uri="https://" + "m" * 400)
    assert job(Train(days=42, held_out=14), long).environment
    with pytest.raises(
        SettingsError,
        match="RUTER_MLFLOW_TRACKING_URI has 408 characters, and remote jobs accept at most 256",
    ):
        job(BALANCE, long)


def test_tags_name_branch_job_and_model() -> None:
    loaded_settings = settings(branch="feature/levels#7")
    built = job(Evaluate(model_version="1a2b", days=14), loaded_settings, tags={"team": "load"})
    assert built.tags == {
        "project": "ruter-dagster",
        "environment": "dev",
        "branch": "feature/levels-7",
        "source": "demo",
        "job": "evaluate",
        "model-version": "1a2b",
        "team": "load",
    }


def test_branch_defaults_to_that_of_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_branch, "ROOT", tmp_path)
    for branch in (None, "levels"):
        git_branch._checked_out_branch.cache_clear()
        assert job(BALANCE, settings()).tags.get("branch") == branch
        subprocess.run(["git", "init", "--quiet", "--initial-branch", "levels", tmp_path], check=True)
    git_branch._checked_out_branch.cache_clear()
    assert "RUTER_BRANCH" not in job(BALANCE, settings(branch="levels")).environment


def test_each_asset_is_in_pool_of_its_job() -> None:
    loaded_settings = settings()
    launcher = SageMakerLauncher.of(loaded_settings)
    definitions = build_definitions(loaded_settings)
    jobs = {
        job.asset: job.parameters.job for name in PIPELINES for job in pipeline_jobs(name, loaded_settings)
    }
    pools = {key: definitions.resolve_assets_def(key.split("/")).op.pool for key in jobs}
    publishing = {"forecasts/published_forecasts", "forecasts/feeds"}
    assert {pools[key] for key in publishing} == {"publication"}, "publication has its own pool"
    assert pools["models/load_model"] == "sagemaker-training-ml.m5.2xlarge"
    for key in jobs.keys() - publishing:
        assert pools[key] == launcher.jobs.jobs[jobs[key]].pool
