"""What the platform lays into a container before it starts, by SageMaker's container contract, and takes out when it has ended."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .containers import Container
from .jobs import Job
from .settings import Settings
from .transfers import Transfers

NOWHERE = "http://127.0.0.1:9"
MODEL, DATA, CHECKPOINTS = "/opt/ml/model", "/opt/ml/output/data", "/opt/ml/checkpoints"


def hosts(job: Job) -> list[str]:
    return [f"algo-{index + 1}" for index in range(job.instance_count)]


def command(job: Job, base: Path, of_image: list[str]) -> list[str]:
    """The image's entry point is used if the request has none. Training calls that with `train`."""
    part = job.request["AlgorithmSpecification" if job.training else "AppSpecification"]
    own = part.get("ContainerEntrypoint")
    arguments = part.get("ContainerArguments") or (["train"] if job.training and not own else [])
    return [local_paths(word, base) for word in (*(own or of_image), *arguments)]


def local_paths(text: str, base: Path) -> str:
    """A word or value whose path below `/opt/ml` lies below `base`: `/opt/ml/model`, `--out=/opt/ml/processing/out`."""
    return re.sub(r"(^|(?<==))/opt/ml(?=/|$)", lambda _: str(base), text)


def environment(job: Job, base: Path, variable: str, platform: dict[str, str]) -> dict[str, str]:
    """What the request and the platform give, and no more: no region for boto3 (AWS_DEFAULT_REGION), no `SM_*`."""
    requested = job.request.get("Environment") or {}
    given = platform | {name: local_paths(value, base) for name, value in requested.items()}
    if job.training:
        given |= {"TRAINING_JOB_NAME": job.name, "TRAINING_JOB_ARN": job.arn}
    return given | {variable: str(base)}


def platform_environment(job: Job, settings: Settings, address: str, home: Path) -> dict[str, str]:
    """The image's own variables, and credentials whose access key is the role's name; a job with network isolation reaches nothing, not even S3."""
    isolated = job.network_isolation
    return {
        "HOME": str(home),
        **settings.image_environment,
        "AWS_REGION": settings.region,
        "AWS_ENDPOINT_URL": NOWHERE if isolated else address,
        "AWS_ACCESS_KEY_ID": job.request["RoleArn"].rpartition("/")[2],
        "AWS_SECRET_ACCESS_KEY": "container",
    }


def configure(job: Job, container: Container, host: str) -> None:
    """The files that tell a container of its job."""
    resources = {
        "current_host": host,
        "current_instance_type": job.instance_type,
        "hosts": hosts(job),
        "network_interface_name": "eth0",
        **_groups(job, host),
    }
    if not job.training:
        container.write("/opt/ml/config/resourceconfig.json", resources)
        container.write("/opt/ml/config/processingjobconfig.json", job.describe())
        for output in _outputs(job):
            container.path(output["LocalPath"]).mkdir(parents=True, exist_ok=True)
        return
    container.write("/opt/ml/input/config/resourceconfig.json", resources)
    container.write("/opt/ml/input/config/hyperparameters.json", job.request.get("HyperParameters") or {})
    channels = {
        channel["ChannelName"]: {
            "TrainingInputMode": channel.get("InputMode")
            or job.request["AlgorithmSpecification"]["TrainingInputMode"],
            "S3DistributionType": _source(channel).get("S3DataDistributionType", "FullyReplicated"),
            "RecordWrapperType": "None",
        }
        for channel in job.request.get("InputDataConfig") or []
    }
    container.write("/opt/ml/input/config/inputdataconfig.json", channels)
    for folder in (MODEL, DATA):
        container.path(folder).mkdir(parents=True, exist_ok=True)


def _groups(job: Job, host: str) -> dict[str, Any]:
    """The instance groups and their hosts, in order. Nothing for a job without groups."""
    if not job.instance_groups:
        return {}
    names = iter(hosts(job))
    groups = [
        {
            "instance_group_name": group["InstanceGroupName"],
            "instance_type": group["InstanceType"],
            "hosts": [next(names) for _ in range(int(group["InstanceCount"]))],
        }
        for group in job.instance_groups
    ]
    (own,) = (group for group in groups if host in group["hosts"])
    return {
        "current_group_name": own["instance_group_name"],
        "current_instance_type": own["instance_type"],
        "instance_groups": groups,
    }


def download(job: Job, container: Container, index: int, transfers: Transfers) -> None:
    """Inputs or channels, and the checkpoints of an interrupted start."""
    for source, folder in _inputs(job):
        sharded = "ShardedByS3Key" in (source.get("S3DataDistributionType"), source.get("S3DataDistribution"))
        transfers.download(
            source["S3Uri"],
            container.path(folder),
            manifest=source.get("S3DataType") == "ManifestFile",
            shard=(index, job.instance_count) if sharded else None,
        )
    if checkpoints := job.request.get("CheckpointConfig"):
        folder = container.path(checkpoints.get("LocalPath") or CHECKPOINTS)
        folder.mkdir(parents=True, exist_ok=True)
        bucket, prefix = checkpoints["S3Uri"].removeprefix("s3://").partition("/")[::2]
        if transfers.keys(bucket, prefix):
            transfers.download(checkpoints["S3Uri"], folder)


def _inputs(job: Job) -> list[tuple[dict[str, Any], str]]:
    if job.training:
        channels = job.request.get("InputDataConfig") or []
        return [(_source(channel), f"/opt/ml/input/data/{channel['ChannelName']}") for channel in channels]
    inputs = [each.get("S3Input") for each in job.request.get("ProcessingInputs") or []]
    return [(each, each["LocalPath"]) for each in inputs if each and each.get("LocalPath")]


def _source(channel: dict[str, Any]) -> dict[str, Any]:
    return channel["DataSource"].get("S3DataSource") or {}


def _outputs(job: Job) -> list[dict[str, Any]]:
    outputs = (job.request.get("ProcessingOutputConfig") or {}).get("Outputs") or []
    return [each["S3Output"] for each in outputs if (each.get("S3Output") or {}).get("LocalPath")]


class Uploads:
    """What goes up while a container runs (checkpoints, Continuous outputs) and when it has ended."""

    def __init__(self, job: Job, container: Container, transfers: Transfers) -> None:
        self._job, self._container, self._transfers = job, container, transfers
        self._known: dict[Path, tuple[int, int]] = {}

    def sync(self, *, running: bool) -> None:
        """Uploads changed checkpoints and Continuous outputs; `running`: of a container that may change them meanwhile."""
        for output in _outputs(self._job):
            if output["S3UploadMode"] == "Continuous":
                self._upload_changes(output["LocalPath"], output["S3Uri"], running)
        if checkpoints := self._job.request.get("CheckpointConfig"):
            self._upload_changes(checkpoints.get("LocalPath") or CHECKPOINTS, checkpoints["S3Uri"], running)

    def _upload_changes(self, local_path: str, uri: str, running: bool) -> None:
        folder = self._container.path(local_path)
        self._transfers.upload_changes(folder, uri, self._known, changing=running)

    def finish(self, failed: bool) -> None:
        """A failed job leaves no model and no EndOfJob outputs, but its output data."""
        self.sync(running=False)
        if self._job.training:
            self._finish_training(failed)
        elif not failed:
            for output in _outputs(self._job):
                if output["S3UploadMode"] == "EndOfJob":
                    self._transfers.upload(self._container.path(output["LocalPath"]), output["S3Uri"])

    def _finish_training(self, failed: bool) -> None:
        config = self._job.request["OutputDataConfig"]
        target = f"{config['S3OutputPath'].rstrip('/')}/{self._job.name}/output"
        for folder, name in ((MODEL, "model"), (DATA, "output")):
            if failed and name == "model":
                continue
            if config.get("CompressionType") == "NONE":
                self._transfers.upload(self._container.path(folder), f"{target}/{name}")
            else:
                self._transfers.upload_archive(self._container.path(folder), f"{target}/{name}.tar.gz")
