"""Where state lies in AWS is said by a few variables, validated at once; secrets come by the name of one secret, and go to no job."""

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
from ruter_dagster.config.aws import longest_artifacts_place
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
    """Makes the secret `ruter/dev` with some text."""
    return lambda text: aws("secretsmanager").create_secret(Name="ruter/dev", SecretString=text)


def given(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_without_a_lake_all_lies_in_the_state_folder():
    settings = load_settings()
    assert settings.lake_dir is None
    assert settings.artifacts_place == str(settings.source_dir / "artifacts")


def test_the_lake_is_apart_by_environment_and_source(monkeypatch: pytest.MonkeyPatch):
    settings = given(monkeypatch, **LAKE, RUTER_ENVIRONMENT="s-mybranch-1a2b3c")
    assert settings.lake_dir == "s3://counts/lake/s-mybranch-1a2b3c/demo"
    assert settings.artifacts_place == "s3://counts/lake/s-mybranch-1a2b3c/demo/artifacts"
    assert settings.database == "rd_s_mybranch_1a2b3c_demo"
    databases = []
    for folder in ("/oslo/Line.5", "/bergen/Line.5"):
        variables = {"RUTER_SOURCE": "tides", "RUTER_TIDES_PATH": folder, "RUTER_ENVIRONMENT": "dev"}
        databases.append(given(monkeypatch, **LAKE, **variables).database)
    assert all(name.startswith("rd_dev_tides_line_5_") for name in databases)
    assert len(set(databases)) == 2
    assert given(monkeypatch, RUTER_GLUE_DATABASE="counts").database == "counts"


@pytest.mark.parametrize(
    ("variables", "told"),
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
def test_a_wrong_place_is_refused_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
):
    with pytest.raises(SettingsError) as failure:
        given(monkeypatch, **{**LAKE, **variables})
    assert told in str(failure.value)


def test_a_lake_tells_all_that_it_needs_at_once(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(SettingsError) as failure:
        given(monkeypatch, RUTER_LAKE="s3://counts/lake")
    for variable in ("AWS_REGION", "RUTER_MLFLOW_TRACKING_URI"):
        assert f"  RUTER_LAKE=s3://counts/lake needs {variable}" in str(failure.value)


def test_the_address_of_mlflow_may_be_an_arn(monkeypatch: pytest.MonkeyPatch):
    arn = "arn:aws:sagemaker:eu-north-1:123456789012:mlflow-tracking-server/ruter-dev"
    settings = given(monkeypatch, **LAKE | {"RUTER_MLFLOW_TRACKING_URI": arn})
    assert settings.mlflow_tracking_uri == arn


def test_a_job_elsewhere_finds_the_same_places(monkeypatch: pytest.MonkeyPatch):
    here = given(monkeypatch, **LAKE, RUTER_ENVIRONMENT="dev", RUTER_DEMO_SEED="7", RUTER_STEP_RETRIES="4")
    handed = here.to_remote_environment()
    assert handed == LAKE | {
        "RUTER_LAKE": "s3://counts/lake",
        "RUTER_ENVIRONMENT": "dev",
        "RUTER_DEMO_SEED": "7",
    }
    for name in ("RUTER_STEP_RETRIES", *handed):
        monkeypatch.delenv(name)
    there = given(monkeypatch, **handed)
    assert (there.lake_dir, there.database, there.demo_seed) == (here.lake_dir, here.database, 7)


def test_a_job_elsewhere_needs_a_lake():
    with pytest.raises(SettingsError, match="RUTER_LAKE is not set: what a job elsewhere writes"):
        load_settings().to_remote_environment()


def test_a_value_that_no_job_can_take_is_refused(monkeypatch: pytest.MonkeyPatch):
    settings = given(monkeypatch, **LAKE, KAFKA_BOOTSTRAP_SERVERS=",".join(["broker.example.org:9092"] * 12))
    with pytest.raises(SettingsError, match="KAFKA_BOOTSTRAP_SERVERS has 287 characters, and jobs elsewhere"):
        settings.to_remote_environment()
    assert settings.to_remote_environment(512)["KAFKA_BOOTSTRAP_SERVERS"]


def test_an_address_that_pipes_could_tell_no_job_of_is_refused(monkeypatch: pytest.MonkeyPatch):
    settings = given(monkeypatch, **LAKE | {"RUTER_LAKE": f"s3://counts/{'lake' * 25}"})
    with pytest.raises(SettingsError, match=r"RUTER_LAKE=s3://counts/lake.*133 char.*at most 108: shorten"):
        settings.to_remote_environment()
    assert settings.to_remote_environment(512)


@pytest.mark.parametrize("longest", [256, 512])
def test_pipes_variables_of_the_longest_address_that_is_taken_are_short_enough(longest: int):
    chance = Random(20)
    for _ in range(500):
        name = "".join(chance.choices(ascii_lowercase + digits, k=longest_artifacts_place(longest)))
        artifacts = f"s3://{name[:40]}/{name[46:]}"
        run = str(UUID(int=chance.getrandbits(128)))
        folder = Folder(None, None, artifacts, run, folder_name("monitoring/forecast_performance", run))  # type: ignore[arg-type]
        for told in (folder.context_at(10), folder.messages_at(10)):
            assert len(encode_param(told)) <= longest


def test_a_password_in_a_variable_goes_to_no_job_elsewhere(monkeypatch: pytest.MonkeyPatch):
    settings = given(monkeypatch, **LAKE, **SASL, RUTER_KAFKA_SASL_PASSWORD=PASSWORD)
    with pytest.raises(SettingsError, match="put it into the secret that RUTER_SECRETS names") as failure:
        settings.to_remote_environment()
    assert PASSWORD not in str(failure.value)


def test_a_secret_fills_passwords_and_is_handed_on_by_its_name(
    monkeypatch: pytest.MonkeyPatch, secret: Any, sagemaker_double: Remote
):
    secret(f'{{"RUTER_KAFKA_SASL_PASSWORD": "{PASSWORD}", "RUTER_SLACK_TOKEN": "xoxb"}}')
    settings = given(monkeypatch, **SASL, **LAKE | {"AWS_REGION": "eu-west-1"}, RUTER_SECRETS="ruter/dev")
    assert settings.kafka_sasl_password and settings.kafka_sasl_password.get_secret_value() == PASSWORD
    assert settings.slack_token and settings.slack_token.get_secret_value() == "xoxb"
    assert PASSWORD not in f"{settings!r} {settings.model_dump_json()} {settings.to_remote_environment()}"
    assert settings.to_remote_environment()["RUTER_SECRETS"] == "ruter/dev"
    load_settings()
    assert sagemaker_double.calls()["total"]["secretsmanager.GetSecretValue"] == 1


def test_a_variable_wins_over_the_secret(monkeypatch: pytest.MonkeyPatch, secret: Any):
    secret('{"RUTER_SLACK_TOKEN": "xoxb"}')
    settings = given(monkeypatch, RUTER_SECRETS="ruter/dev", RUTER_SLACK_TOKEN="mine")
    assert settings.slack_token and settings.slack_token.get_secret_value() == "mine"


def test_a_process_of_this_machine_is_handed_the_secrets_and_asks_nobody(
    monkeypatch: pytest.MonkeyPatch, secret: Any, sagemaker_double: Remote
):
    secret(f'{{"RUTER_KAFKA_SASL_PASSWORD": "{PASSWORD}", "RUTER_SLACK_TOKEN": "xoxb"}}')
    handed = given(monkeypatch, RUTER_SECRETS="ruter/dev").to_environment()
    secret_values.cache_clear()
    sagemaker_double.clear_calls()
    assert given(monkeypatch, **handed).to_environment() == handed
    assert "secretsmanager.GetSecretValue" not in sagemaker_double.calls()["total"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PASSWORD, "must be a JSON object of texts by variable"),
        ('{"RUTER_SLACK_TOKEN": 5}', "must be a JSON object of texts by variable"),
        (
            f'{{"password": "{PASSWORD}"}}',
            "entries that are none of RUTER_KAFKA_SASL_PASSWORD, RUTER_SLACK_TOKEN: password",
        ),
    ],
)
def test_a_secret_of_another_form_is_refused(
    monkeypatch: pytest.MonkeyPatch, secret: Any, text: str, told: str
):
    secret(text)
    with pytest.raises(PermanentFailure) as failure:
        given(monkeypatch, RUTER_SECRETS="ruter/dev")
    assert told in str(failure.value)
    assert PASSWORD not in str(failure.value)


def test_a_secret_that_is_not_there_or_not_for_us_is_told(
    monkeypatch: pytest.MonkeyPatch, sagemaker_double: Remote
):
    with pytest.raises(PermanentFailure, match=r"ruter/none \(RUTER_SECRETS\) .* Make it in Secrets Manager"):
        given(monkeypatch, RUTER_SECRETS="ruter/none")
    sagemaker_double.fault("error", operations="secretsmanager.*", code="AccessDeniedException")
    with pytest.raises(PermanentFailure, match="Give the role"):
        load_settings()


ELSEWHERE = LAKE | {"RUTER_ENVIRONMENT": "dev"}


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"RUTER_SOURCE": "tides", "RUTER_TIDES_PATH": "/data/tides", "RUTER_OPERATOR": "ruter"}, "RUTER_TIDES_PATH=/data/tides"),
        ({"RUTER_SOURCE": "tides", "RUTER_TIDES_PATH": "s3://counts/tides", "RUTER_GTFS_PATH": "/data/gtfs", "RUTER_OPERATOR": "ruter"}, "RUTER_GTFS_PATH=/data/gtfs"),
        ({"RUTER_SOURCE": "warehouse", "RUTER_WAREHOUSE_FILE": "ruter.toml"}, "RUTER_WAREHOUSE_FILE=ruter.toml"),
        ({"RUTER_OPERATOR": "operators/mine"}, "RUTER_OPERATOR=operators/mine"),
        ({"RUTER_MLFLOW_TRACKING_URI": "sqlite:////home/mlflow.db"}, "RUTER_MLFLOW_TRACKING_URI=sqlite:////home/mlflow.db"),
    ],
)  # fmt: skip
def test_a_place_of_this_machine_is_refused_to_a_job_elsewhere_and_known_to_one_on_the_double(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
):
    settings = given(monkeypatch, **{**ELSEWHERE, **variables})
    (fault,) = settings.remote_faults()
    assert told in fault and "name" in fault
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
def test_a_place_that_a_job_elsewhere_finds_is_none_of_its_faults(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
):
    assert given(monkeypatch, **{**ELSEWHERE, **variables}).remote_faults() == []
