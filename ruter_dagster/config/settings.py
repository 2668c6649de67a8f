"""All settings of a deployment, read once from `RUTER_*` variables and `.env`, and validated before anything runs.

Properties of an operator (country, time zone, holidays, thresholds) belong in operator.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from datetime import date
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote, urlsplit

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, SettingsConfigDict

from ruter_dagster.config.alerts import TIME_OF_DAY, AlertSettings
from ruter_dagster.config.aws import SecretSource
from ruter_dagster.config.demo_faults import FAULT_KINDS, parse_faults
from ruter_dagster.config.feeds import FeedSettings
from ruter_dagster.config.kafka import EmptyPrefix, KafkaSettings
from ruter_dagster.config.metrics import MetricsSettings
from ruter_dagster.config.sagemaker import SageMakerSettings, parse_pairs
from ruter_dagster.config.scores import ScoreSettings
from ruter_dagster.contracts.errors import SettingsError as SettingsError
from ruter_dagster.contracts.sandbox import SANDBOX
from ruter_dagster.metrics.targets import MetricTargets

ENVIRONMENTS = ("local", "dev", "test", "stage", "prod")
ALLOWED_ENVIRONMENTS = f"{', '.join(ENVIRONMENTS)}, or a branch's sandbox such as s-mybranch-1a2b3c"

DEMO_ISSUE_DATE = date(2026, 11, 20)
DEMO_SEED = 20

LOCATION_SETTINGS = {
    "tides": ("tides_path", "the folder or s3:// prefix of the TIDES tables"),
    "warehouse": ("warehouse_file", "the file of its queries (examples/warehouse has one)"),
}
"""The setting with the location of each source's data, and its meaning. The demo network has none."""

BOOTSTRAP_SERVERS_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
ENV_FILE_VARIABLE = "RUTER_ENV_FILE"
"""Variable with the path of a file that is read instead of `.env`. If it is empty, no file is read."""


class Settings(AlertSettings, FeedSettings, KafkaSettings, SageMakerSettings, MetricsSettings, ScoreSettings):
    """Settings of one process. `to_environment` passes them to the jobs that it starts."""

    model_config = SettingsConfigDict(
        env_prefix="RUTER_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    environment: str = Field(
        "local",
        description="Environment; each has its own topics and state",
        json_schema_extra={"allowed": ALLOWED_ENVIRONMENTS},
    )
    operator: str | None = Field(
        None,
        description="Path of an operator file, or the name of one in the package (ruter). "
        "Default: the demo network's own; operator.toml beside TIDES tables; else ruter",
    )
    source: Literal["demo", "tides", "warehouse"] = Field(
        "demo", description="Source of raw data: the demo network, TIDES tables, or a warehouse behind Athena"
    )
    tides_path: str | None = Field(
        None, description="Folder or s3:// prefix of TIDES tables, for the source tides"
    )
    gtfs_path: str | None = Field(
        None,
        description="GTFS feeds, the plan of the source tides: a zip, a folder or an s3:// prefix, or a folder of several of them. "
        "Default: `gtfs` or `gtfs.zip` beside TIDES tables in a folder of this machine; else what ran is the plan",
    )
    warehouse_file: str | None = Field(
        None, description="Path or s3:// address of the file of queries, for the source warehouse"
    )
    demo_seed: int = Field(DEMO_SEED, ge=0, description="Seed of the demo network")
    demo_scale: Literal["demo", "ruter"] = Field("demo", description="Size of the demo network")
    demo_faults: str | None = Field(
        None,
        description="Faults of the demo network, to try the drift checks and alerts: `kind:from:to`, or `kind:from:to:subject` with "
        "a line, mode or vehicle, separated by commas",
        json_schema_extra={"allowed": f"kinds {', '.join(FAULT_KINDS)}"},
    )
    history_start: date | None = Field(
        None, description="First operating date of the partitions, YYYY-MM-DD. Default: the operator's"
    )
    history_days: int = Field(
        84,
        ge=1,
        description="Operating dates of history that `ruter-dagster demo` materialises, if that many partitions exist",
    )
    issue_date: date | None = Field(
        None,
        description="Issue date of `ruter-dagster demo`, YYYY-MM-DD. Default: 2026-11-20, or the newest that TIDES data allows",
    )

    state_dir: Path = Field(
        Path("state"),
        description="Folder of all state. A relative path is below the working folder. It contains `<source>`, "
        "or `<environment>/<source>` if the environment is not local",
    )
    commit: str | None = Field(None, description="Commit of the code, needed without a git checkout")
    branch: str | None = Field(
        None, description="Branch of the code, a tag of SageMaker's jobs; needed without a git checkout"
    )
    job_days: int | None = Field(
        None,
        ge=1,
        description="Operating dates in one job of a range. Default: 4 for a warehouse and for the demo network at Ruter's size, "
        "else 400",
    )
    step_retries: int = Field(2, ge=0, le=20, description="Retries of a failed step")
    step_retry_delay: float = Field(
        5.0, ge=0, description="Seconds before the first retry of a step, doubled for each further one"
    )
    asset_retries: Annotated[dict[str, Annotated[int, Field(ge=0, le=20)]], NoDecode] = Field(
        default_factory=dict,
        description="Retries by asset, for instance forecasts/published_forecasts=5,models/load_model=0",
    )
    asset_retry_delays: Annotated[dict[str, Annotated[float, Field(ge=0)]], NoDecode] = Field(
        default_factory=dict,
        description="Seconds before the first retry by asset, for instance forecasts/published_forecasts=30",
    )

    daily_at: str = Field("04:30", pattern=TIME_OF_DAY, description="Local time of the daily chain, HH:MM")
    publish_by: str = Field(
        "06:00",
        pattern=TIME_OF_DAY,
        description="Local time by which the forecasts of the day must be published, HH:MM. Later, they are late",
    )
    training_at: str = Field(
        "sunday 05:30",
        pattern=r"^(monday|tuesday|wednesday|thursday|friday|saturday|sunday) ([01]\d|2[0-3]):[0-5]\d$",
        description="Local time of the weekly training, for instance `sunday 05:30`",
    )
    training_days: int = Field(
        400, ge=35, description="Number of newest operating dates that a model is trained on, if they exist"
    )
    evaluation_days: int = Field(
        14,
        ge=7,
        description="Number of newest operating dates that the release gate uses. A model that passes is then trained on them too",
    )

    training_rows_per_date: int = Field(
        5000,
        ge=100,
        le=20_000,
        description="Maximum number of departures of each operating date in the training sample",
    )
    training_seed: int = Field(1, ge=0, description="Seed of the training sample and of the trees")

    reports_url: str = Field(
        "http://127.0.0.1:3001",
        pattern=r"^https?://[^/]+",
        description="Address of the quality reports, for links in Dagster's UI. `ruter-dagster dev` serves the reports of the state folder "
        "there, on the loopback interface. With a lake, links lead to S3",
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
        """Adds two sources after the usual ones: the secret, and a topic prefix that is empty."""
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            SecretSource(settings_cls),
            EmptyPrefix(settings_cls, dotenv_settings),
        )

    @field_validator("environment")
    @classmethod
    def _check_environment(cls, value: str) -> str:
        if value not in ENVIRONMENTS and not SANDBOX.fullmatch(value):
            raise ValueError(f"allowed: {ALLOWED_ENVIRONMENTS}")
        return value

    @field_validator("demo_faults")
    @classmethod
    def _check_demo_faults(cls, value: str | None) -> str | None:
        parse_faults(value or "")
        return value

    @field_validator("asset_retries", "asset_retry_delays", mode="before")
    @classmethod
    def _parse_pairs(cls, value: Any) -> Any:
        return parse_pairs(value, "asset=number,asset=number") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_source_paths(self) -> Settings:
        source_is_set = "source" in self.model_fields_set
        if self.gtfs_path and (self.source == "warehouse" or not source_is_set):
            raise ValueError(
                f"RUTER_GTFS_PATH={self.gtfs_path} is read only with RUTER_SOURCE=tides: set that and RUTER_TIDES_PATH too, "
                "or unset it"
            )
        for source, (field, meaning) in LOCATION_SETTINGS.items():
            variable, location = f"RUTER_{field.upper()}", getattr(self, field)
            if source == self.source and not location:
                raise ValueError(f"RUTER_SOURCE={source} needs {variable}, {meaning}")
            if location and not source_is_set:
                raise ValueError(
                    f"{variable}={location} is read only with RUTER_SOURCE={source}: set that too "
                    "(or RUTER_SOURCE=demo for the demo network)"
                )
        return self

    @model_validator(mode="after")
    def _check_training_days(self) -> Settings:
        if self.evaluation_days >= self.training_days:
            raise ValueError(
                f"RUTER_EVALUATION_DAYS={self.evaluation_days} must be less than RUTER_TRAINING_DAYS={self.training_days}: "
                "the dates of the evaluation are not used for training"
            )
        return self

    @property
    def source_location(self) -> str | None:
        """Folder, file or address of the source's data as in the settings; None for the demo network."""
        setting = LOCATION_SETTINGS.get(self.source)
        return getattr(self, setting[0]) if setting else None

    @property
    def source_dir(self) -> Path:
        """Folder of the state (tables, run history, broker) of this source in this environment."""
        base = self.state_dir.absolute()
        return (base if self.environment == "local" else base / self.environment) / self.source_name

    @property
    def source_name(self) -> str:
        """Name of the source's state: `demo`, or `<source>-<folder or file>-<hash>`.

        The hash is of the whole location, so that two folders with the same name have different states.
        """
        if self.source == "demo":
            seed = "" if self.demo_seed == DEMO_SEED else f"-seed-{self.demo_seed}"
            return ("demo" if self.demo_scale == "demo" else f"demo-{self.demo_scale}") + seed
        location = self._normalised_location
        name = re.sub(r"[^a-zA-Z0-9]+", "-", location.rsplit("/", 1)[-1].removesuffix(".toml")).strip("-")
        return "-".join(filter(None, (self.source, name, sha256(location.encode()).hexdigest()[:6])))

    @property
    def _normalised_location(self) -> str:
        """Location of the source's data: an address, an absolute path, or a path relative to the project.

        The path is relative if the state folder is in the same project. A moved project then keeps the names of its states.
        With a lake, which several projects share, the path is absolute.
        """
        location = (self.source_location or "").rstrip("/")
        if location.startswith("file://"):
            location = unquote(urlsplit(location).path)
        if "://" in location:
            return location
        path, project = _absolute(location), _absolute(self.state_dir).parent
        inside = self.lake is None and path.is_relative_to(project)
        return path.relative_to(project).as_posix() if inside else path.as_posix()

    @property
    def lake_dir(self) -> str | None:
        """Prefix of this environment and source in the lake; None if the state is in `source_dir`."""
        return f"{self.lake}/{self.environment}/{self.source_name}" if self.lake else None

    @property
    def artifacts_location(self) -> str:
        """Address or folder of the files beside the tables: models, verdicts, reports."""
        return f"{self.lake_dir}/artifacts" if self.lake else str(self.source_dir / "artifacts")

    def report_page(self, key: str) -> str | None:
        """Address of a report for browsers, by its key among the artifacts; None with a lake, whose reports are in S3."""
        return None if self.lake else f"{self.reports_url.rstrip('/')}/{quote(key)}"

    @property
    def database(self) -> str:
        """Glue database of the tables. By default each environment and source has its own."""
        default = re.sub(r"[^a-z0-9]+", "_", f"rd_{self.environment}_{self.source_name}".lower())
        return self.glue_database or default

    @property
    def runs_in_sagemaker(self) -> bool:
        """Whether jobs run in SageMaker and not as processes of this machine."""
        return (self.launcher or ("local" if self.environment == "local" else "sagemaker")) == "sagemaker"

    @property
    def days_per_job(self) -> int:
        """Operating dates of one job in a range. Four dates of Ruter's size fill the memory of a job; a warehouse may be as large."""
        large = self.source == "warehouse" or (self.source == "demo" and self.demo_scale == "ruter")
        return self.job_days or (4 if large else 400)

    @property
    def metric_targets(self) -> MetricTargets | None:
        """Where metrics are sent; None if no setting names a target."""
        statsd = (self.statsd_host, self.statsd_port) if self.statsd_host else None
        environment = self.metrics_environment or self.environment
        uses_emf = self.metrics_environment is not None
        return MetricTargets(environment, uses_emf, self.emf_endpoint, statsd) if uses_emf or statsd else None

    @property
    def topic_prefix(self) -> str:
        return f"{self.environment}." if self.kafka_topic_prefix is None else self.kafka_topic_prefix

    def to_environment(self) -> dict[str, str]:
        """Variables that give another process of this machine the same settings, secrets included."""
        variables = {
            _variable(name): _to_text(getattr(self, name))
            for name in type(self).model_fields
            if name in self.model_fields_set
        }
        return {name: value for name, value in variables.items() if value} | {
            "RUTER_STATE_DIR": str(self.state_dir.absolute())
        }


def _absolute(path: str | Path) -> Path:
    """The absolute path without `..`. Links are kept: a link to the newest delivery is the same source every day."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def env_file() -> Path | None:
    """The file of settings, None if no file is read. Raises SettingsError if the named file does not exist."""
    name = os.environ.get(ENV_FILE_VARIABLE, ".env")
    if name != ".env" and name and not Path(name).expanduser().exists():
        raise SettingsError(
            f"Settings are wrong:\n  {ENV_FILE_VARIABLE}={name!r}: there is no such file; correct or unset the variable, "
            "or set it to an empty value to read no file"
        )
    return Path(name) if name else None


def load_settings(**overrides: Any) -> Settings:
    """Reads the settings. Raises `SettingsError` that lists each wrong variable, its value and what is allowed."""
    overrides = {"_env_file": env_file(), **overrides} if "_env_file" not in overrides else overrides
    faults = list(_unknown_variables(overrides["_env_file"]))
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        faults += map(_describe, error.errors())
        raise SettingsError("\n".join(["Settings are wrong:", *faults])) from None
    if faults:
        raise SettingsError("\n".join(["Settings are wrong:", *faults]))
    return settings


def _unknown_variables(file: Path | None) -> Iterator[str]:
    """One line for each variable of the environment or the file whose name is similar to a setting's."""
    # A pipe (from a program that decrypts the file) can be read only once, and the settings read it later.
    is_file = file is not None and file.expanduser().is_file()
    file_variables = DotEnvSettingsSource(Settings, env_file=file).env_vars if is_file else {}
    names_by_origin = {"": set(os.environ), f" (in {file})": {name.upper() for name in file_variables}}
    known = {f"RUTER_{name.upper()}" for name in Settings.model_fields}
    all_names = set().union(*names_by_origin.values())
    for origin, names in names_by_origin.items():
        for name in sorted(names):
            if suggestion := _suggestion(name, known, all_names):
                yield f"  Unknown setting {name}{origin}. Did you mean {suggestion}?"


def _suggestion(name: str, known: Collection[str], all_names: Collection[str]) -> str | None:
    """The setting that a misspelt variable means; None for a correct name and for variables of other programs."""
    if name.startswith("RUTER_"):
        return None if name in known else _most_similar(name, known)
    if not name.startswith("KAFKA_") or name == BOOTSTRAP_SERVERS_VARIABLE:
        return None
    # KAFKA_SASL_USERNAME alone is a forgotten prefix; beside RUTER_KAFKA_SASL_USERNAME it belongs to another program.
    prefixed = f"RUTER_{name}"
    if prefixed in known:
        return None if prefixed in all_names else prefixed
    return _most_similar(name, [BOOTSTRAP_SERVERS_VARIABLE])


def _most_similar(name: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(name, known, n=1, cutoff=0.85)), None)


def _describe(error: Any) -> str:
    """One line for an invalid setting: its variable, its value and what is allowed."""
    if not error["loc"]:
        return f"  {error['msg'].removeprefix('Value error, ')}"
    name = str(error["loc"][0])
    variable = name if name.isupper() else f"RUTER_{name.upper()}"
    field = Settings.model_fields.get(name)
    meaning = f" ({field.description})" if field and field.description else ""
    text = "=".join(map(str, (*error["loc"][1:], error["input"]))) if error["loc"][1:] else error["input"]
    is_secret = any(word in variable for word in ("PASSWORD", "TOKEN")) or _may_have_credentials(
        variable, text
    )
    value = "(hidden)" if is_secret else repr(text)
    return f"  {variable}={value}: {error['msg'].removeprefix('Value error, ')}{meaning}"


def _may_have_credentials(variable: str, value: Any) -> bool:
    """Whether an address may name a user and a password before its host."""
    return variable.endswith(("_URL", "_URI")) and "@" in str(value)


def _variable(name: str) -> str:
    """The variable of a setting: its first alias, if it has aliases."""
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"RUTER_{name.upper()}"


def _to_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return ",".join(f"{key}={number}" for key, number in value.items())
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)
