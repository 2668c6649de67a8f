"""The record of one job: what was asked, what became of it, and how Describe and List tell it. Runs nothing."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from .settings import ACCOUNT

Kind = Literal["Processing", "Training"]
ENDED = ("Completed", "Failed", "Stopped")
SPOT_PRICE = 0.3
"""Billed seconds of a second on a spot instance."""
REASON_LIMIT = 1024
TRANSITION_WORDS = {
    "Starting": "Starting the training job",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "Interrupted": "Training job was interrupted as its spot instance was reclaimed",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}


@dataclass
class Job:
    """Times are seconds since 1970. `lock` guards the fields while they change; nothing slow happens under it."""

    kind: Kind
    name: str
    region: str
    request: dict[str, Any]
    tags: dict[str, str]
    created: float = field(default_factory=time.time)
    status: str = "InProgress"
    secondary: str = ""
    transitions: list[dict[str, Any]] = field(default_factory=list)
    failure_reason: str | None = None
    exit_message: str | None = None
    started: float | None = None
    ended: float | None = None
    modified: float = field(default_factory=time.time)
    instance_type: str = ""
    starts: int = 0
    """How often containers were started: more than once after a spot interruption."""
    exits: list[int | None] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    wake: threading.Event = field(default_factory=threading.Event)
    """Set whenever the thread that runs the job should look again."""
    dropped: threading.Event = field(default_factory=threading.Event)
    """Set when the double is reset or ends."""
    stop_requested: bool = False

    @property
    def arn(self) -> str:
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:{self.kind.lower()}-job/{self.name}"

    @property
    def training(self) -> bool:
        return self.kind == "Training"

    @property
    def over(self) -> bool:
        return self.status in ENDED

    @property
    def spot(self) -> bool:
        return bool(self.request.get("EnableManagedSpotTraining"))

    @property
    def cluster(self) -> dict[str, Any]:
        if self.training:
            return self.request["ResourceConfig"]
        return self.request["ProcessingResources"]["ClusterConfig"]

    @property
    def requested_types(self) -> list[str]:
        preferences = self.cluster.get("InstancePreferences")
        return (
            [each["InstanceType"] for each in preferences] if preferences else [self.cluster["InstanceType"]]
        )

    @property
    def instance_count(self) -> int:
        preferences = self.cluster.get("InstancePreferences") or [{}]
        return int(self.cluster.get("InstanceCount") or preferences[0].get("InstanceCount") or 1)

    @property
    def network_isolation(self) -> bool:
        config = self.request if self.training else self.request.get("NetworkConfig") or {}
        return bool(config.get("EnableNetworkIsolation"))

    @property
    def log_group(self) -> str:
        return f"/aws/sagemaker/{self.kind}Jobs"

    def limit(self, name: str, default: int) -> int:
        return int((self.request.get("StoppingCondition") or {}).get(name) or default)

    def enter(self, secondary: str, *, status: str | None = None) -> None:
        """A new secondary status; the status last, so that whoever sees it sees all the rest."""
        with self.lock:
            now = time.time()
            if self.transitions:
                self.transitions[-1].setdefault("EndTime", now)
            words = TRANSITION_WORDS.get(secondary, secondary)
            entry = {"Status": secondary, "StartTime": now, "StatusMessage": words}
            if status in ENDED:
                entry["EndTime"] = now
            self.transitions.append(entry)
            self.modified = now
            self.secondary = secondary
            if status:
                self.status = status

    def request_stop(self) -> None:
        """As StopProcessingJob, StopTrainingJob and the console do. Does nothing if the job has ended."""
        with self.lock:
            if not self.over and not self.stop_requested:
                self.stop_requested = True
                self.enter("Stopping", status="Stopping")
            self.wake.set()

    def describe(self) -> dict[str, Any]:
        with self.lock:
            told = {name: value for name, value in self.request.items() if name != "Tags"}
            told |= {
                f"{self.kind}JobArn": self.arn,
                f"{self.kind}JobStatus": self.status,
                "CreationTime": self.created,
                "LastModifiedTime": self.modified,
                f"{self.kind}StartTime": self.started,
                f"{self.kind}EndTime": self.ended,
                "FailureReason": self.failure_reason and self.failure_reason[:REASON_LIMIT],
            }
            told |= self._training_fields() if self.training else {"ExitMessage": self.exit_message}
            return {name: value for name, value in told.items() if value is not None}

    def _training_fields(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "SecondaryStatus": self.secondary,
            "SecondaryStatusTransitions": [dict(each) for each in self.transitions],
            "ResourceConfig": self.cluster | self._selected(),
        }
        if self.over or self.secondary == "Uploading":
            path = self.request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
            told["ModelArtifacts"] = {"S3ModelArtifacts": f"{path}/{self.name}/output/model.tar.gz"}
        if self.started and self.ended:
            told["TrainingTimeInSeconds"] = math.ceil(self.ended - self.started)
            told["BillableTimeInSeconds"] = math.ceil(
                (self.ended - self.started) * (SPOT_PRICE if self.spot else 1)
            )
        if self.cluster.get("KeepAlivePeriodInSeconds") and self.status == "Completed":
            told["WarmPoolStatus"] = {"Status": "Available"}
        return told

    def _selected(self) -> dict[str, Any]:
        if not self.cluster.get("InstancePreferences") or not self.instance_type:
            return {}
        return {"SelectedInstanceType": self.instance_type, "SelectedInstanceCount": self.instance_count}

    def summary(self) -> dict[str, Any]:
        names = ["JobName", "JobArn", "JobStatus", "EndTime"]
        told = self.describe()
        summary = {f"{self.kind}{name}": told.get(f"{self.kind}{name}") for name in names}
        summary |= {name: told.get(name) for name in ("CreationTime", "LastModifiedTime")}
        if not self.training:
            summary |= {name: told.get(name) for name in ("FailureReason", "ExitMessage")}
        return {name: value for name, value in summary.items() if value is not None}

    def as_dict(self) -> dict[str, Any]:
        """What `/_double/jobs` answers: Describe's answer, the tags, and what only the platform knows."""
        with self.lock:
            own = {"starts": self.starts, "exits": self.exits, "pids": self.pids, "tags": dict(self.tags)}
            plain = {"name": self.name, "kind": self.kind, "status": self.status, "secondary": self.secondary}
            return plain | own | {"instance_type": self.instance_type, "describe": self.describe()}
