"""How the double behaves: its intervals, what the image has, and the account's quotas. Nothing here acts."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

Wording = Literal["current", "old"]
ACCOUNT = "123456789012"
"""The one account that moto knows by default."""


@dataclass
class Settings:
    """Seconds unless said otherwise. Each may be changed while the double runs (`PATCH /_double/settings`)."""

    region: str = "eu-west-1"
    base_variable: str = "SAGEMAKER_DOUBLE_CONTAINER_BASE"
    """The variable that names a container's folder in place of `/opt/ml`."""
    starting: float = 0.02
    """From Create to Downloading. AWS takes minutes."""
    interrupted: float = 0.05
    """From Interrupted to Starting, after a spot interruption."""
    grace: float = 2.0
    """From SIGTERM to SIGKILL. AWS waits 120."""
    log_interval: float = 0.05
    sync_interval: float = 0.2
    """Between two uploads of checkpoints and of Continuous outputs."""
    limit_scale: float = 1.0
    """Seconds of our clock in a second of a StoppingCondition."""
    slots: int = 16
    """Containers at once; further jobs stay in Starting."""
    rates: dict[str, float] = field(default_factory=dict)
    """Calls a second that the account may make, by operation (`logs.GetLogEvents`); more are throttled."""
    query_queue: float = 0.02
    """From an Athena query's QUEUED to RUNNING."""
    quotas: dict[str, int] = field(default_factory=dict)
    """Instances at once by type, or by `<type> for processing|training|spot training job usage`."""
    image_environment: dict[str, str] = field(default_factory=lambda: dict(IMAGE_ENVIRONMENT))
    """What the image itself sets (ENV of a Dockerfile)."""
    image_entrypoint: list[str] = field(default_factory=list)
    """Of a request that names no entry point."""
    failure_wording: Wording = "current"
    """FailureReason of a failed Processing container: `current` names its exit code, `old` refers to the logs."""
    working_directory: str = ""
    """The image's WORKDIR; by default an empty folder of each container."""

    def update(self, changes: dict[str, Any]) -> None:
        """Changes all of the named settings or none. Raises `ValueError` for an unknown name or a wrong value."""
        known = {each.name for each in fields(self)}
        if unknown := set(changes) - known:
            raise ValueError(f"no such settings: {sorted(unknown)}; there are {sorted(known)}")
        defaults = Settings()
        for name, value in changes.items():
            kind = type(getattr(defaults, name))
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise ValueError(f"{name} is {value!r}: a value of type {kind.__name__} is needed")
        if changes.get("failure_wording", "current") not in get_args(Wording):
            raise ValueError(
                f"failure_wording is {changes['failure_wording']!r}: one of {get_args(Wording)} is needed"
            )
        for name, value in changes.items():
            setattr(self, name, value)


IMAGE_ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
    "PYTHONUNBUFFERED": "1",
    # As in the tests' own process: on shared cores OpenMP's waiting threads would spin.
    "OMP_WAIT_POLICY": "PASSIVE",
}
