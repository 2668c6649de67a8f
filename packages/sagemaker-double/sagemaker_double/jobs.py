"""The record of one job: its request, its state, and the answers of Describe and List. Runs nothing."""

from __future__ import annotations

import math
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from .limits import service_model
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


DEFAULTS: dict[Kind, dict[str, Any]] = {
    "Processing": {"StoppingCondition": {"MaxRuntimeInSeconds": 86400}},
    "Training": {
        "EnableNetworkIsolation": False,
        "EnableInterContainerTrafficEncryption": False,
        "EnableManagedSpotTraining": False,
    },
}
"""Fields that Describe answers although the request has none."""


@cache
def output_members(operation: str) -> frozenset[str]:
    """The fields that an answer may have, of botocore's model."""
    shape: Any = service_model().operation_model(operation).output_shape
    return frozenset(shape.members)


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
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The last value of each metric, by name."""

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
    def instance_groups(self) -> list[dict[str, Any]]:
        """Groups of a Training job with several kinds of instances. Empty for other jobs."""
        return self.cluster.get("InstanceGroups") or []

    @property
    def requested_types(self) -> list[str]:
        """In order of preference; of instance groups only the first one's."""
        choices = self.cluster.get("InstancePreferences") or self.instance_groups[:1]
        return [each["InstanceType"] for each in choices] or [self.cluster["InstanceType"]]

    @property
    def instance_count(self) -> int:
        if self.instance_groups:
            return sum(int(group["InstanceCount"]) for group in self.instance_groups)
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
            members = output_members(f"Describe{self.kind}Job")
            fields = DEFAULTS[self.kind] | {
                name: self.request[name] for name in self.request if name in members
            }
            fields |= {
                f"{self.kind}JobArn": self.arn,
                f"{self.kind}JobStatus": self.status,
                "CreationTime": self.created,
                "LastModifiedTime": self.modified,
                f"{self.kind}StartTime": self.started,
                f"{self.kind}EndTime": self.ended,
                "FailureReason": self.failure_reason and self.failure_reason[:REASON_LIMIT],
            }
            fields |= self._training_fields() if self.training else {"ExitMessage": self.exit_message}
            return {name: value for name, value in fields.items() if value is not None}

    def _training_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "SecondaryStatus": self.secondary,
            "SecondaryStatusTransitions": [dict(each) for each in self.transitions],
            "ResourceConfig": self.cluster | self._selected(),
        }
        if self.over or self.secondary == "Uploading":
            path = self.request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
            plain = self.request["OutputDataConfig"].get("CompressionType") == "NONE"
            model = "model/" if plain else "model.tar.gz"
            fields["ModelArtifacts"] = {"S3ModelArtifacts": f"{path}/{self.name}/output/{model}"}
        if self.over and self.metrics:
            fields["FinalMetricDataList"] = list(self.metrics.values())
        if self.started and self.ended:
            seconds = self.ended - self.started
            fields["TrainingTimeInSeconds"] = math.ceil(seconds)
            fields["BillableTimeInSeconds"] = math.ceil(seconds * (SPOT_PRICE if self.spot else 1))
        if self.cluster.get("KeepAlivePeriodInSeconds") and self.status == "Completed":
            fields["WarmPoolStatus"] = {"Status": "Available"}
        return fields

    def _selected(self) -> dict[str, Any]:
        if not self.cluster.get("InstancePreferences") or not self.instance_type:
            return {}
        return {"SelectedInstanceType": self.instance_type, "SelectedInstanceCount": self.instance_count}

    def summary(self) -> dict[str, Any]:
        """The entry of List, whose fields are some of Describe's."""
        members = service_model().shape_for(f"{self.kind}JobSummary").members
        return {name: value for name, value in self.describe().items() if name in members}

    def take_line(self, line: str) -> None:
        """Finds the values of the request's MetricDefinitions in a printed line. The last value of each is final."""
        algorithm = self.request.get("AlgorithmSpecification") or {}
        for definition in algorithm.get("MetricDefinitions") or []:
            if found := re.search(definition["Regex"], line):
                name = definition["Name"]
                with suppress(ValueError, IndexError), self.lock:
                    value = float(found[1])
                    self.metrics[name] = {"MetricName": name, "Value": value, "Timestamp": time.time()}

    def as_dict(self) -> dict[str, Any]:
        """What `/_double/jobs` answers: Describe's answer, the tags, and what only the platform knows."""
        with self.lock:
            own = {"starts": self.starts, "exits": self.exits, "pids": self.pids, "tags": dict(self.tags)}
            state = {"name": self.name, "kind": self.kind, "status": self.status, "secondary": self.secondary}
            return state | own | {"instance_type": self.instance_type, "describe": self.describe()}
