"""Faults to inject: what is to go wrong, with whom and how often. Whoever meets one acts on it; nothing here does."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from fnmatch import fnmatchcase
from typing import Any

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
    "event_lost": "the state change is not told; `states` limits to some",
    "event_duplicate": "the state change is told twice; `states` limits to some",
    "event_late": "the state change is told `seconds` late; `states` limits to some",
    "slow_query": "an Athena query runs `seconds` longer",
    "query_failed": "an Athena query fails with `message`: by its own fault, before any effect; `after_effect`: by Athena's, "
    "which says so and leaves the files that were written",
}
KINDS = CALL_FAULTS | JOB_FAULTS


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
        known = [each.name for each in dataclass_fields(Fault) if each.name != "taken"]
        if unknown := [name for name in fields if name not in known]:
            raise ValueError(f"a fault has no {', '.join(unknown)}; there are {', '.join(known)}")
        fault = Fault(**fields)
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

    def _counted(self, fault: Fault) -> bool:
        if fault.skip > 0:
            fault.skip -= 1
            return False
        if fault.count is not None and fault.taken >= fault.count:
            return False
        fault.taken += 1
        return True
