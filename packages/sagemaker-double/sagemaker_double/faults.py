"""Faults to inject: what goes wrong, in which calls or jobs, and how often. Other modules act on them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from botocore.exceptions import UnknownServiceError
from botocore.loaders import Loader

CALL_FAULTS = {
    "throttle": "ThrottlingException, before any effect",
    "error": "any error: `code`, `status`, `message`; before any effect",
    "cut": "the connection is cut before any effect",
    "lost_answer": "the effect happens, its answer does not come: `how` is 500 or cut",
    "slow": "the answer takes `seconds` more, before the effect or, with `after_effect`, after it; cut when faults are cleared",
}
JOB_FAULTS = {
    "capacity": "no instance of `instance_types` (all, if none is named): CapacityError; `at_create` refuses Create instead",
    "internal": "InternalServerError, at the start, or while running at `after` seconds or `on_log`",
    "client_error": "ClientError: `message` (image, download)",
    "delayed_start": "`seconds` longer in Starting",
    "spot_wait": "no spot instance until MaxWaitTimeInSeconds (or `seconds`) is over",
    "spot_interruption": "SIGTERM, SIGKILL, Interrupted, Starting; at `after` seconds or `on_log`",
    "out_of_memory": "SIGKILL from the kernel, exit code 137; at `after` seconds or `on_log`",
    "console_stop": "somebody stops the job; at `after` seconds or `on_log`, or in Starting if `starting`",
    "slow_stop": "`seconds` longer in Stopping",
    "log_lag": "log lines come `seconds` late",
    "event_lost": "the event of a state is not sent; `states` limits to some",
    "event_duplicate": "the event of a state is sent twice; `states` limits to some",
    "event_late": "the event of a state is sent `seconds` late; `states` limits to some",
}
QUERY_FAULTS = {
    "slow_query": "an Athena query runs `seconds` longer",
    "query_failed": "an Athena query fails with `message`, by its own fault and before any effect; with `after_effect` by "
    "Athena's fault, and its files stay",
}
KINDS = CALL_FAULTS | JOB_FAULTS | QUERY_FAULTS
FIELDS: dict[str, tuple[str, ...]] = {
    "error": ("code", "status", "message"),
    "lost_answer": ("how",),
    "slow": ("seconds", "after_effect"),
    "capacity": ("instance_types", "at_create", "code", "message"),
    "internal": ("after", "on_log"),
    "client_error": ("message",),
    "delayed_start": ("seconds",),
    "spot_wait": ("seconds",),
    "spot_interruption": ("after", "on_log"),
    "out_of_memory": ("after", "on_log"),
    "console_stop": ("after", "on_log", "starting"),
    "slow_stop": ("seconds",),
    "log_lag": ("seconds",),
    "event_lost": ("states",),
    "event_duplicate": ("states",),
    "event_late": ("states", "seconds"),
    "slow_query": ("seconds",),
    "query_failed": ("message", "after_effect"),
}
"""Fields of each kind beside `count`, `skip`, `jobs` (not of queries) and `operations` (of calls)."""
S3_NAMES = tuple(
    f"{verb}{part}" for part in ("Object", "Bucket") for verb in ("Get", "Put", "Head", "Delete", "Post")
)
S3_OPERATIONS = ("ListObjects", *(name for name in S3_NAMES if name != "GetBucket"))
"""Names of S3's calls: HTTP's method, and what it concerns. A `GET` without a key is ListObjects."""


@dataclass
class Fault:
    """`count` None is for ever; `skip` lets the first ones pass; `jobs` and `operations` are patterns (`*`, `?`)."""

    kind: str
    count: int | None = 1
    skip: int = 0
    jobs: str = "*"
    operations: str = "*"
    """`sagemaker.CreateProcessingJob`, `logs.*`; without a service, of SageMaker and CloudWatch Logs."""
    instance_types: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    seconds: float = 0.0
    after: float = 0.0
    on_log: str = ""
    at_create: bool = False
    starting: bool = False
    after_effect: bool = False
    how: str = "500"
    code: str = ""
    status: int = 400
    message: str = ""
    taken: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind}; there are {', '.join(KINDS)}")
        if self.how not in ("500", "cut"):
            raise ValueError(f"how is {self.how!r}: 500 or cut is needed")
        if not _known_operations(self.operations):
            raise ValueError(
                f"operations {self.operations!r} fits no call. Calls of S3 are {', '.join(S3_OPERATIONS)}"
            )

    @property
    def while_running(self) -> bool:
        """Whether it strikes a job whose containers run, and not a job in Starting."""
        return not self.starting and (self.kind != "internal" or bool(self.after or self.on_log))

    def touches(self, job: str, operation: str) -> bool:
        service, _, name = operation.partition(".")
        if not fnmatchcase(job, self.jobs):
            return False
        if "." in self.operations:
            return fnmatchcase(operation, self.operations)
        return service in ("sagemaker", "logs") and fnmatchcase(name, self.operations)


class Faults:
    """The faults in force, in the order they came. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._cleared = threading.Event()

    def add(self, **fields: Any) -> Fault:
        """Raises `ValueError` if the fault has an unknown field, a field that its kind ignores, or a value of a wrong type."""
        known = [each.name for each in dataclass_fields(Fault) if each.name != "taken"]
        if unknown := [name for name in fields if name not in known]:
            raise ValueError(f"a fault has no {', '.join(unknown)}; there are {', '.join(known)}")
        if wrong := list(_wrong_types(fields)):
            raise ValueError("; ".join(wrong))
        fault = Fault(**fields)
        allowed = _fields_of(fault.kind)
        if ignored := [name for name in fields if name not in allowed]:
            raise ValueError(
                f"the fault {fault.kind} has no {', '.join(ignored)}; it has {', '.join(allowed)}"
            )
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self._cleared.set()
            self._cleared = threading.Event()

    def pause(self, seconds: float) -> bool:
        """Waits for a fault's `seconds`. False if the faults are cleared meanwhile."""
        return not self._cleared.wait(timeout=seconds)

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(fault) for fault in self._faults]

    def take(
        self, kind: str, *, job: str = "", operation: str = "", instance_type: str = "", **wanted: Any
    ) -> Fault | None:
        """The first fault of `kind` that fits, counted; None if nothing is to go wrong. `wanted`: fields' values."""
        with self._lock:
            for fault in self._faults:
                if fault.kind != kind or not all(getattr(fault, k) == v for k, v in wanted.items()):
                    continue
                if operation and not fault.touches(job, operation):
                    continue
                if not operation and not fnmatchcase(job, fault.jobs):
                    continue
                if fault.instance_types and instance_type and instance_type not in fault.instance_types:
                    continue
                if self._counted(fault):
                    return fault
        return None

    def take_state(self, kind: str, *, job: str, state: str) -> Fault | None:
        """As `take`, of the faults that concern this state of a job."""
        with self._lock:
            for fault in self._faults:
                fits = fault.kind == kind and fnmatchcase(job, fault.jobs)
                if fits and (not fault.states or state in fault.states) and self._counted(fault):
                    return fault
        return None

    def running(self, kinds: Iterable[str], job: str) -> list[Fault]:
        """Faults that may strike a job while it runs. They are not counted: `strike` counts."""
        with self._lock:
            return [
                fault
                for fault in self._faults
                if fault.kind in kinds and fault.while_running and fnmatchcase(job, fault.jobs)
            ]

    def strike(self, fault: Fault) -> bool:
        """Counts a case of a fault. False if the case passes: by `skip`, or because the fault struck `count` times."""
        with self._lock:
            return self._counted(fault)

    def _counted(self, fault: Fault) -> bool:
        if fault.skip > 0:
            fault.skip -= 1
            return False
        if fault.count is not None and fault.taken >= fault.count:
            return False
        fault.taken += 1
        return True


def _fields_of(kind: str) -> tuple[str, ...]:
    common = ("kind", "count", "skip")
    if kind in CALL_FAULTS:
        common += ("jobs", "operations")
    if kind in JOB_FAULTS:
        common += ("jobs",)
    return common + FIELDS.get(kind, ())


def _wrong_types(fields: dict[str, Any]) -> Iterator[str]:
    """A text for each value whose type is not that of the field. A whole number is a number of seconds."""
    for each in dataclass_fields(Fault):
        if each.name not in fields or (each.name == "count" and fields["count"] is None):
            continue
        value = fields[each.name]
        kind = str if each.name == "kind" else list if each.default is MISSING else type(each.default)
        if type(value) is not kind and not (kind is float and type(value) is int):
            yield f"{each.name} is {value!r}: a value of type {kind.__name__} is needed"


def _known_operations(pattern: str) -> bool:
    """Whether a pattern fits a call. True of a service that botocore knows by another name."""
    service, dot, name = pattern.rpartition(".")
    if not dot:
        return any(fnmatchcase(each, pattern) for each in _operations("sagemaker") + _operations("logs"))
    names = _operations(service)
    return not names or any(fnmatchcase(each, name) for each in names)


@cache
def _operations(service: str) -> tuple[str, ...]:
    """Names of a service's calls. Empty if botocore does not know the service, or for a pattern of services."""
    if service == "s3":
        return S3_OPERATIONS
    try:
        return tuple(Loader().load_service_model(service, "service-2")["operations"])
    except UnknownServiceError:
        return ()
