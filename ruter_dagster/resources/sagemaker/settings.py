"""Settings of each job in SageMaker, read once from the package's TOML file and the deployment's. One error lists every fault.

docs/sagemaker.md describes the file, jobs_file.py reads its tables. Settings of all jobs (image, role, network) belong in
config/sagemaker.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ruter_dagster.config.settings import Settings, SettingsError
from ruter_dagster.contracts.jobs import JOBS
from ruter_dagster.contracts.sandbox import SANDBOX
from ruter_dagster.resources.sagemaker.jobs_file import SANDBOXES, JobsFile, Layer

PACKAGED = Path(__file__).with_name("jobs.toml")
QUOTA = r"^ml\.\S+ for (processing|training|spot training) job usage$"

InstanceType = Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")]


class JobSettings(BaseModel):
    """Settings of one job. A table of the file, which has only some of them, is validated with it too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["processing", "training"] = "processing"
    image: str = Field("", pattern=r"^\S+@sha256:[0-9a-f]{64}$")
    role: str = Field("", pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/\S+$")
    entrypoint: tuple[str, ...] = ("python", "-m", "ruter_dagster.jobs")
    instance_types: tuple[InstanceType, ...] = Field((), min_length=1)
    jobs_at_once: int = Field(8, ge=1)
    volume_gb: int = Field(30, ge=1, le=16_384)
    timeout_minutes: int = Field(60, ge=1)
    subnets: tuple[str, ...] = Field((), max_length=16)
    security_groups: tuple[str, ...] = Field((), max_length=5)
    kms_key: str = ""
    encrypt_between_instances: bool = False
    follow_logs: bool = True
    spot: bool = False
    spot_wait_minutes: int = Field(0, ge=0)
    keep_alive_minutes: int = Field(0, ge=0, le=360)
    tags: dict[str, str] = Field(default_factory=dict)

    def faults(self) -> list[str]:
        """Settings that contradict each other, whatever the deployment's variables are."""
        training = self.kind == "training"
        only = 'needs kind = "training"'
        rules = [
            (self.spot and not training, f"spot {only}"),
            (bool(self.keep_alive_minutes) and not training, f"keep_alive_minutes {only}"),
            (bool(self.keep_alive_minutes) and self.spot, "a warm pool cannot use spot instances: set keep_alive_minutes or spot"),
            (0 < self.spot_wait_minutes < self.timeout_minutes, "spot_wait_minutes includes the run time: set at least timeout_minutes"),
            (self.timeout_minutes > (28 if training else 9) * 1440, "timeout_minutes exceeds SageMaker's limit, 9 days (training 28)"),
        ]  # fmt: skip
        return [fault for wrong, fault in rules if wrong]

    def deployment_faults(self) -> list[str]:
        """Settings that are still missing, or contradict each other, after the deployment's variables are applied."""
        rules = [
            (not self.image, "image is missing; set RUTER_SAGEMAKER_IMAGE"),
            (not self.role, "role is missing; set RUTER_SAGEMAKER_ROLE"),
            (bool(self.subnets) != bool(self.security_groups), "subnets and security_groups need each other"),
        ]
        return [fault for wrong, fault in rules if wrong]

    @property
    def pool(self) -> str:
        """Name of the Dagster pool of all jobs that use the same quota."""
        return f"sagemaker-{self.kind}-{self.instance_types[0]}"

    @property
    def quota(self) -> str:
        """Name of the quota in Service Quotas."""
        return f"{self.instance_types[0]} for {'spot ' if self.spot else ''}{self.kind} job usage"


@dataclass(frozen=True)
class JobsSettings:
    """Settings of every job.

    `prices` are of an instance hour, by instance type. `quotas` are numbers of instances, by the quota's name.
    """

    jobs: Mapping[str, JobSettings]
    prices: Mapping[str, float] = field(default_factory=dict)
    quotas: Mapping[str, int] = field(default_factory=dict)

    def max_parallel_jobs(self, job: str, runs: int) -> int:
        """Jobs that one step may run in parallel if its pool lets `runs` runs share the quota."""
        job_settings = self.jobs[job]
        quota = self.quotas.get(job_settings.quota)
        if quota is None:
            return job_settings.jobs_at_once
        return max(1, min(job_settings.jobs_at_once, quota // max(1, runs)))


def load_jobs_settings(settings: Settings, other_faults: Iterable[str] = ()) -> JobsSettings:
    """Reads the package's file and the deployment's, and applies the deployment's variables.

    Args:
        settings: They name the deployment's file and hold its variables.
        other_faults: Faults of other settings, one line each, which the same error lists.

    Raises:
        SettingsError: It lists every fault once, with its location and what is allowed.
    """
    deployment_path = Path(settings.sagemaker_jobs) if settings.sagemaker_jobs else None
    files = [JobsFile.read(path) for path in (PACKAGED, deployment_path) if path]
    faults = [fault for file in files for fault in file.faults]
    layers = [
        _variables(settings),
        *_roles(settings, faults),
        *(layer for file in files for layer in file.layers),
    ]
    layers = [_without_invalid(layer, faults) for layer in layers]
    environment = SANDBOXES if SANDBOX.fullmatch(settings.environment) else settings.environment
    jobs = _merge_layers(layers, environment)
    faults += _group_by_fault({name: [*job.faults(), *job.deployment_faults()] for name, job in jobs.items()})
    faults += _faults_elsewhere(layers, faults)
    faults += [fault for file in files for fault in _number_faults(file)]
    faults += other_faults
    if faults:
        raise SettingsError(_message(settings, faults))
    prices: dict[str, float] = {}
    quotas: dict[str, int] = {}
    for file in files:
        prices |= file.prices
        quotas |= file.quotas
    return JobsSettings(jobs, prices, quotas)


_REMEDY = (
    "Set variables in the environment or .env, and settings of jobs in the file that RUTER_SAGEMAKER_JOBS names "
    "(docs/sagemaker.md)."
)
_LOCAL_REMEDY = " RUTER_LAUNCHER=local runs jobs on this machine instead."
_VARIABLE = "RUTER_SAGEMAKER_"
_ALLOWED = {
    "image": "allowed: an image by digest, such as 123456789012.dkr.ecr.eu-north-1.amazonaws.com/jobs@sha256:…",
    "role": "allowed: the ARN of a role, such as arn:aws:iam::123456789012:role/jobs",
    "instance_types": "allowed: instance types of SageMaker, such as ml.m5.large",
    "tuple_type": 'it must be a list, such as ["…"]',
    "dict_type": 'it must be a table, such as { name = "…" }',
}


def _message(settings: Settings, faults: Sequence[str]) -> str:
    file = f" with {Path(settings.sagemaker_jobs)}" if settings.sagemaker_jobs else ""
    remedy = _REMEDY + (_LOCAL_REMEDY if settings.runs_in_sagemaker else "")
    return "\n".join([f"Jobs cannot run in SageMaker{file}:", *faults, remedy])


def _variables(settings: Settings) -> Layer:
    """The deployment's variables, which apply to all jobs."""
    names = ("image", "role", "subnets", "security_groups", "kms_key")
    values = {name: getattr(settings, f"sagemaker_{name}") for name in names}
    return Layer(_VARIABLE, {name: value for name, value in values.items() if value})


def _roles(settings: Settings, faults: list[str]) -> list[Layer]:
    """The roles of single jobs. Appends a fault for each unknown job."""
    allowed = ", ".join(sorted(JOBS))
    faults += [
        f"  {_VARIABLE}ROLES={job}={role}: unknown job; allowed: {allowed}"
        for job, role in settings.sagemaker_roles.items()
        if job not in JOBS
    ]
    return [
        Layer(f"{_VARIABLE}ROLES {job}", {"role": role}, job)
        for job, role in settings.sagemaker_roles.items()
        if job in JOBS
    ]


def _without_invalid(layer: Layer, faults: list[str]) -> Layer:
    """The layer without its invalid settings. Appends their faults, so that the valid ones are still checked together."""
    try:
        JobSettings.model_validate(layer.values)
    except ValidationError as error:
        errors = error.errors()
        faults += [_describe(layer.place, each) for each in errors]
        invalid = {each["loc"][0] for each in errors}
        return replace(
            layer, values={name: value for name, value in layer.values.items() if name not in invalid}
        )
    return layer


def _merge_layers(layers: Sequence[Layer], environment: str) -> dict[str, JobSettings]:
    """Settings of each job in an environment. A later layer overrides an earlier one."""
    jobs = {}
    for name, kind in JOBS.items():
        values: dict[str, Any] = {"kind": "training" if kind.training else "processing"}
        for layer in layers:
            if layer.is_for(name, environment):
                values |= layer.values
        jobs[name] = JobSettings.model_validate(values)
    return jobs


def _faults_elsewhere(layers: Sequence[Layer], known_faults: Sequence[str]) -> list[str]:
    """Faults in the environments that the file names. Their variables are unknown here, and not checked."""
    faults: list[str] = []
    for environment in dict.fromkeys(layer.environment for layer in layers if layer.environment):
        jobs = _merge_layers([layer for layer in layers if layer.place != _VARIABLE], environment)
        grouped = _group_by_fault({name: job.faults() for name, job in jobs.items()})
        faults += [
            fault.replace("  ", f"  in {environment}, ", 1) for fault in grouped if fault not in known_faults
        ]
    return faults


def _group_by_fault(faults: Mapping[str, Sequence[str]]) -> list[str]:
    """One line for each fault, with the jobs that have it."""
    jobs: dict[str, list[str]] = defaultdict(list)
    for job, job_faults in faults.items():
        for fault in job_faults:
            jobs[fault].append(job)
    return [f"  {_job_names(names)}: {fault}" for fault, names in jobs.items()]


def _job_names(names: Sequence[str]) -> str:
    if len(names) == len(JOBS):
        return "every job"
    return f"job{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _describe(place: str, error: Any) -> str:
    """One line for an invalid setting: its location, its value and what is allowed."""
    name = ".".join(map(str, error["loc"]))
    location = f"{place}{name.upper()}" if place == _VARIABLE else f"{place} {name}"
    field_name, kind = str(error["loc"][0]), error["type"]
    if kind == "extra_forbidden":
        message = f"unknown setting{_similar_setting(field_name)}"
    elif kind == "string_pattern_mismatch":
        message = _ALLOWED[field_name]
    else:
        message = _ALLOWED.get(kind) or error["msg"].removeprefix("Value error, ")
    return f"  {location}={error['input']!r}: {message}"


def _similar_setting(name: str) -> str:
    similar = get_close_matches(name, JobSettings.model_fields, n=1, cutoff=0.7)
    return (
        f". Did you mean {similar[0]}?"
        if similar
        else f"; allowed: {', '.join(sorted(JobSettings.model_fields))}"
    )


class _Numbers(BaseModel):
    prices: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    quotas: dict[Annotated[str, Field(pattern=QUOTA)], Annotated[int, Field(ge=0)]]


def _number_faults(file: JobsFile) -> list[str]:
    try:
        _Numbers(prices=dict(file.prices), quotas=dict(file.quotas))
    except ValidationError as error:
        return [_describe_number(each) for each in error.errors()]
    return []


def _describe_number(error: Any) -> str:
    section, name, *invalid_name = error["loc"]
    if invalid_name:
        return f"  [{section}] {name!r}: allowed: the name of a quota in Service Quotas, such as 'ml.m5.large for processing job usage'"
    return f"  [{section}] {name!r}={error['input']!r}: {error['msg']}"
