"""Checks requests as SageMaker does: by botocore's model (minimums, maximums, patterns, values) and by rules that it lacks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel

MAX_TRAINING_SECONDS = 28 * 24 * 3600


class Refused(Exception):
    """An answer other than 200: the error's `code`, as botocore's ClientError shows it."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@cache
def service_model() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("sagemaker", "service-2"), "sagemaker")


def check(operation: str, request: dict[str, Any]) -> None:
    """A `Refused` (ValidationException) that names every fault of the request."""
    shape: Any = service_model().operation_model(operation).input_shape
    try:
        faults = list(_faults(shape, request, "")) if shape else []
    except (TypeError, AttributeError) as error:  # a value of another type than the model's
        raise Refused("SerializationException", f"The request has a value of a wrong type: {error}") from None
    if not faults and operation in ("CreateTrainingJob", "CreateProcessingJob"):
        faults = list(
            _training_faults(request) if operation == "CreateTrainingJob" else _processing_faults(request)
        )
    if not faults and operation in ("CreateTrainingJob", "CreateProcessingJob", "AddTags"):
        faults = _tag_faults(request.get("Tags") or [])
    if faults:
        count = f"{len(faults)} validation error{'s' if len(faults) > 1 else ''} detected: "
        raise Refused("ValidationException", count + "; ".join(faults))


def _faults(shape: Any, value: Any, path: str) -> Iterator[str]:
    kind = shape.type_name
    if kind == "structure":
        for name in shape.required_members:
            if value.get(name) is None:
                yield _violation(None, f"{path}.{name}", "Member must not be null")
        for name, item in value.items():
            member = shape.members.get(name)
            if member is not None and item is not None:
                yield from _faults(member, item, f"{path}.{name}")
        return
    yield from _own_faults(shape, value, path)
    if kind == "list":
        for index, item in enumerate(value):
            yield from _faults(shape.member, item, f"{path}.{index + 1}.member")
    elif kind == "map":
        for key, item in value.items():
            yield from _faults(shape.key, key, f"{path} (key)")
            yield from _faults(shape.value, item, f"{path}.{key}.member")


def _own_faults(shape: Any, value: Any, path: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    number = shape.type_name in ("integer", "long", "float", "double")
    sized = number or shape.type_name in ("string", "list", "map")
    size = value if number else len(value) if sized else 0
    noun = "value" if number else "length"
    if sized and most is not None and size > most:
        yield _violation(value, path, f"Member must have {noun} less than or equal to {most}")
    if sized and least is not None and size < least:
        yield _violation(value, path, f"Member must have {noun} greater than or equal to {least}")
    if shape.type_name == "string":
        values = shape.metadata.get("enum")
        if values and value not in values:
            yield _violation(value, path, f"Member must satisfy enum value set: [{', '.join(values)}]")
        pattern = shape.metadata.get("pattern")
        if pattern and not matches(pattern, value):
            yield _violation(value, path, f"Member must satisfy regular expression pattern: {pattern}")


def _violation(value: Any, path: str, constraint: str) -> str:
    name = path.lstrip(".")
    return f"Value '{value}' at '{name[:1].lower()}{name[1:]}' failed to satisfy constraint: {constraint}"


def matches(pattern: str, value: str) -> bool:
    """Whether the whole value matches a Java pattern: there `.` is no line break, and `\\p{L}` a letter of any script."""
    classes = re.findall(r"\\p\{([LZN])\}", pattern)
    rest = "".join(c for c in value if unicodedata.category(c)[0] not in classes) if classes else value
    pattern = re.sub(r"\\p\{[LZN]\}", "", pattern).replace(r"\p{Alnum}", "a-zA-Z0-9")
    try:
        return re.fullmatch(pattern, rest) is not None
    except re.error:  # a class that only Java has
        return True


def _tag_faults(tags: list[dict[str, str]]) -> list[str]:
    keys = [tag["Key"] for tag in tags]
    faults = [
        f"Tag key {key!r} is given more than once" for key in sorted({k for k in keys if keys.count(k) > 1})
    ]
    return faults + [f"Tag key {key!r}: aws: is reserved" for key in keys if key.lower().startswith("aws:")]


def _processing_faults(request: dict[str, Any]) -> Iterator[str]:
    outputs = (request.get("ProcessingOutputConfig") or {}).get("Outputs") or []
    inputs = request.get("ProcessingInputs") or []
    for each in [*inputs, *outputs]:
        part = each.get("S3Input") or each.get("S3Output")
        if part and not each.get("AppManaged") and not is_below(part.get("LocalPath"), "/opt/ml/processing"):
            yield f"LocalPath {part.get('LocalPath')!r} must be an absolute path below /opt/ml/processing"
    for each in inputs:
        if each.get("DatasetDefinition"):
            yield f"The double has no DatasetDefinition (input {each['InputName']!r}), only S3Input"
    cluster = request["ProcessingResources"]["ClusterConfig"]
    yield from _instance_faults(cluster, spot=False)


def _training_faults(request: dict[str, Any]) -> Iterator[str]:
    for name in ("AlgorithmSpecification", "ResourceConfig", "StoppingCondition"):
        if not request.get(name):
            yield f"{name} is required"
            return
    algorithm = request["AlgorithmSpecification"]
    if bool(algorithm.get("TrainingImage")) == bool(algorithm.get("AlgorithmName")):
        yield "Give either TrainingImage or AlgorithmName in AlgorithmSpecification"
    spot = bool(request.get("EnableManagedSpotTraining"))
    resources, condition = request["ResourceConfig"], request["StoppingCondition"]
    run, wait = condition.get("MaxRuntimeInSeconds", 86400), condition.get("MaxWaitTimeInSeconds")
    if run > MAX_TRAINING_SECONDS:
        yield f"MaxRuntimeInSeconds {run} is above the account's limit of {MAX_TRAINING_SECONDS}"
    if spot and (wait is None or wait < run):
        yield "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds"
    if wait is not None and not spot:
        yield "MaxWaitTimeInSeconds is only for jobs with EnableManagedSpotTraining"
    if spot and resources.get("KeepAlivePeriodInSeconds"):
        yield "KeepAlivePeriodInSeconds is not for jobs with EnableManagedSpotTraining"
    yield from _double_faults(request)
    yield from _instance_faults(resources, spot)


def _double_faults(request: dict[str, Any]) -> Iterator[str]:
    """What AWS takes, and the double does not."""
    for channel in request.get("InputDataConfig") or []:
        if not channel["DataSource"].get("S3DataSource"):
            yield f"The double reads channels from S3DataSource only (channel {channel['ChannelName']!r})"
    path = (request.get("CheckpointConfig") or {}).get("LocalPath")
    if path and not is_below(path, "/opt/ml"):
        yield f"The double has checkpoints below /opt/ml only, not at {path!r}"
    for metric in request["AlgorithmSpecification"].get("MetricDefinitions") or []:
        try:
            re.compile(metric["Regex"])
        except re.error as error:
            yield f"The double cannot read the Regex of metric {metric['Name']!r}: {error}"


def is_below(path: str | None, folder: str) -> bool:
    """Whether an absolute path is `folder` or below it, without `..`."""
    parts = (path or "").split("/")
    return ".." not in parts and parts[: folder.count("/") + 1] == folder.split("/")


def _instance_faults(cluster: dict[str, Any], spot: bool) -> Iterator[str]:
    ways = ("InstanceType", "InstancePreferences", "InstanceGroups")
    given = [name for name in ways if cluster.get(name)]
    if len(given) != 1:
        yield f"Give exactly one of InstanceType, InstancePreferences and InstanceGroups, not {given}"
    elif given == ["InstanceType"] and not cluster.get("InstanceCount"):
        yield "InstanceCount is required beside InstanceType"
    elif given == ["InstanceGroups"] and cluster.get("InstanceCount"):
        yield "InstanceCount is not for jobs with InstanceGroups"
    if given == ["InstancePreferences"] and spot:
        yield "InstancePreferences is not for jobs with EnableManagedSpotTraining"
