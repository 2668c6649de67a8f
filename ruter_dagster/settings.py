"""Every setting of the project, read once from `RUTER_*` variables and `.env`, and validated before anything runs.

What an *operator* is (country, time zone, holidays, thresholds) belongs in an operator file, not here.
"""

from __future__ import annotations

import os
import re
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    SettingsConfigDict,
)

from ruter_dagster.contracts.errors import PermanentFailure

ENVIRONMENTS = ("local", "dev", "test", "stage", "prod")
SANDBOX = re.compile(r"s-[a-z0-9]{1,8}-[0-9a-f]{6}")
ALLOWED_ENVIRONMENTS = f"{', '.join(ENVIRONMENTS)}, or a branch's sandbox such as s-mybranch-1a2b3c"

DEMO_ISSUE_DATE = date(2026, 11, 20)


class SettingsError(PermanentFailure):
    """A setting is wrong: the message lists each variable, its value and what is allowed."""


class Settings(BaseSettings):
    """Settings of one process; `to_environment` hands them on to the jobs that it starts."""

    model_config = SettingsConfigDict(
        env_prefix="RUTER_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    environment: str = Field(
        "local",
        description="Where this runs; each has topics and state of its own",
        json_schema_extra={"allowed": ALLOWED_ENVIRONMENTS},
    )
    operator: str | None = Field(
        None,
        description="Name of an operator file of the package (ruter) or the path of one; "
        "by default the demo network's own, or the TIDES folder's operator.toml, else ruter",
    )
    source: Literal["demo", "tides"] = Field("demo", description="Where raw data comes from: demo or tides")
    tides_path: str | None = Field(
        None, description="Folder or s3:// prefix of TIDES tables, for the source tides"
    )
    demo_seed: int = Field(20, ge=0, description="Seed of the demo network")
    demo_scale: Literal["demo", "ruter"] = Field(
        "demo", description="Size of the demo network: demo or ruter"
    )
    history_start: date | None = Field(
        None, description="First operating date of the partitions, YYYY-MM-DD; by default the operator's"
    )
    history_days: int = Field(
        84, ge=35, description="Operating dates of history that `ruter-dagster demo` materialises"
    )
    issue_date: date | None = Field(
        None,
        description="Issue date of `ruter-dagster demo`; by default 2026-11-20, or the newest that TIDES data allows",
    )

    state_dir: Path = Field(
        Path("state"),
        description="Folder of all state, below the working folder if relative; in it `<source>`, "
        "or `<environment>/<source>` where the environment is not local",
    )
    commit: str | None = Field(None, description="Commit of the code, where no git checkout can tell")
    job_days: int = Field(400, ge=1, description="Operating dates in one job of a range")
    step_retries: int = Field(2, ge=0, le=20, description="Retries of a failed step")
    step_retry_delay: float = Field(
        5.0, ge=0, description="Seconds before the first retry of a step, then doubling"
    )
    asset_retries: Annotated[dict[str, Annotated[int, Field(ge=0, le=20)]], NoDecode] = Field(
        default_factory=dict,
        description="Retries by asset, as forecasts/published_forecasts=5,models/load_model=0",
    )
    asset_retry_delays: Annotated[dict[str, Annotated[float, Field(ge=0)]], NoDecode] = Field(
        default_factory=dict,
        description="Seconds before the first retry by asset, as forecasts/published_forecasts=30",
    )

    daily_at: str = Field(
        "04:30", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="Local time of the daily chain, HH:MM"
    )
    training_at: str = Field(
        "sunday 05:30",
        pattern=r"^(monday|tuesday|wednesday|thursday|friday|saturday|sunday) ([01]\d|2[0-3]):[0-5]\d$",
        description="Local time of the weekly training, as `sunday 05:30`",
    )
    training_days: int = Field(
        56, ge=7, description="Newest operating dates that a training and its evaluation use"
    )
    evaluation_days: int = Field(
        14, ge=7, description="Newest of them, kept out of training, that the gate judges on"
    )

    kafka_bootstrap_servers: str | None = Field(
        None,
        validation_alias=AliasChoices("KAFKA_BOOTSTRAP_SERVERS", "RUTER_KAFKA_BOOTSTRAP_SERVERS"),
        description="host:port,… of a Kafka cluster; by default the broker of `ruter-dagster broker`",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How the cluster is reached: TLS with SSL and SASL_SSL"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="SASL mechanism; SASL needs it, a user and a password"
    )
    kafka_sasl_username: str | None = Field(None, description="SASL user")
    kafka_sasl_password: SecretStr | None = Field(None, description="SASL password; printed nowhere")
    kafka_ssl_ca_location: Path | None = Field(
        None, description="File of the certificate authority, where the system does not know it"
    )
    kafka_topic_prefix: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9._-]{1,100}$",
        description="Prefix of topics; where it is not set, the environment and a dot",
    )
    kafka_replication: int = Field(1, ge=1, le=5, description="Replicas of topics that are made")

    slack_token: SecretStr | None = Field(
        None, description="Token of a Slack bot that may chat:write; without one no alert is sent"
    )
    slack_channel: str = Field(
        "#ruter-dagster", description="Channel of the alerts, by name or id; the bot must be its member"
    )
    slack_api_url: str = Field(
        "https://slack.com/api/", description="Address of Slack's API; another one for a proxy or a stub"
    )
    dagster_url: str = Field(
        "http://127.0.0.1:3000", description="Address of the Dagster UI, for links in alerts"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: Any,
        env_settings: Any,
        dotenv_settings: Any,
        file_secret_settings: Any,
    ) -> tuple[Any, ...]:
        """The usual sources, and then an empty topic prefix: it could mean no prefix, so it is refused, not passed over."""
        as_written = (
            EnvSettingsSource(settings_cls, env_ignore_empty=False),
            DotEnvSettingsSource(settings_cls, dotenv_settings.env_file, env_ignore_empty=False),
        )

        def empty_prefix() -> dict[str, Any]:
            written = [source().get("kafka_topic_prefix") for source in as_written]
            return {"kafka_topic_prefix": ""} if "" in written else {}

        return init_settings, env_settings, dotenv_settings, empty_prefix

    @field_validator("environment")
    @classmethod
    def _known_environment(cls, value: str) -> str:
        if value not in ENVIRONMENTS and not SANDBOX.fullmatch(value):
            raise ValueError(f"allowed: {ALLOWED_ENVIRONMENTS}")
        return value

    @field_validator("asset_retries", "asset_retry_delays", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [item.partition("=") for item in value.split(",") if item.strip()]
        if any(not separator for _, separator, _ in pairs):
            raise ValueError("write it as asset=number,asset=number")
        return {asset.strip(): number.strip() for asset, _, number in pairs}

    @model_validator(mode="after")
    def _source_has_its_place(self) -> Settings:
        if self.source == "tides" and not self.tides_path:
            raise ValueError(
                "RUTER_SOURCE=tides needs RUTER_TIDES_PATH, the folder or s3:// prefix of the TIDES tables"
            )
        if self.tides_path and "source" not in self.model_fields_set:
            raise ValueError(
                f"RUTER_TIDES_PATH={self.tides_path} is read with RUTER_SOURCE=tides alone: set that too "
                "(or RUTER_SOURCE=demo, where the demo network is meant)"
            )
        return self

    @model_validator(mode="after")
    def _leaves_dates_to_train_on(self) -> Settings:
        if self.evaluation_days >= self.training_days:
            raise ValueError(
                f"RUTER_EVALUATION_DAYS={self.evaluation_days} must be less than RUTER_TRAINING_DAYS={self.training_days}: "
                "the newest dates with features are kept out of training"
            )
        return self

    @model_validator(mode="after")
    def _sasl_is_whole(self) -> Settings:
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_sasl_mechanism and self.kafka_sasl_username and self.kafka_sasl_password
        ):
            raise ValueError(
                f"RUTER_KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs RUTER_KAFKA_SASL_MECHANISM, "
                "RUTER_KAFKA_SASL_USERNAME and RUTER_KAFKA_SASL_PASSWORD"
            )
        return self

    @property
    def source_dir(self) -> Path:
        """Folder of this source's state: no source, and no environment, meets another's tables, history or broker."""
        base = self.state_dir.absolute()
        return (base if self.environment == "local" else base / self.environment) / self.source_name

    @property
    def source_name(self) -> str:
        """Name of the source's state folder: `demo`, or `tides-<folder>`, so that two TIDES folders stay apart."""
        if self.source == "demo":
            return "demo" if self.demo_scale == "demo" else f"demo-{self.demo_scale}"
        return "tides-" + re.sub(
            r"[^a-zA-Z0-9]+", "-", (self.tides_path or "").rstrip("/").rsplit("/", 1)[-1]
        )

    @property
    def topic_prefix(self) -> str:
        return f"{self.environment}." if self.kafka_topic_prefix is None else self.kafka_topic_prefix

    def to_environment(self) -> dict[str, str]:
        """The variables that give another process these same settings."""
        names = {"kafka_bootstrap_servers": "KAFKA_BOOTSTRAP_SERVERS"}
        values = {
            names.get(name, f"RUTER_{name.upper()}"): _to_text(getattr(self, name))
            for name in type(self).model_fields
            if name in self.model_fields_set
        }
        return {name: value for name, value in values.items() if value} | {
            "RUTER_STATE_DIR": str(self.state_dir.absolute())
        }


def load_settings(**overrides: Any) -> Settings:
    """Reads the settings; raises `SettingsError` that names each wrong variable, its value and what is allowed."""
    faults = [f"  {name} is no setting: did you mean {meant}?" for name, meant in _misspelt().items()]
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        faults += map(_describe, error.errors())
        raise SettingsError("\n".join(["Settings are wrong:", *faults])) from None
    if faults:
        raise SettingsError("\n".join(["Settings are wrong:", *faults]))
    return settings


def _misspelt() -> dict[str, str]:
    """Variables of the environment that nearly have a setting's name, each with the setting that was meant."""
    known = {f"RUTER_{name.upper()}" for name in Settings.model_fields}
    unknown = [name for name in os.environ if name.startswith("RUTER_") and name not in known]
    close = {name: get_close_matches(name, known, n=1, cutoff=0.85) for name in sorted(unknown)}
    return {name: found[0] for name, found in close.items() if found}


def _describe(fault: Any) -> str:
    if not fault["loc"]:
        return f"  {fault['msg'].removeprefix('Value error, ')}"
    name = str(fault["loc"][0])
    variable = name if name.isupper() else f"RUTER_{name.upper()}"
    field = Settings.model_fields.get(name)
    meaning = f" ({field.description})" if field and field.description else ""
    secret = any(word in variable for word in ("PASSWORD", "TOKEN"))
    given = "=".join(map(str, (*fault["loc"][1:], fault["input"]))) if fault["loc"][1:] else fault["input"]
    value = "(hidden)" if secret else repr(given)
    return f"  {variable}={value}: {fault['msg'].removeprefix('Value error, ')}{meaning}"


def _to_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return ",".join(f"{key}={number}" for key, number in value.items())
    return str(value)
