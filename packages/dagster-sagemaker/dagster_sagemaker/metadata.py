"""Metadata of a job's results and failures: links, times and costs. Pure functions of Describe's answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from math import isfinite
from typing import Any
from urllib.parse import quote

from dagster import MetadataValue

from dagster_sagemaker.kinds import Kind
from dagster_sagemaker.outcomes import Ending, outcome, run_seconds

Prices = Mapping[str, float] | Callable[[str], float | None]
"""Price of an instance hour by instance type. The function returns None for an unknown price."""


def links(kind: Kind, name: str, region: str, studio_url: str = "") -> dict[str, MetadataValue]:
    """Links to the job. `studio_url` may contain `{region}`, `{kind}` and `{name}`."""
    console = f"https://{region}.console.aws.amazon.com"
    home = f"{console}/sagemaker/home?region={region}"
    studio = studio_url.format(region=region, kind=kind.word.lower(), name=name) or f"{home}#/studio-landing"
    return {
        "sagemaker/console": MetadataValue.url(f"{home}#/{kind.console}/{name}"),
        "sagemaker/studio": MetadataValue.url(studio),
        "sagemaker/logs": MetadataValue.url(
            f"{console}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{_console_quote(kind.log_group)}"
            f"$3FlogStreamNameFilter$3D{_console_quote(name + '/')}"
        ),
    }


def job_metadata(
    kind: Kind, described: Mapping[str, Any], studio_url: str = "", prices: Prices | None = None
) -> dict[str, Any]:
    """Metadata from Describe's answer. Times are in seconds, the cost is in the currency of `prices`."""
    arn = kind.arn(described)
    name = described.get(f"{kind.word}JobName", arn.rpartition("/")[2])
    region = arn.split(":")[3] if arn.count(":") >= 5 else ""
    instances, image = _instances(described), _image(described)
    ended = outcome(described)
    completed = ended is not None and ended.ending is Ending.COMPLETED
    entries: dict[str, Any] = {
        "sagemaker/job_arn": arn,
        **links(kind, name, region, studio_url),
        "sagemaker/image": image,
        "sagemaker/image_digest": image.partition("@")[2] or None,
        "sagemaker/instance_type": ", ".join(instances),
        "sagemaker/instance_count": sum(instances.values()) or None,
        "sagemaker/spot": described.get("EnableManagedSpotTraining") or None,
        **_times(described),
        "sagemaker/exit_code": 0 if completed else ended and ended.exit_code,
        "sagemaker/exit_message": described.get("ExitMessage"),
        "sagemaker/failure_reason": described.get("FailureReason"),
        "sagemaker/estimated_cost": _cost(described, instances, prices),
        **(_outputs(described, name) if completed else {}),
        **_metrics(described),
    }
    return {name: value for name, value in entries.items() if value not in (None, "")}


def _outputs(described: Mapping[str, Any], name: str) -> dict[str, MetadataValue | None]:
    """S3 addresses of what the job has written. Training writes below the job's name."""
    model = described.get("ModelArtifacts", {}).get("S3ModelArtifacts")
    folder = described.get("OutputDataConfig", {}).get("S3OutputPath")
    outputs = {
        f"sagemaker/output/{output['OutputName']}": output.get("S3Output", {}).get("S3Uri")
        for output in described.get("ProcessingOutputConfig", {}).get("Outputs", ())
    }
    addresses = {
        "sagemaker/model_artifact": model,
        "sagemaker/output": folder and f"{folder.rstrip('/')}/{name}/output/",
        "sagemaker/checkpoints": described.get("CheckpointConfig", {}).get("S3Uri"),
        **outputs,
    }
    return {name: MetadataValue.path(address) for name, address in addresses.items() if address}


def _metrics(described: Mapping[str, Any]) -> dict[str, float | str]:
    """The last value of each metric of a Training job. NaN and infinity become text, which Dagster's UI can read."""
    values = {item["MetricName"]: float(item["Value"]) for item in described.get("FinalMetricDataList", ())}
    return {
        f"sagemaker/metric/{name}": value if isfinite(value) else str(value) for name, value in values.items()
    }


def _times(described: Mapping[str, Any]) -> dict[str, float | None]:
    """Seconds waiting for an instance slot, from creation to the container's start, and from there to the end."""
    created: datetime | None = described.get("CreationTime")
    end: datetime | None = described.get("TrainingEndTime") or described.get("ProcessingEndTime")
    steps = described.get("SecondaryStatusTransitions", [])
    running = next((step["StartTime"] for step in steps if step["Status"] == "Training"), None)
    started = running or described.get("ProcessingStartTime") or described.get("TrainingStartTime")
    pending = [step for step in steps if step["Status"] == "Pending" and step.get("EndTime")]
    queued = sum((step["EndTime"] - step["StartTime"]).total_seconds() for step in pending)
    return {
        "sagemaker/pending_seconds": round(queued, 1) if pending else None,
        "sagemaker/start_seconds": _between(created, started),
        "sagemaker/run_seconds": _between(started, end),
        "sagemaker/billable_seconds": described.get("BillableTimeInSeconds"),
    }


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return round((end - start).total_seconds(), 1) if start and end else None


def _cost(described: Mapping[str, Any], instances: Mapping[str, int], prices: Prices | None) -> float | None:
    """Training's billable seconds include spot savings. Storage and transfer are not counted."""
    if prices is None or not instances:
        return None
    seconds = described.get("BillableTimeInSeconds") or run_seconds(described)
    hourly = [prices(name) if callable(prices) else prices.get(name) for name in instances]
    known = [price for price in hourly if price is not None]
    if seconds is None or len(known) < len(hourly):
        return None
    each = zip(known, instances.values(), strict=True)
    return round(sum(price * count for price, count in each) * seconds / 3600, 4)


def _instances(described: Mapping[str, Any]) -> dict[str, int]:
    """Number of instances by type. Instance groups may have several types."""
    processing = described.get("ProcessingResources", {}).get("ClusterConfig", {})
    cluster = described.get("ResourceConfig") or processing
    instances: dict[str, int] = {}
    for group in cluster.get("InstanceGroups", ()):
        name = group["InstanceType"]
        instances[name] = instances.get(name, 0) + group["InstanceCount"]
    instance_type = cluster.get("SelectedInstanceType") or cluster.get("InstanceType")
    count = cluster.get("SelectedInstanceCount") or cluster.get("InstanceCount", 1)
    return instances or ({instance_type: count} if instance_type else {})


def _image(described: Mapping[str, Any]) -> str:
    training = described.get("AlgorithmSpecification", {}).get("TrainingImage", "")
    return training or described.get("AppSpecification", {}).get("ImageUri", "")


def _console_quote(text: str) -> str:
    """The console's own encoding: percent-encoded twice, with `$` for `%`."""
    return quote(quote(text, safe=""), safe="").replace("%", "$")
