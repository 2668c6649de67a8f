"""Settings of a deployment in AWS: tables, files, experiments and secrets. Settings of SageMaker jobs belong in sagemaker.py."""

from __future__ import annotations

import re
from typing import Any

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from ruter_dagster.aws.remote_paths import remote_path_faults
from ruter_dagster.aws.secrets import secret_values
from ruter_dagster.contracts.errors import PermanentFailure, SettingsError

_MLFLOW_ARN = re.compile(
    r"arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:\d{12}:mlflow-(tracking-server|app)/[A-Za-z0-9-]+"
)
_MLFLOW_SERVER = (
    "http(s)://…, or the ARN of a tracking server of SageMaker "
    "(arn:aws:sagemaker:<region>:<account>:mlflow-tracking-server/<name>)"
)
NO_MLFLOW = "none"
"""Value of the address of MLflow of a deployment without MLflow."""
_MLFLOW = f"allowed: sqlite:///…, {_MLFLOW_SERVER}, or {NO_MLFLOW}"

NOT_FOR_JOBS = frozenset(
    f"RUTER_{name}"
    for name in (
        "STATE_DIR", "COMMIT", "BRANCH", "HISTORY_DAYS", "ISSUE_DATE", "JOB_DAYS", "STEP_RETRIES", "STEP_RETRY_DELAY", "ASSET_RETRIES",
        "ASSET_RETRY_DELAYS", "DAILY_AT", "TRAINING_AT", "TRAINING_DAYS", "EVALUATION_DAYS", "SLACK_TOKEN", "SLACK_CHANNEL",
        "SLACK_CHANNELS", "SLACK_API_URL", "SMTP_HOST", "SMTP_PORT", "SMTP_SECURITY", "SMTP_CA_LOCATION", "SMTP_USER", "SMTP_PASSWORD",
        "EMAIL_FROM", "EMAIL_TO", "ALERTS_TOPIC", "DAGSTER_URL", "ALERT_QUIET_MINUTES", "DATA_BY", "FRESHNESS_HOURS", "BACKLOG_RUNS",
        "BACKLOG_MINUTES", "LAUNCHER", "SAGEMAKER_IMAGE", "SAGEMAKER_ROLE", "SAGEMAKER_ROLES", "SAGEMAKER_SUBNETS",
        "SAGEMAKER_SECURITY_GROUPS", "SAGEMAKER_KMS_KEY", "SAGEMAKER_JOBS", "SAGEMAKER_STUDIO_URL", "SAGEMAKER_PACE",
        "JOB_EVENTS_QUEUE", "ARRIVALS_QUEUE", "EMF_ENDPOINT",
    )
)  # fmt: skip
"""Variables that only Dagster's processes read, so that jobs do not get them."""

NEEDED_WITH = {"smtp_password": "smtp_user", "schema_registry_password": "schema_registry_username"}
"""Fields of secrets that are needed only if another setting is set."""


class AwsSettings(BaseSettings):
    """Settings of resources in AWS. All are unset on a laptop."""

    lake: str | None = Field(
        None,
        description="Bucket and prefix of tables and files, with a folder for each environment and source. "
        "Without it, they are in the state folder, and the catalog is a SQLite file",
        json_schema_extra={"allowed": "s3://bucket/prefix"},
    )
    aws_region: str | None = Field(
        None,
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION", "RUTER_AWS_REGION"),
        pattern=r"^[a-z]{2,}(-[a-z]+)+-\d+$",
        description="Region of the lake, the Glue catalog, Athena and the secret",
    )
    glue_database: str | None = Field(
        None,
        pattern=r"^[a-z0-9_]{1,255}$",
        description="Glue database of the tables, created if it does not exist. Default: rd_<environment>_<source>",
    )
    mlflow_tracking_uri: str | None = Field(
        None,
        description="Address of MLflow, required with a lake. Default: a SQLite file in the state folder. "
        "SageMaker's MLflow (by ARN) needs the package sagemaker-mlflow, which the jobs' image has. "
        "With `none`, trainings are recorded in Dagster only",
        json_schema_extra={"allowed": "sqlite:///…, http(s)://…, an ARN of SageMaker's MLflow, or none"},
    )
    secrets: str | None = Field(
        None,
        description="Name or ARN of a secret in Secrets Manager: a JSON object with RUTER_KAFKA_SASL_PASSWORD, "
        "RUTER_SCHEMA_REGISTRY_PASSWORD, RUTER_SLACK_TOKEN and RUTER_SMTP_PASSWORD, as far as they are needed. Variables override it. Dagster and the job `publish` read it themselves",
    )

    @field_validator("lake")
    @classmethod
    def _check_lake(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()=-]+)*/?", value):
            raise ValueError(
                "allowed: s3://bucket/prefix. The bucket has 3 to 63 lowercase letters, digits, - and . The prefix has letters, "
                "digits and - _ . = ! * ' ( )"
            )
        return value.rstrip("/")

    @field_validator("mlflow_tracking_uri")
    @classmethod
    def _check_mlflow_uri(cls, value: str | None) -> str | None:
        if value is None or value == NO_MLFLOW or _MLFLOW_ARN.fullmatch(value):
            return value
        if re.match(r"sqlite:///.|https?://[^/]", value):
            return value
        raise ValueError(_MLFLOW)

    @model_validator(mode="after")
    def _check_lake_requirements(self) -> Any:
        faults = self._missing_for_lake() if self.lake else []
        if faults:
            raise ValueError("\n  ".join(f"RUTER_LAKE={self.lake} needs {fault}" for fault in faults))
        return self

    def _missing_for_lake(self) -> list[str]:
        """Settings that a lake needs and that are missing, one line each."""
        faults = []
        if not self.aws_region:
            faults.append("AWS_REGION, the region of its bucket and catalog")
        if not self.mlflow_tracking_uri:
            faults.append(
                "RUTER_MLFLOW_TRACKING_URI, because a job's container loses a SQLite file; allowed: "
                + f"{_MLFLOW_SERVER}, or {NO_MLFLOW}"
            )
        return faults

    @property
    def artifacts_location(self) -> str:
        """Address or folder of files beside the tables: models, verdicts, reports."""
        raise NotImplementedError

    def to_environment(self) -> dict[str, str]:
        """Variables that give another process of this machine the same settings, secrets included."""
        raise NotImplementedError

    def to_remote_environment(self, max_length: int = 256) -> dict[str, str]:
        """Variables of a remote job, without secrets and without settings that only Dagster reads.

        Args:
            max_length: Characters that the service allows in a value.

        Raises:
            SettingsError: There is no lake, a secret cannot reach the job, or a value is too long.
        """
        faults = self.remote_faults(max_length)
        if faults:
            raise SettingsError("\n".join(["Settings are wrong:", *faults]))
        secrets = secret_fields(type(self))
        return {name: value for name, value in self._for_jobs().items() if name not in secrets}

    def remote_faults(self, max_length: int = 256) -> list[str]:
        """Reasons why a remote job cannot use these settings, one line each."""
        variables = self._for_jobs()
        faults = [
            f"  {name}: remote jobs get no secret in a variable; put it into the secret that RUTER_SECRETS names"
            for name in variables.keys() & secret_fields(type(self)).keys()
            if not self.secrets
        ]
        faults += [
            f"  {name} has {len(value)} characters, and remote jobs accept at most {max_length}: shorten it"
            for name, value in variables.items()
            if len(value) > max_length
        ]
        faults += remote_path_faults(variables)
        if not self.lake:
            faults.append("  RUTER_LAKE is not set: a remote job loses the files on its own disk")
            faults += [f"  RUTER_LAKE also needs {fault}" for fault in self._missing_for_lake()]
        elif len(self.artifacts_location) > (limit := max_artifacts_length(max_length)):
            faults.append(
                f"  RUTER_LAKE={self.lake} makes {self.artifacts_location}, which has {len(self.artifacts_location)} characters. "
                f"Remote jobs accept at most {limit}: shorten the lake's prefix"
            )
        return faults

    def _for_jobs(self) -> dict[str, str]:
        return {name: value for name, value in self.to_environment().items() if name not in NOT_FOR_JOBS}


def max_artifacts_length(max_length: int) -> int:
    """Characters that the artifacts location may have, so that Dagster Pipes fits it into a variable of `max_length` characters.

    The variable is base64 of compressed JSON with the location, a run id and a folder name. All but the location take 120 bytes.
    A random letter or digit of the location takes 5.3 bits (log2(36), rounded up by the compression); words take less.
    """
    return int((max_length * 3 / 4 - 120) * 8 / 5.3)


class SecretSource(PydanticBaseSettingsSource):
    """Source of passwords and tokens: the secret that `secrets` names, for fields that neither variables nor `.env` set."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        name = self.current_state.get("secrets")
        if not name:
            return {}
        fields = secret_fields(self.settings_cls)
        unneeded = {name for name, user in NEEDED_WITH.items() if not self.current_state.get(user)}
        if self.current_state.keys() >= set(fields.values()) - unneeded:
            return {}
        entries = secret_values(str(name), self._region())
        if unknown := entries.keys() - fields.keys():
            raise PermanentFailure(
                f"The secret {name} (RUTER_SECRETS) has unknown entries: {', '.join(sorted(unknown))}. "
                f"Remove or rename them; allowed: {', '.join(fields)}."
            )
        return {fields[variable]: value for variable, value in entries.items()}

    def _region(self) -> str | None:
        regions = (
            self.current_state.get(name) for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "aws_region")
        )
        return next((str(region) for region in regions if region), None)


def secret_fields(settings: type[BaseSettings]) -> dict[str, str]:
    """Names of the fields that hold a secret, by variable."""
    return {
        f"RUTER_{name.upper()}": name
        for name, field in settings.model_fields.items()
        if SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ()))
    }
