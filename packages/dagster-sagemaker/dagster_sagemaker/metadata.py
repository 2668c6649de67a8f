"""What is attached to a job's results and failures: links, times, costs. Pure: from Describe's answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from dagster import MetadataValue

from dagster_sagemaker.kinds import Kind
from dagster_sagemaker.outcomes import run_seconds

Prices = Mapping[str, float] | Callable[[str], float | None]
"""Price of an instance hour by instance type, as a table or a function; None where it is not known."""


def links(kind: Kind, name: str, region: str, studio_url: str = "") -> dict[str, MetadataValue]:
    """Where a person looks at the job. `studio_url` may hold `{region}`, `{kind}` and `{name}`."""
    console = f"https://{region}.console.aws.amazon.com"
    home = f"{console}/sagemaker/home?region={region}"
    studio = studio_url.format(region=region, kind=kind.word.lower(), name=name) or f"{home}#/studio-landing"
    return {
        "sagemaker/console": MetadataValue.url(f"{home}#/{kind.console}/{name}"),
        "sagemaker/studio": MetadataValue.url(studio),
        "sagemaker/logs": MetadataValue.url(
            f"{console}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{_twice(kind.log_group)}"
            f"$3FlogStreamNameFilter$3D{_twice(name + '/')}"
        ),
    }


def job_metadata(
    kind: Kind, described: Mapping[str, Any], studio_url: str = "", prices: Prices | None = None
) -> dict[str, Any]:
    """Everything that an ended job's Describe tells. Times are seconds, the cost is in the currency of `prices`."""
    arn = kind.arn(described)
    name = described.get(f"{kind.word}JobName", arn.rpartition("/")[2])
    region = arn.split(":")[3] if arn.count(":") >= 5 else ""
    cluster, image = _cluster(described), _image(described)
    entries: dict[str, Any] = {
        "sagemaker/job_arn": arn,
        **links(kind, name, region, studio_url),
        "sagemaker/image": image,
        "sagemaker/image_digest": image.partition("@")[2] or None,
        "sagemaker/instance_type": cluster.get("InstanceType"),
        "sagemaker/instance_count": cluster.get("InstanceCount"),
        "sagemaker/spot": described.get("EnableManagedSpotTraining") or None,
        **_times(described),
        "sagemaker/exit_message": described.get("ExitMessage"),
        "sagemaker/failure_reason": described.get("FailureReason"),
    }
    entries["sagemaker/estimated_cost"] = _cost(described, cluster, prices)
    return {name: value for name, value in entries.items() if value not in (None, "")}


def _times(described: Mapping[str, Any]) -> dict[str, float | None]:
    """Queue: waiting for an instance slot. Start: until the container runs. Run: until the job's end."""
    created: datetime | None = described.get("CreationTime")
    end: datetime | None = described.get("TrainingEndTime") or described.get("ProcessingEndTime")
    steps = described.get("SecondaryStatusTransitions", [])
    running = next((step["StartTime"] for step in steps if step["Status"] == "Training"), None)
    begun = running or described.get("ProcessingStartTime") or described.get("TrainingStartTime")
    pending = [step for step in steps if step["Status"] == "Pending" and step.get("EndTime")]
    queued = sum((step["EndTime"] - step["StartTime"]).total_seconds() for step in pending)
    return {
        "sagemaker/pending_seconds": round(queued, 1) if pending else None,
        "sagemaker/start_seconds": _between(created, begun),
        "sagemaker/run_seconds": _between(begun, end),
        "sagemaker/billable_seconds": described.get("BillableTimeInSeconds"),
    }


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return round((end - start).total_seconds(), 1) if start and end else None


def _cost(described: Mapping[str, Any], cluster: Mapping[str, Any], prices: Prices | None) -> float | None:
    """Spot savings are in the billable seconds of Training; storage and transfer are not counted."""
    instance_type = cluster.get("InstanceType", "")
    if prices is None:
        return None
    hourly = prices(instance_type) if callable(prices) else prices.get(instance_type)
    seconds = described.get("BillableTimeInSeconds") or run_seconds(described)
    if hourly is None or seconds is None:
        return None
    return round(hourly * cluster.get("InstanceCount", 1) * seconds / 3600, 4)


def _cluster(described: Mapping[str, Any]) -> Mapping[str, Any]:
    processing = described.get("ProcessingResources", {}).get("ClusterConfig", {})
    return described.get("ResourceConfig") or processing


def _image(described: Mapping[str, Any]) -> str:
    training = described.get("AlgorithmSpecification", {}).get("TrainingImage", "")
    return training or described.get("AppSpecification", {}).get("ImageUri", "")


def _twice(text: str) -> str:
    """The console's own encoding: percent-encoded twice, with `$` for `%`."""
    return quote(quote(text, safe=""), safe="").replace("%", "$")
