"""Checks a Create request against SageMaker's limits. One error names all faults.

botocore checks only types and minimums. This module also checks the lengths, patterns and allowed values in botocore's
service model, and rules that the model does not contain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import botocore.session

from dagster_sagemaker.jobs import ProcessingJob, TrainingJob, part
from dagster_sagemaker.requests import clean_tag

_FIELDS = {
    place: field for job_class in (ProcessingJob, TrainingJob) for field, place in job_class.places.items()
}
"""Fields of a job object by their path in the request. A fault names both."""
_REMEDIES = {
    "arguments": "pass long values as a file on S3",
    "entrypoint": "pass long values as a file on S3",
    "environment": "pass long or many values as a file on S3",
    "hyperparameters": "pass long or many values as a channel",
    "role": "for instance arn:aws:iam::123456789012:role/name",
    "S3Uri": "for instance s3://bucket/key",
    "S3OutputPath": "for instance s3://bucket/key",
}
"""What to do, by the start of the job's field or the end of the path in the request."""
_TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "structure": ("a mapping", (Mapping,)),
    "map": ("a mapping", (Mapping,)),
    "list": ("a list", (list, tuple)),
    "string": ("a text", (str,)),
    "integer": ("a whole number", (int,)),
    "long": ("a whole number", (int,)),
    "boolean": ("True or False", (bool,)),
}
_NAMES = ("InputName", "OutputName", "ChannelName", "InstanceGroupName", "Key")
"""Fields that name an entry of a list."""
_DAY = 24 * 3600


class LimitsExceeded(ValueError):
    """A request that SageMaker would refuse. `faults` has one sentence per fault, with the field and the remedy."""

    def __init__(self, name: str, faults: list[str]) -> None:
        self.faults = faults
        number = f"{len(faults)} fault" + ("s" if len(faults) > 1 else "")
        super().__init__(f"Job {name} cannot be created, {number}:\n- " + "\n- ".join(faults))


def preflight(request: Mapping[str, Any]) -> None:
    """Checks a `Create…Job` request against the limits of its kind. Raises `LimitsExceeded` with all faults."""
    word = "Training" if "TrainingJobName" in request else "Processing"
    faults = list(_walk(_shape_of(f"Create{word}Job"), request, ""))
    try:
        faults += _training(request) if word == "Training" else _processing(request)
    except (AttributeError, KeyError, TypeError):
        if not faults:  # Otherwise a wrong type or a missing part was already found.
            raise
    if faults:
        raise LimitsExceeded(str(request.get(f"{word}JobName", "")), faults)


@cache
def _shape_of(operation: str) -> Any:
    return (
        botocore.session.get_session().get_service_model("sagemaker").operation_model(operation).input_shape
    )


def _walk(shape: Any, value: Any, path: str) -> Iterable[str]:
    """Faults of a value and everything in it, according to the model's shape."""
    expected, types = _TYPES.get(shape.type_name, ("", (object,)))
    if not _is_one_of(value, types):
        remedy = f': write "{value}"' if shape.type_name == "string" else ""
        yield _fault(path, f"is {value!r:.80} of type {type(value).__name__}, {expected} is needed{remedy}")
        return
    fault = _size_fault(shape, value) or (_text_fault(shape, value) if shape.type_name == "string" else "")
    if fault:
        yield _fault(path, fault)
    if shape.type_name == "structure":
        yield from _members(shape, value, path)
    elif shape.type_name == "list":
        for number, item in enumerate(value):
            names = [item[name] for name in _NAMES if name in item] if isinstance(item, Mapping) else []
            yield from _walk(shape.member, item, f"{path}[{(names or [number])[0]}]")
    elif shape.type_name == "map":
        for name, item in value.items():
            yield from _walk(shape.key, name, f"{path}.{name!s:.80}")
            yield from _walk(shape.value, item, f"{path}.{name!s:.80}")


def _is_one_of(value: Any, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and not (isinstance(value, bool) and int in types)


def _members(shape: Any, value: Mapping[str, Any], path: str) -> Iterable[str]:
    below = f"{path}." if path else ""
    for name in shape.required_members:
        if name not in value:
            yield _fault(below + name, "is missing")
    for name, item in value.items():
        if name in shape.members:
            yield from _walk(shape.members[name], item, below + name)
        else:
            yield _fault(below + name, "is unknown to the installed botocore: correct it, or upgrade boto3")


def _size_fault(shape: Any, value: Any) -> str:
    if shape.type_name in ("integer", "long"):
        size, what = value, f"is {value}"
    elif shape.type_name in ("string", "list", "map"):
        unit = "characters" if shape.type_name == "string" else "entries"
        size, what = len(value), f"has {len(value)} {unit}"
    else:
        return ""
    least, most = shape.metadata.get("min", size), shape.metadata.get("max", size)
    if size > most:
        return f"{what}, at most {most:,} allowed"
    # The check of the pattern reports a text that is too short.
    if size < least and not (shape.type_name == "string" and "pattern" in shape.metadata and value):
        return f"{what}, at least {least:,} needed"
    return ""


def _text_fault(shape: Any, value: str) -> str:
    # An older botocore lacks new instance types, so only the form is checked.
    if shape.name.endswith("InstanceType"):
        valid = re.fullmatch(r"ml\.[a-z0-9.-]+", value)
        return "" if valid else f"is {value!r:.80}: SageMaker's instance types begin with `ml.`"
    if shape.enum and value not in shape.enum:
        return f"is {value!r:.80}, one of {', '.join(shape.enum)} is needed"
    pattern = shape.metadata.get("pattern", "")
    # Python's `re` does not support \p{…}: `_common` checks such texts.
    if not pattern or "\\p{" in pattern or re.fullmatch(pattern, value):
        return ""
    return "has a line break" if "\n" in value else f"is {value!r:.80}, which does not match {pattern}"


def _fault(path: str, problem: str) -> str:
    """One sentence: the job's field and its path in the request, the problem, the remedy."""
    place = next((place for place in _FIELDS if re.match(rf"{re.escape(place)}(\W|$)", path)), "")
    label = f"{_FIELDS[place]}{path[len(place) :]} ({path})" if place else path
    remedy = next(
        (text for end, text in _REMEDIES.items() if label.startswith(end) or path.endswith(end)), ""
    )
    return f"{label} {problem}" + (f"; {remedy}" if remedy and ": write" not in problem else "")


# Rules that the model lacks, or states too loosely.


def _common(request: Mapping[str, Any], network: str, cluster: Mapping[str, Any]) -> Iterable[str]:
    if part(request, f"{network}EnableNetworkIsolation") and "DAGSTER_PIPES_CONTEXT" in request.get(
        "Environment", {}
    ):
        yield "network_isolation: an isolated container cannot reach S3 or open Dagster Pipes; set `pipes=False`"
    for tag in request.get("Tags", ()):
        for field in ("Key", "Value"):
            if clean_tag(tag[field]) != tag[field][:256]:
                problem = "allowed are letters, digits, spaces and _.:/=+-@"
                yield _fault(f"Tags[{tag['Key']:.80}].{field}", f"is {tag[field]!r:.80}: {problem}")
        if tag["Key"].lower().startswith("aws:"):
            yield _fault(f"Tags[{tag['Key']:.80}].Key", "begins with `aws:`, which AWS reserves")
    for field, prefix in (("Subnets", "subnet-"), ("SecurityGroupIds", "sg-")):
        place = f"{network}VpcConfig.{field}"
        for name in part(request, place, ()):
            if not name.startswith(prefix):
                yield _fault(place, f"has {name!r:.80}, which is not an id such as {prefix}0123456789abcdef0")
    used = [name for name in ("InstanceType", "InstanceGroups", "InstancePreferences") if cluster.get(name)]
    if not used:
        yield "instance_types is empty: name a type, or give InstanceGroups or InstancePreferences in the request"
    if len(used) > 1:
        yield f"instance_types: the request has {' and '.join(used)}, exactly one is allowed. Leave instance_types empty if you use another"
    if "InstanceGroups" in used and "InstanceCount" in cluster:
        yield "instance_count: InstanceGroups have their own counts"


def _processing(request: Mapping[str, Any]) -> Iterable[str]:
    cluster = request["ProcessingResources"]["ClusterConfig"]
    yield from _common(request, "NetworkConfig.", cluster)
    yield from _image("AppSpecification.ImageUri", request["AppSpecification"]["ImageUri"])
    outputs = part(request, "ProcessingOutputConfig.Outputs", [])
    for kind, items in (("Input", request.get("ProcessingInputs", [])), ("Output", outputs)):
        names = [item[f"{kind}Name"] for item in items]
        yield from _repeated(f"{kind.lower()} names", names)
        for item in items:
            path = (item.get(f"S3{kind}") or {}).get("LocalPath")
            if (
                path is not None
                and not item.get("AppManaged")
                and not re.match(r"/opt/ml/processing/.", path)
            ):
                label = f"{kind.lower()}s[{item[f'{kind}Name']}].S3{kind}.LocalPath"
                yield f"{label} is {path!r:.80}, it must be below /opt/ml/processing/"


def _training(request: Mapping[str, Any]) -> Iterable[str]:
    resources, stopping = request.get("ResourceConfig", {}), request.get("StoppingCondition", {})
    yield from _common(request, "", resources)
    algorithm = request.get("AlgorithmSpecification", {})
    if ("TrainingImage" in algorithm) == ("AlgorithmName" in algorithm):
        yield "image: give either an image or, in the request, AlgorithmSpecification.AlgorithmName"
    yield from _image("AlgorithmSpecification.TrainingImage", algorithm.get("TrainingImage", "none"))
    # The model lacks these limits of Training.
    for field, most in (("InstanceCount", 10**6), ("VolumeSizeInGB", 16_384)):
        if not 1 <= resources.get(field, 1) <= most:
            yield _fault(f"ResourceConfig.{field}", f"is {resources[field]}, 1 to {most:,} are allowed")
    runtime = stopping.get("MaxRuntimeInSeconds", _DAY)
    if runtime > 28 * _DAY:
        yield _fault(
            "StoppingCondition.MaxRuntimeInSeconds", f"is {runtime}, at most {28 * _DAY:,} (28 days) allowed"
        )
    yield from _repeated(
        "channel names", [channel["ChannelName"] for channel in request.get("InputDataConfig", [])]
    )
    path = request.get("CheckpointConfig", {}).get("LocalPath", "/")
    if not path.startswith("/"):
        yield _fault("CheckpointConfig.LocalPath", f"is {path!r:.80}, checkpoint_path must be absolute")
    if request.get("EnableManagedSpotTraining"):
        yield from _spot(resources, stopping.get("MaxWaitTimeInSeconds", 0), runtime)


def _spot(resources: Mapping[str, Any], wait: int, runtime: int) -> Iterable[str]:
    if resources.get("KeepAlivePeriodInSeconds"):
        yield "keep_alive_seconds: a warm pool cannot use spot instances; choose one"
    if wait < runtime:
        yield "max_wait_seconds must be at least max_runtime_seconds: it includes the run time"
    if resources.get("InstancePreferences"):
        yield "spot: InstancePreferences are for on-demand instances only"


def _image(path: str, image: str) -> Iterable[str]:
    if not image or re.search(r"\s", image):
        yield _fault(path, f"is {image!r:.80}: an image address without spaces is needed")


def _repeated(label: str, names: list[str]) -> Iterable[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield f"{label} given twice: {', '.join(twice)}"
