"""Settings: their sources and validation, what jobs get, and the names of state folders."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.config.alerts import AlertSettings
from ruter_dagster.config.aws import NOT_FOR_JOBS
from ruter_dagster.config.settings import SettingsError, load_settings
from ruter_dagster.definitions import build_definitions

SECRET = "korrekt-hest-batteri"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Removes the variables of the person who runs the tests, and their .env."""
    for name in os.environ:
        if name.startswith(("RUTER_", "KAFKA_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def refused(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as failure:
        load_settings()
    return str(failure.value)


def test_default_is_a_demo_on_this_machine() -> None:
    settings = load_settings()
    assert (settings.environment, settings.source, settings.topic_prefix) == ("local", "demo", "local.")
    assert settings.source_dir == Path.cwd() / "state" / "demo"


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("RUTER_ENVIRONMENT", "staging", "allowed: local, dev, test, stage, prod, or a branch's sandbox such as s-mybranch-1a2b3c (Environment;"),
        ("RUTER_ENVIRONMENT", "s-much-too-long-1a2b3c", "or a branch's sandbox such as"),
        ("RUTER_SOURCE", "gtfs", "'demo', 'tides' or 'warehouse'"),
        ("RUTER_DEMO_SEED", "-1", "greater than or equal to 0"),
        ("RUTER_DEMO_SEED", "many", "valid integer"),
        ("RUTER_DEMO_SCALE", "huge", "'demo' or 'ruter'"),
        ("RUTER_HISTORY_START", "01.06.2026", "YYYY-MM-DD"),
        ("RUTER_HISTORY_DAYS", "0", "greater than or equal to 1"),
        ("RUTER_ISSUE_DATE", "tomorrow", "YYYY-MM-DD"),
        ("RUTER_JOB_DAYS", "0", "greater than or equal to 1"),
        ("RUTER_STEP_RETRIES", "21", "less than or equal to 20"),
        ("RUTER_STEP_RETRY_DELAY", "-0.5", "greater than or equal to 0"),
        ("RUTER_ASSET_RETRIES", "models/load_model", "write it as asset=number,asset=number"),
        ("RUTER_ASSET_RETRIES", "models/load_model=some", "valid integer"),
        ("RUTER_ASSET_RETRIES", "models/load_model=-1", "greater than or equal to 0"),
        ("RUTER_ASSET_RETRY_DELAYS", "raw/stop_visits=soon", "valid number"),
        ("RUTER_SLACK_CHANNELS", "#models", "write it as kind=channel,kind=channel"),
        ("RUTER_SLACK_CHANNELS", "drifts=#models", "unknown kind drifts; allowed: run_failure, blocking_check, drift"),
        ("RUTER_FRESHNESS_HOURS", "loads/stop_loads=0", "greater than 0"),
        ("RUTER_EMAIL_TO", "ops@example.org,team", "team is no address of e-mail"),
        ("RUTER_ALERTS_TOPIC", "alarms", "ARN of a topic"),
        ("RUTER_PUBLISH_BY", "6", "Local time by which the forecasts of the day must be published"),
        ("RUTER_SAGEMAKER_ROLES", "train", "write it as job=role,job=role"),
        ("RUTER_METRICS_ENVIRONMENT", "rd dev", "Value of the dimension Environment"),
        ("RUTER_DAILY_AT", "4:30", "Local time of the daily chain, HH:MM"),
        ("RUTER_TRAINING_AT", "sun 05:30", "for instance `sunday 05:30`"),
        ("RUTER_TRAINING_DAYS", "34", "greater than or equal to 35"),
        ("RUTER_EVALUATION_DAYS", "6", "greater than or equal to 7"),
        ("RUTER_KAFKA_SECURITY_PROTOCOL", "TLS", "'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ("RUTER_KAFKA_SASL_MECHANISM", "GSSAPI", "'PLAIN', 'SCRAM-SHA-256' or 'SCRAM-SHA-512'"),
        ("RUTER_KAFKA_TOPIC_PREFIX", "a/b", "Prefix of topics"),
        ("RUTER_KAFKA_TOPIC_PREFIX", "", "Default: the environment and a dot"),
        ("RUTER_KAFKA_REPLICATION", "0", "greater than or equal to 1"),
    ],
)  # fmt: skip
def test_error_names_variable_value_and_allowed_values(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    message = refused(monkeypatch, **{variable: value})
    line = next(line for line in message.splitlines() if variable in line)
    assert f"{variable}={value!r}" in line
    assert allowed in line


def test_error_lists_all_wrong_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refused(monkeypatch, RUTER_SOURCE="gtfs", RUTER_JOB_DAYS="0")
    assert message.splitlines()[0] == "Settings are wrong:"
    assert "RUTER_SOURCE='gtfs'" in message
    assert "RUTER_JOB_DAYS='0'" in message


def test_error_names_variable_of_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("RUTER_DEMO_SEED=many\n")
    assert "RUTER_DEMO_SEED='many'" in refused(monkeypatch)


def test_evaluation_days_must_be_fewer_than_training_days(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refused(monkeypatch, RUTER_TRAINING_DAYS="42", RUTER_EVALUATION_DAYS="42")
    assert "RUTER_EVALUATION_DAYS=42 must be less than RUTER_TRAINING_DAYS=42" in message


def test_retries_of_an_unknown_asset_are_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"RUTER_ASSET_RETRIES: unknown asset 'models/lod_model'; .*models/load_model"
    ):
        build_definitions(load_settings(asset_retries="models/lod_model=3"))


def test_source_tides_needs_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "RUTER_SOURCE=tides needs RUTER_TIDES_PATH" in refused(monkeypatch, RUTER_SOURCE="tides")


def test_unused_tides_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refused(monkeypatch, RUTER_TIDES_PATH="/counts")
    assert "RUTER_TIDES_PATH=/counts is read only with RUTER_SOURCE=tides: set that too" in message


@pytest.mark.parametrize("source", [{}, {"RUTER_SOURCE": "warehouse", "RUTER_WAREHOUSE_FILE": "w.toml"}])
def test_unused_gtfs_path_is_refused(monkeypatch: pytest.MonkeyPatch, source: dict[str, str]) -> None:
    message = refused(monkeypatch, RUTER_GTFS_PATH="/feeds", **source)
    assert "RUTER_GTFS_PATH=/feeds is read only with RUTER_SOURCE=tides" in message


def test_variable_selects_the_demo_over_tides_in_the_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("RUTER_SOURCE=tides\nRUTER_TIDES_PATH=/counts\nRUTER_GTFS_PATH=/feeds\n")
    monkeypatch.setenv("RUTER_SOURCE", "demo")
    assert load_settings().source_name == "demo"


def test_sasl_needs_mechanism_user_and_password(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refused(monkeypatch, RUTER_KAFKA_SECURITY_PROTOCOL="SASL_SSL", RUTER_KAFKA_SASL_PASSWORD=SECRET)
    assert "RUTER_KAFKA_SECURITY_PROTOCOL=SASL_SSL needs RUTER_KAFKA_SASL_MECHANISM" in message
    assert SECRET not in message


def test_mail_needs_sender_receivers_and_password(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "needs RUTER_EMAIL_FROM and RUTER_EMAIL_TO" in refused(monkeypatch, RUTER_SMTP_HOST="mail.test")
    monkeypatch.delenv("RUTER_SMTP_HOST")
    assert "needs RUTER_SMTP_PASSWORD" in refused(monkeypatch, RUTER_SMTP_USER="dagster")


def test_password_of_mail_is_not_sent_unencrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"RUTER_SMTP_USER": "dagster", "RUTER_SMTP_PASSWORD": SECRET, "RUTER_SMTP_SECURITY": "none"}
    message = refused(monkeypatch, **variables)
    assert "set RUTER_SMTP_SECURITY to starttls or tls" in message
    assert SECRET not in message


def test_alert_settings_are_passed_to_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of this machine gets them, a remote job does not."""
    variables = {
        "RUTER_SLACK_CHANNELS": "drift=#models,late_data=#data",
        "RUTER_FRESHNESS_HOURS": "loads/stop_loads=2.5",
        "RUTER_EMAIL_TO": "ops@example.org,team@example.org",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.slack_channels == {"drift": "#models", "late_data": "#data"}
    assert settings.to_environment().items() >= variables.items()
    assert not {f"RUTER_{name.upper()}" for name in AlertSettings.model_fields} - NOT_FOR_JOBS


@pytest.mark.parametrize(
    "address", ["https://ruter:{}@registry:8081", "https://ruter:a/{}@registry", "ruter:{}@registry"]
)
def test_registry_address_with_a_password_is_refused_without_it(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    message = refused(monkeypatch, RUTER_SCHEMA_REGISTRY_URL=address.format(SECRET))
    assert "RUTER_SCHEMA_REGISTRY_URL=(hidden)" in message
    assert "set RUTER_SCHEMA_REGISTRY_USERNAME and RUTER_SCHEMA_REGISTRY_PASSWORD" in message
    assert SECRET not in message


def test_secrets_are_hidden_in_errors_and_output() -> None:
    settings = load_settings(slack_token=SECRET, kafka_sasl_password=SECRET)
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()
    with pytest.raises(SettingsError) as failure:
        load_settings(slack_token=[SECRET])
    assert "RUTER_SLACK_TOKEN=(hidden)" in str(failure.value)
    assert SECRET not in str(failure.value)


@pytest.mark.parametrize("environment", ["local", "dev", "test", "stage", "prod", "s-mybranch-1a2b3c"])
def test_each_environment_has_its_own_topics(environment: str) -> None:
    assert load_settings(environment=environment).topic_prefix == f"{environment}."


def test_variable_overrides_env_file_unless_it_is_empty(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("RUTER_DEMO_SEED=7\nRUTER_JOB_DAYS=3\nKAFKA_BOOTSTRAP_SERVERS=k:9092\n")
    monkeypatch.setenv("RUTER_JOB_DAYS", "5")
    monkeypatch.setenv("RUTER_ISSUE_DATE", "")
    monkeypatch.setenv("RUTER_SLACK_CHANNEL", "")
    settings = load_settings()
    assert (settings.demo_seed, settings.job_days, settings.issue_date) == (7, 5, None)
    assert settings.slack_channel == "#ruter-dagster"
    assert settings.kafka_bootstrap_servers == "k:9092"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("examples/aarhus_1a", "tides-aarhus-1a-8a8f4f"),
        ("examples/aarhus_1a/", "tides-aarhus-1a-8a8f4f"),
        ("s3://bucket/counts/line 5/", "tides-line-5-a8d551"),
        ("/oslo/TIDES", "tides-TIDES-78110b"),
        ("/bergen/TIDES", "tides-TIDES-acc82f"),
    ],
)
def test_state_folder_name_has_folder_and_hash(path: str, name: str) -> None:
    assert load_settings(source="tides", tides_path=path).source_dir.name == name


def test_sources_with_the_same_name_have_different_states() -> None:
    places = ["oslo/TIDES", "bergen/TIDES", "/oslo/TIDES", "s3://a/oslo/TIDES", "s3://b/oslo/TIDES"]
    names = {load_settings(source="tides", tides_path=place).source_name for place in places}
    files = ["oslo/ruter.toml", "bergen/ruter.toml"]
    names |= {load_settings(source="warehouse", warehouse_file=file).source_name for file in files}
    demos = [{}, {"demo_scale": "ruter"}, {"demo_seed": 7}, {"demo_scale": "ruter", "demo_seed": 7}]
    names |= {load_settings(**demo).source_name for demo in demos}
    assert len(names) == len(places) + len(files) + len(demos)
    assert {"demo", "demo-ruter", "demo-seed-7", "demo-ruter-seed-7"} < names


def test_moved_project_keeps_the_names_of_its_states(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = set()
    for project in ("before", "after"):
        (tmp_path / project).mkdir()
        monkeypatch.chdir(tmp_path / project)
        for path in ("counts/TIDES", str(tmp_path / project / "counts" / "TIDES")):
            names.add(load_settings(source="tides", tides_path=path).source_name)
    assert len(names) == 1


def test_relative_sources_of_two_projects_share_no_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = set()
    for project in ("oslo", "bergen"):
        (tmp_path / project).mkdir()
        monkeypatch.chdir(tmp_path / project)
        for shared in ({"state_dir": tmp_path / "state"}, {"state_dir": "/state"}):
            names.add(load_settings(source="tides", tides_path="TIDES", **shared).source_dir)
    assert len(names) == 4


@pytest.mark.parametrize(
    ("values", "days"),
    [
        ({}, 400),
        ({"demo_scale": "ruter"}, 4),
        ({"source": "tides", "tides_path": "examples/aarhus_1a"}, 400),
        ({"source": "warehouse", "warehouse_file": "examples/warehouse/ruter.toml"}, 4),
        ({"source": "warehouse", "warehouse_file": "examples/warehouse/ruter.toml", "job_days": 30}, 30),
    ],
)
def test_jobs_of_large_sources_have_four_dates(values: dict[str, Any], days: int) -> None:
    assert load_settings(**values).days_per_job == days


@pytest.mark.parametrize("environment", ["dev", "test", "stage", "prod", "s-mybranch-1a2b3c"])
def test_each_environment_has_its_own_state(tmp_path: Path, environment: str) -> None:
    settings = load_settings(environment=environment, state_dir=tmp_path)
    assert settings.source_dir == tmp_path / environment / "demo"


def test_job_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "environment": "stage",
        "source": "tides",
        "tides_path": "s3://bucket/counts",
        "issue_date": date(2026, 11, 20),
        "state_dir": tmp_path / "elsewhere",
        "job_days": 5,
        "step_retry_delay": 0.5,
        "asset_retries": {"raw/stop_visits": 4, "models/load_model": 0},
        "asset_retry_delays": {"raw/stop_visits": 1.5},
        "sagemaker_roles": {"train": "arn:aws:iam::123456789012:role/models"},
        "kafka_bootstrap_servers": "a:9092,b:9092",
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "SCRAM-SHA-512",
        "kafka_sasl_username": "ruter",
        "kafka_sasl_password": SECRET,
        "kafka_ssl_ca_location": Path("/etc/ca.pem"),
    }
    settings = load_settings(**values)
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_empty_topic_prefix_in_the_env_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("RUTER_KAFKA_TOPIC_PREFIX=\n")
    with pytest.raises(SettingsError, match="RUTER_KAFKA_TOPIC_PREFIX=''"):
        load_settings()
    assert load_settings(_env_file=None).topic_prefix == "local."


def test_job_in_another_folder_has_the_same_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load_settings()
    here = settings.source_dir
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_settings().source_dir == here


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("RUTER_SORUCE", "RUTER_SOURCE"),
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("KAFKA_BOOSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS"),
        ("KAFKA_SECURITY_PROTOCOL", "RUTER_KAFKA_SECURITY_PROTOCOL"),
        ("RUTER_KAFKA_SASL_USER_NAME", "RUTER_KAFKA_SASL_USERNAME"),
    ],
)
def test_misspelt_variable_is_refused_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
):
    message = refused(monkeypatch, **{variable: "x"})
    assert f"Unknown setting {variable}. Did you mean {meant}?" in message


def test_kafka_variables_of_other_programs_are_ignored(monkeypatch: pytest.MonkeyPatch):
    for name in ("KAFKA_HEAP_OPTS", "KAFKA_HOME", "KAFKA_SECURITY_PROTOCOL"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("RUTER_KAFKA_SECURITY_PROTOCOL", "SSL")
    assert load_settings().kafka_security_protocol == "SSL"


@pytest.mark.parametrize(
    ("servers", "fault"),
    [
        ("localhost", "localhost is not host:port. Did you mean localhost:9092?"),
        ("a:9092,b", "b is not host:port. Did you mean b:9092?"),
        ("a:0", "a:0 is not host:port."),
        ("http://a:9092", "http://a:9092 is not host:port."),
    ],
)
def test_broker_address_without_port_is_refused(monkeypatch: pytest.MonkeyPatch, servers: str, fault: str):
    message = refused(monkeypatch, KAFKA_BOOTSTRAP_SERVERS=servers)
    assert f"KAFKA_BOOTSTRAP_SERVERS={servers!r}: {fault}" in message


@pytest.mark.parametrize("servers", ["a:9092", "a.b-c:9092,10.0.0.1:1", "[::1]:9092"])
def test_broker_addresses_with_ports_are_kept(servers: str):
    assert load_settings(kafka_bootstrap_servers=servers).kafka_bootstrap_servers == servers


def test_misspelt_variable_in_the_env_file_is_refused(tmp_path: Path):
    (tmp_path / ".env").write_text("RUTER_SORUCE=tides\nRUTER_HISTORY_DAYS=49\n")
    with pytest.raises(
        SettingsError, match=r"Unknown setting RUTER_SORUCE \(in .env\). Did you mean RUTER_SOURCE\?"
    ):
        load_settings()


def test_named_env_file_must_exist(monkeypatch: pytest.MonkeyPatch):
    assert "RUTER_ENV_FILE='other.env': there is no such file" in refused(
        monkeypatch, RUTER_ENV_FILE="other.env"
    )


def test_env_file_may_be_a_device_or_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("RUTER_ENV_FILE", "/dev/null")
    assert load_settings().source == "demo"
    (tmp_path / "ruter.env").write_text("RUTER_DEMO_SEED=7\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUTER_ENV_FILE", "~/ruter.env")
    assert load_settings().demo_seed == 7
