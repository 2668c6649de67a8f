"""SageMaker's calls on jobs: Create, Describe, Stop, List of Processing and Training jobs, and their tags."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable
from typing import Any

from .faults import Faults
from .jobs import Job, Kind
from .limits import Refused, check
from .settings import Settings

NOT_FOUND = {
    "Processing": "Could not find requested job with name: {}",
    "Training": "Requested resource not found.",
}
CAPACITY = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. "
    "Please retry using a different ML instance type."
)


TAG_LIMIT = 50
"""Tags of a resource."""


class JobCalls:
    """The jobs of the account. `launch` runs a job that was just created, in a thread of its own."""

    def __init__(self, settings: Settings, faults: Faults, launch: Callable[[Job], None]) -> None:
        self.jobs: dict[str, Job] = {}
        """By ARN: a Processing and a Training job may share a name."""
        self._settings, self._faults, self._launch = settings, faults, launch
        self._lock = threading.Lock()
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "AddTags": self._add_tags,
            "DeleteTags": self._delete_tags,
            "ListTags": self._list_tags,
        }
        for kind in ("Processing", "Training"):
            self.operations |= {
                f"Create{kind}Job": lambda request, kind=kind: self._create(kind, request),
                f"Describe{kind}Job": lambda request, kind=kind: self._of(kind, request).describe(),
                f"Stop{kind}Job": lambda request, kind=kind: self._stop(kind, request),
                f"List{kind}Jobs": lambda request, kind=kind: self._list(kind, request),
            }

    def owns(self, operation: str, request: dict[str, Any]) -> bool:
        """Tags of other resources (models, pipelines) are moto's."""
        if operation.endswith("Tags"):
            return bool(re.search(":(processing|training)-job/", str(request.get("ResourceArn"))))
        return operation in self.operations

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        check(operation, request)
        return self.operations[operation](request)

    def find(self, name: str) -> Job | None:
        return next((job for job in list(self.jobs.values()) if job.name == name), None)

    def _create(self, kind: Kind, request: dict[str, Any]) -> dict[str, Any]:
        tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags") or []}
        job = Job(kind, request[f"{kind}JobName"], self._settings.region, request, tags)
        short = self._faults.take(
            "capacity", job=job.name, instance_type=job.requested_types[0], at_create=True
        )
        if short:
            raise Refused(short.code or "ResourceLimitExceeded", short.message or CAPACITY)
        with self._lock:
            if job.arn in self.jobs:
                raise Refused("ResourceInUse", _in_use(job))
            self._check_quota(job)
            job.enter("Starting", status="InProgress")
            self.jobs[job.arn] = job
        self._launch(job)
        return {f"{kind}JobArn": job.arn}

    def _check_quota(self, job: Job) -> None:
        usage = f"{'spot training' if job.spot else job.kind.lower()} job usage"
        wanted = job.requested_types[0]
        specific = f"{wanted} for {usage}"
        quota = self._settings.quotas.get(specific, self._settings.quotas.get(wanted))
        if quota is None:
            return
        used = sum(
            each.instance_count
            for each in self.jobs.values()
            if not each.over and (each.instance_type or each.requested_types[0]) == wanted
            and (specific not in self._settings.quotas or (each.kind, each.spot) == (job.kind, job.spot))
        )  # fmt: skip
        if used + job.instance_count > quota:
            raise Refused(
                "ResourceLimitExceeded",
                f"The account-level service limit '{specific}' is {quota} Instances, with current utilization of "
                f"{used} Instances and a request delta of {job.instance_count} Instances. Please use AWS Service "
                "Quotas to request an increase for this quota. If AWS Service Quotas is not available, contact AWS "
                "support to request an increase for this quota.",
            )

    def _of(self, kind: Kind, request: dict[str, Any]) -> Job:
        name = request[f"{kind}JobName"]
        for job in list(self.jobs.values()):
            if job.kind == kind and job.name == name:
                return job
        raise Refused("ValidationException", NOT_FOUND[kind].format(name))

    def _stop(self, kind: Kind, request: dict[str, Any]) -> dict[str, Any]:
        job = self._of(kind, request)
        self.stop(job)
        return {}

    def stop(self, job: Job) -> None:
        """Raises `Refused` if the job has ended."""
        with job.lock:
            if job.over:
                words = (
                    f"The request was rejected because the {job.kind.lower()} job is in status {job.status}."
                )
                raise Refused("ValidationException", words)
            job.request_stop()

    def _list(self, kind: Kind, request: dict[str, Any]) -> dict[str, Any]:
        named, status = request.get("NameContains", ""), request.get("StatusEquals")
        jobs = [
            job
            for job in list(self.jobs.values())
            if job.kind == kind
            and named in job.name
            and (status is None or job.status == status)
            and _has_warm_pool(job, request.get("WarmPoolStatusEquals"))
        ]
        for field, later in (("CreationTime", "created"), ("LastModifiedTime", "modified")):
            after, before = request.get(f"{field}After"), request.get(f"{field}Before")
            jobs = [
                job for job in jobs
                if (after is None or getattr(job, later) > after) and (before is None or getattr(job, later) < before)
            ]  # fmt: skip
        keys = {"Name": lambda job: job.name, "Status": lambda job: job.status}
        jobs.sort(
            key=keys.get(request.get("SortBy", ""), lambda job: job.created),
            reverse=request.get("SortOrder", "Ascending") == "Descending",
        )
        start = int(base64.b64decode(request["NextToken"])) if request.get("NextToken") else 0
        end = start + int(request.get("MaxResults") or 100)
        answer: dict[str, Any] = {f"{kind}JobSummaries": [job.summary() for job in jobs[start:end]]}
        if end < len(jobs):
            answer["NextToken"] = base64.b64encode(str(end).encode()).decode()
        return answer

    def _add_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._by_arn(request)
        tags = job.tags | {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        if len(tags) > TAG_LIMIT:
            raise Refused(
                "ResourceLimitExceeded", f"A resource has at most {TAG_LIMIT} tags, not {len(tags)}"
            )
        job.tags = tags
        return self._list_tags(request)

    def _delete_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        for key in request["TagKeys"]:
            self._by_arn(request).tags.pop(key, None)
        return {}

    def _list_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        tags = self._by_arn(request).tags
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def _by_arn(self, request: dict[str, Any]) -> Job:
        job = self.jobs.get(request["ResourceArn"])
        if job is None:
            raise Refused("ValidationException", f"Could not find resource {request['ResourceArn']}")
        return job


def _has_warm_pool(job: Job, status: str | None) -> bool:
    return status is None or job.describe().get("WarmPoolStatus", {}).get("Status") == status


def _in_use(job: Job) -> str:
    if job.training:
        return (
            "Training job names must be unique within an AWS account and region, and a training job with this name "
            f"already exists ({job.arn})"
        )
    return f"Job name must be unique within an AWS account and region, and a job with this name already exists ({job.arn})"
