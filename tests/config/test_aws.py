"""Settings of AWS: the lake, what remote jobs get, and passwords from Secrets Manager."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from string import ascii_lowercase, digits
from typing import Any
from uuid import UUID

import pytest
from dagster_pipes import encode_param

from dagster_sagemaker.folder import Folder
from dagster_sagemaker.names import folder_name
from ruter_dagster.aws.secrets import secret_values
from ruter_dagster.config.aws import max_artifacts_length
from ruter_dagster.config.settings import Settings, SettingsError, load_settings
from ruter_dagster.contracts.errors import PermanentFailure
from sagemaker_double.control import Remote

PASSWORD = "korrekt-hest-batteri"
LAKE = {
    "RUTER_LAKE": "s3://counts/lake/",
    "AWS_REGION": "eu-north-1",
    "RUTER_MLFLOW_TRACKING_URI": "https://mlflow.example.org",
}
SASL = {
    "RUTER_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "RUTER_KAFKA_SASL_MECHANISM": "PLAIN",
    "RUTER_KAFKA_SASL_USERNAME": "ruter",
}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("RUTER_", "KAFKA_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    secret_values.cache_clear()


@pytest.fixture
def secret(sagemaker_double: Remote, aws: Any) -> Any:
    """A function that creates the secret `ruter/dev` with a text."""
    return lambda text: aws("secretsmanager").create_secret(Name="ruter/dev", SecretString=text)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_state_folder_has_all_files_without_a_lake():
    settings = load_settings()
    assert settings.lake_dir is None
    assert settings.artifacts_location == str(settings.source_dir / "artifacts")


def test_each_environment_and_source_has_its_own_prefix(monkeypatch: pytest.MonkeyPatch):
    settings = load(monkeypatch, **LAKE, RUTER_ENVIRONMENT="s-mybranch-1a2b3c")
    assert settings.lake_dir == "s3://counts/lake/s-mybranch-1a2b3c/demo"
    assert settings.artifacts_location == "s3://counts/lake/s-mybranch-1a2b3c/demo/artifacts"
    assert settings.database == "rd_s_mybranch_1a2b3c_demo"
    databases = []
    for folder in ("/oslo/Line.5", "/bergen/Line.5"):
        variables = {"RUTER_SOURCE": "tides", "RUTER_TIDES_PATH": folder, "RUTER_ENVIRONMENT": "dev"}
        databases.append(load(monkeypatch, **LAKE, **variables).database)
    assert all(name.startswith("rd_dev_tides_line_5_") for name in databases)
    assert len(set(databases)) == 2
    assert load(monkeypatch, RUTER_GLUE_DATABASE="counts").database == "counts"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RUTER_LAKE": "counts/lake"}, "RUTER_LAKE='counts/lake': allowed: s3://bucket/prefix"),
        ({"RUTER_LAKE": "s3://Counts"}, "RUTER_LAKE='s3://Counts': allowed: s3://bucket/prefix"),
        ({"AWS_REGION": ""}, "RUTER_LAKE=s3://counts/lake needs AWS_REGION"),
        ({"AWS_REGION": "Oslo"}, "AWS_REGION='Oslo'"),
        ({"RUTER_MLFLOW_TRACKING_URI": ""}, "RUTER_LAKE=s3://counts/lake needs RUTER_MLFLOW_TRACKING_URI"),
        ({"RUTER_MLFLOW_TRACKING_URI": "mlflow:5000"}, "allowed: sqlite:///…, http(s)://…, or the ARN"),
        ({"RUTER_MLFLOW_TRACKING_URI": "arn:aws:sagemaker:eu-north-1:1:model/a"}, "or the ARN of a tracking server"),
        ({"RUTER_GLUE_DATABASE": "rd-dev"}, "RUTER_GLUE_DATABASE='rd-dev'"),
    ],
)  # fmt: skip
def test_error_names_allowed_values(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str):
    with pytest.raises(SettingsError) as failure:
        load(monkeypatch, **{**LAKE, **variables})
    assert message in str(failure.value)


def test_error_lists_all_that_a_lake_needs(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(SettingsError) as failure:
        load(monkeypatch, RUTER_LAKE="s3://counts/lake")
    for variable in ("AWS_REGION", "RUTER_MLFLOW_TRACKING_URI"):
        assert f"  RUTER_LAKE=s3://counts/lake needs {variable}" in str(failure.value)


@pytest.mark.parametrize(
    "address", ["arn:aws:sagemaker:eu-north-1:123456789012:mlflow-tracking-server/ruter-dev", "none"]
)
def test_mlflow_address_may_be_an_arn_or_none(monkeypatch: pytest.MonkeyPatch, address: str):
    settings = load(monkeypatch, **LAKE | {"RUTER_MLFLOW_TRACKING_URI": address})
    assert settings.to_remote_environment()["RUTER_MLFLOW_TRACKING_URI"] == address


def test_remote_job_gets_the_same_locations(monkeypatch: pytest.MonkeyPatch):
    local = load(monkeypatch, **LAKE, RUTER_ENVIRONMENT="dev", RUTER_DEMO_SEED="7", RUTER_STEP_RETRIES="4")
    variables = local.to_remote_environment()
    assert variables == LAKE | {
        "RUTER_LAKE": "s3://counts/lake",
        "RUTER_ENVIRONMENT": "dev",
        "RUTER_DEMO_SEED": "7",
    }
    for name in ("RUTER_STEP_RETRIES", *variables):
        monkeypatch.delenv(name)
    remote = load(monkeypatch, **variables)
    assert (remote.lake_dir, remote.database, remote.demo_seed) == (local.lake_dir, local.database, 7)


def test_remote_job_needs_a_lake():
    with pytest.raises(SettingsError, match="RUTER_LAKE is not set: a remote job loses the files"):
        load_settings().to_remote_environment()


def test_value_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch):
    settings = load(monkeypatch, **LAKE, KAFKA_BOOTSTRAP_SERVERS=",".join(["broker.example.org:9092"] * 12))
    with pytest.raises(
        SettingsError, match="KAFKA_BOOTSTRAP_SERVERS has 287 characters, and remote jobs accept"
    ):
        settings.to_remote_environment()
    assert settings.to_remote_environment(512)["KAFKA_BOOTSTRAP_SERVERS"]


def test_lake_address_too_long_for_dagster_pipes_is_refused(monkeypatch: pytest.MonkeyPatch):
    settings = load(monkeypatch, **LAKE | {"RUTER_LAKE": f"s3://counts/{'lake' * 25}"})
    with pytest.raises(SettingsError, match=r"RUTER_LAKE=s3://counts/lake.*133 char.*at most 108: shorten"):
        settings.to_remote_environment()
    assert settings.to_remote_environment(512)


@pytest.mark.parametrize("max_length", [256, 512])
def test_longest_lake_address_fits_into_pipes_variables(max_length: int):
    chance = Random(20)
    for _ in range(500):
        name = "".join(chance.choices(ascii_lowercase + digits, k=max_artifacts_length(max_length)))
        artifacts = f"s3://{name[:40]}/{name[46:]}"
        run = str(UUID(int=chance.getrandbits(128)))
        folder = Folder(None, None, artifacts, run, folder_name("monitoring/forecast_performance", run))  # type: ignore[arg-type]
        for parameters in (folder.context_at(10), folder.messages_at(10)):
            assert len(encode_param(parameters)) <= max_length


def test_remote_job_gets_no_password_in_a_variable(monkeypatch: pytest.MonkeyPatch):
    settings = load(monkeypatch, **LAKE, **SASL, RUTER_KAFKA_SASL_PASSWORD=PASSWORD)
    with pytest.raises(SettingsError, match="put it into the secret that RUTER_SECRETS names") as failure:
        settings.to_remote_environment()
    assert PASSWORD not in str(failure.value)


def test_secret_sets_passwords_and_remote_job_gets_its_name(
    monkeypatch: pytest.MonkeyPatch, secret: Any, sagemaker_double: Remote
):
    secret(f'{{"RUTER_KAFKA_SASL_PASSWORD": "{PASSWORD}", "RUTER_SLACK_TOKEN": "xoxb"}}')
    settings = load(monkeypatch, **SASL, **LAKE | {"AWS_REGION": "eu-west-1"}, RUTER_SECRETS="ruter/dev")
    assert settings.kafka_sasl_password and settings.kafka_sasl_password.get_secret_value() == PASSWORD
    assert settings.slack_token and settings.slack_token.get_secret_value() == "xoxb"
    assert PASSWORD not in f"{settings!r} {settings.model_dump_json()} {settings.to_remote_environment()}"
    assert settings.to_remote_environment()["RUTER_SECRETS"] == "ruter/dev"
    load_settings()
    assert sagemaker_double.calls()["total"]["secretsmanager.GetSecretValue"] == 1


def test_variable_overrides_the_secret(monkeypatch: pytest.MonkeyPatch, secret: Any):
    secret('{"RUTER_SLACK_TOKEN": "xoxb"}')
    settings = load(monkeypatch, RUTER_SECRETS="ruter/dev", RUTER_SLACK_TOKEN="mine")
    assert settings.slack_token and settings.slack_token.get_secret_value() == "mine"


def test_local_process_gets_secrets_without_reading_secrets_manager(
    monkeypatch: pytest.MonkeyPatch, secret: Any, sagemaker_double: Remote
):
    secret(f'{{"RUTER_KAFKA_SASL_PASSWORD": "{PASSWORD}", "RUTER_SLACK_TOKEN": "xoxb"}}')
    variables = load(monkeypatch, RUTER_SECRETS="ruter/dev").to_environment()
    secret_values.cache_clear()
    sagemaker_double.clear_calls()
    assert load(monkeypatch, **variables).to_environment() == variables
    assert "secretsmanager.GetSecretValue" not in sagemaker_double.calls()["total"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PASSWORD, "must be a JSON object with a string for each variable"),
        ('{"RUTER_SLACK_TOKEN": 5}', "must be a JSON object with a string for each variable"),
        (
            f'{{"password": "{PASSWORD}"}}',
            "has unknown entries: password. Remove or rename them; allowed: RUTER_KAFKA_SASL_PASSWORD, RUTER_SCHEMA_REGISTRY_PASSWORD, RUTER_SLACK_TOKEN, RUTER_SMTP_PASSWORD",
        ),
    ],
)
def test_secret_of_another_form_is_refused(
    monkeypatch: pytest.MonkeyPatch, secret: Any, text: str, message: str
):
    secret(text)
    with pytest.raises(PermanentFailure) as failure:
        load(monkeypatch, RUTER_SECRETS="ruter/dev")
    assert message in str(failure.value)
    assert PASSWORD not in str(failure.value)


def test_missing_or_forbidden_secret_is_named(monkeypatch: pytest.MonkeyPatch, sagemaker_double: Remote):
    with pytest.raises(
        PermanentFailure, match=r"ruter/none \(RUTER_SECRETS\) .* Create it in Secrets Manager"
    ):
        load(monkeypatch, RUTER_SECRETS="ruter/none")
    sagemaker_double.fault("error", operations="secretsmanager.*", code="AccessDeniedException")
    with pytest.raises(PermanentFailure, match="Grant the role"):
        load_settings()


REMOTE = LAKE | {"RUTER_ENVIRONMENT": "dev"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RUTER_SOURCE": "tides", "RUTER_TIDES_PATH": "/data/tides", "RUTER_OPERATOR": "ruter"}, "RUTER_TIDES_PATH=/data/tides"),
        ({"RUTER_SOURCE": "tides", "RUTER_TIDES_PATH": "s3://counts/tides", "RUTER_GTFS_PATH": "/data/gtfs", "RUTER_OPERATOR": "ruter"}, "RUTER_GTFS_PATH=/data/gtfs"),
        ({"RUTER_SOURCE": "warehouse", "RUTER_WAREHOUSE_FILE": "ruter.toml"}, "RUTER_WAREHOUSE_FILE=ruter.toml"),
        ({"RUTER_OPERATOR": "operators/mine"}, "RUTER_OPERATOR=operators/mine"),
        ({"RUTER_MLFLOW_TRACKING_URI": "sqlite:////home/mlflow.db"}, "RUTER_MLFLOW_TRACKING_URI=sqlite:////home/mlflow.db"),
    ],
)  # fmt: skip
def test_local_path_is_refused_unless_aws_is_simulated_locally(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
):
    settings = load(monkeypatch, **{**REMOTE, **variables})
    (fault,) = settings.remote_faults()
    assert message in fault and "set " in fault
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:5000")
    assert settings.remote_faults() == []


@pytest.mark.parametrize(
    "variables",
    [
        {"RUTER_SOURCE": "tides", "RUTER_TIDES_PATH": "s3://counts/tides", "RUTER_OPERATOR": "ruter"},
        {"RUTER_SOURCE": "warehouse", "RUTER_WAREHOUSE_FILE": "s3://counts/ruter.toml"},
        {"RUTER_OPERATOR": "/opt/ruter/operator.toml"},
    ],
)
def test_path_that_a_remote_job_can_read_is_accepted(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
):
    assert load(monkeypatch, **{**REMOTE, **variables}).remote_faults() == []
