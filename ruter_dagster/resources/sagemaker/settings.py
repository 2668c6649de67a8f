"""What each job runs on in SageMaker: read once from a TOML file over the package's own, every fault told in one error.

How a file is written: docs/sagemaker.md; what its tables are: jobs_file.py. What a deployment gives all jobs (image, role, network)
are settings of config/sagemaker.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ruter_dagster.config.settings import SANDBOX, Settings, SettingsError
from ruter_dagster.contracts.jobs import JOBS
from ruter_dagster.resources.sagemaker.jobs_file import SANDBOXES, JobsFile, Layer

PACKAGED = Path(__file__).with_name("jobs.toml")
QUOTA = r"^ml\.\S+ for (processing|training|spot training) job usage$"

InstanceType = Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")]


class JobSettings(BaseModel):
    """Settings of one job; of some of a job's as well, as a table of the file has them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["processing", "training"] = "processing"
    image: str = Field("", pattern=r"^\S+@sha256:[0-9a-f]{64}$")
    role: str = Field("", pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/\S+$")
    entrypoint: tuple[str, ...] = ("python", "-m", "ruter_dagster.jobs")
    instance_types: tuple[InstanceType, ...] = Field((), min_length=1)
    instance_count: int = 1
    jobs_at_once: int = Field(8, ge=1)
    volume_gb: int = Field(30, ge=1, le=16_384)
    timeout_minutes: int = Field(60, ge=1)
    subnets: tuple[str, ...] = Field((), max_length=16)
    security_groups: tuple[str, ...] = Field((), max_length=5)
    kms_key: str = ""
    network_isolation: bool = False
    encrypt_between_instances: bool = False
    follow_logs: bool = True
    spot: bool = False
    spot_wait_minutes: int = Field(0, ge=0)
    keep_alive_minutes: int = Field(0, ge=0, le=360)
    tags: dict[str, str] = Field(default_factory=dict)

    @field_validator("instance_count")
    @classmethod
    def _is_one(cls, value: int) -> int:
        if value != 1:
            raise ValueError(
                "a job runs on one instance, each of several would do the whole of it; jobs_at_once runs a range's side by side"
            )
        return value

    @field_validator("network_isolation")
    @classmethod
    def _reaches_its_tables(cls, value: bool) -> bool:
        if value:
            raise ValueError("it would keep the job from its tables: use subnets with VPC endpoints")
        return value

    def faults(self) -> list[str]:
        """What does not fit together, whatever the deployment gives all jobs."""
        training = self.kind == "training"
        only = 'needs kind = "training"'
        rules = [
            (self.spot and not training, f"spot {only}"),
            (bool(self.keep_alive_minutes) and not training, f"keep_alive_minutes {only}"),
            (bool(self.keep_alive_minutes) and self.spot, "a warm pool cannot be of spot instances: keep_alive_minutes or spot"),
            (0 < self.spot_wait_minutes < self.timeout_minutes, "spot_wait_minutes counts the running too: at least timeout_minutes"),
            (self.timeout_minutes > (28 if training else 9) * 1440, "timeout_minutes is over SageMaker's limit, 9 days (training 28)"),
        ]  # fmt: skip
        return [fault for wrong, fault in rules if wrong]

    def faults_deployed(self) -> list[str]:
        """What is missing, or does not fit together, with what the deployment gives."""
        rules = [
            (not self.image, "image: not given; set RUTER_SAGEMAKER_IMAGE"),
            (not self.role, "role: not given; set RUTER_SAGEMAKER_ROLE"),
            (bool(self.subnets) != bool(self.security_groups), "subnets and security_groups need each other"),
        ]
        return [fault for wrong, fault in rules if wrong]

    @property
    def pool(self) -> str:
        """The Dagster pool of what the job runs on, by the quota that it takes from."""
        return f"sagemaker-{self.kind}-{self.instance_types[0]}"

    @property
    def quota(self) -> str:
        """The quota's name in Service Quotas."""
        return f"{self.instance_types[0]} for {'spot ' if self.spot else ''}{self.kind} job usage"


@dataclass(frozen=True)
class JobsSettings:
    """Settings of every job, prices of an instance hour by type, and instances at once by the name of their quota."""

    jobs: Mapping[str, JobSettings]
    prices: Mapping[str, float] = field(default_factory=dict)
    quotas: Mapping[str, int] = field(default_factory=dict)

    def at_once(self, job: str, runs: int) -> int:
        """How many jobs a step may have side by side, where the pool lets so many runs share its quota."""
        chosen = self.jobs[job]
        quota = self.quotas.get(chosen.quota)
        if quota is None:
            return chosen.jobs_at_once
        return max(1, min(chosen.jobs_at_once, quota // max(1, runs)))


def load_jobs_settings(settings: Settings, others: Iterable[str] = ()) -> JobsSettings:
    """Reads the files. Raises SettingsError that names the file and every fault in it once, at its place, with what is allowed.

    `others` are faults of other settings, a line each, that are to be told in the same error.
    """
    own = Path(settings.sagemaker_jobs) if settings.sagemaker_jobs else None
    files = [JobsFile.read(path) for path in (PACKAGED, own) if path]
    faults = [fault for file in files for fault in file.faults]
    layers = [
        _right(layer, faults) for layer in [_given(settings), *(each for f in files for each in f.layers)]
    ]
    here = SANDBOXES if SANDBOX.fullmatch(settings.environment) else settings.environment
    jobs = _of_environment(layers, here)
    faults += _told({name: [*job.faults(), *job.faults_deployed()] for name, job in jobs.items()})
    for there in dict.fromkeys(layer.environment for layer in layers if layer.environment):
        # What the deployment there gives is not known here.
        told = _told({name: job.faults() for name, job in _of_environment(layers[1:], there).items()})
        faults += [fault.replace("  ", f"  in {there}, ", 1) for fault in told if fault not in faults]
    prices: dict[str, float] = {}
    quotas: dict[str, int] = {}
    for file in files:
        faults += _wrong_numbers(file)
        prices |= file.prices
        quotas |= file.quotas
    faults += others
    if faults:
        remedy = _REMEDY + (_ELSE if settings.runs_in_sagemaker else "")
        raise SettingsError(
            "\n".join([f"Jobs cannot run in SageMaker{f' with {own}' if own else ''}:", *faults, remedy])
        )
    return JobsSettings(jobs, prices, quotas)


_REMEDY = (
    "Set what has a variable's name in the environment or .env, settings of jobs in the file that RUTER_SAGEMAKER_JOBS "
    "names (docs/sagemaker.md)."
)
_ELSE = " RUTER_LAUNCHER=local runs jobs on this machine instead."
_VARIABLE = "RUTER_SAGEMAKER_"
_WANTED = {
    "image": "allowed is an image by digest, as 123456789012.dkr.ecr.eu-north-1.amazonaws.com/jobs@sha256:…",
    "role": "allowed is the ARN of a role, as arn:aws:iam::123456789012:role/jobs",
    "instance_types": "allowed are types of SageMaker, as ml.m5.large",
    "tuple_type": 'it must be a list, as ["…"]',
    "dict_type": 'it must be a table, as { name = "…" }',
}


def _given(settings: Settings) -> Layer:
    """What the deployment gives all jobs."""
    names = ("image", "role", "subnets", "security_groups", "kms_key")
    found = {name: getattr(settings, f"sagemaker_{name}") for name in names}
    return Layer(_VARIABLE, {name: value for name, value in found.items() if value})


def _right(layer: Layer, faults: list[str]) -> Layer:
    """The layer less its wrong settings, which are told; what is left can be judged together with the others'."""
    try:
        JobSettings.model_validate(layer.values)
    except ValidationError as error:
        wrong = error.errors()
        faults += [_setting_told(layer.place, fault) for fault in wrong]
        names = {fault["loc"][0] for fault in wrong}
        return replace(layer, values={name: layer.values[name] for name in layer.values if name not in names})
    return layer


def _of_environment(layers: Sequence[Layer], environment: str) -> dict[str, JobSettings]:
    """A job's stand over the default's, and an environment's over those of all."""
    jobs = {}
    for name, kind in JOBS.items():
        values: dict[str, Any] = {"kind": "training" if kind.training else "processing"}
        for layer in layers:
            if layer.is_for(name, environment):
                values |= layer.values
        jobs[name] = JobSettings.model_validate(values)
    return jobs


def _told(faults: Mapping[str, Sequence[str]]) -> list[str]:
    """A line a fault, with the jobs that have it."""
    jobs: dict[str, list[str]] = defaultdict(list)
    for job, found in faults.items():
        for fault in found:
            jobs[fault].append(job)
    return [f"  {_jobs(names)}: {fault}" for fault, names in jobs.items()]


def _jobs(names: Sequence[str]) -> str:
    if len(names) == len(JOBS):
        return "every job"
    return f"job{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _setting_told(place: str, fault: Any) -> str:
    name = ".".join(map(str, fault["loc"]))
    where = f"{place}{name.upper()}" if place == _VARIABLE else f"{place} {name}"
    first, kind = str(fault["loc"][0]), fault["type"]
    if kind == "extra_forbidden":
        message = f"there is no such setting; there are {', '.join(sorted(JobSettings.model_fields))}"
    elif kind == "string_pattern_mismatch":
        message = _WANTED[first]
    else:
        message = _WANTED.get(kind) or fault["msg"].removeprefix("Value error, ")
    return f"  {where}={fault['input']!r}: {message}"


class _Numbers(BaseModel):
    prices: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    quotas: dict[Annotated[str, Field(pattern=QUOTA)], Annotated[int, Field(ge=0)]]


def _wrong_numbers(file: JobsFile) -> list[str]:
    try:
        _Numbers(prices=dict(file.prices), quotas=dict(file.quotas))
    except ValidationError as error:
        return [_number_told(fault) for fault in error.errors()]
    return []


def _number_told(fault: Any) -> str:
    section, name, *of_name = fault["loc"]
    if of_name:
        return f"  [{section}] {name!r}: a quota is named as Service Quotas does, as 'ml.m5.large for processing job usage'"
    return f"  [{section}] {name!r}={fault['input']!r}: {fault['msg']}"
