"""Smallest requests that the double takes, for its own tests and for any other that needs a job of its own making."""

from __future__ import annotations

from typing import Any

from .process import ROLE

LINE_BREAK = "\u2424"
"""Stands for a line break: an argument may have none."""
RUNNER = f"import sys; exec(''.join(sys.argv[1:]).replace({LINE_BREAK!r}, chr(10)), {{'__name__': 'job'}})"


def python(code: str) -> list[str]:
    """An entry point that runs any code: in pieces, for an argument has at most 256 characters, and no line break."""
    text = code.replace("\n", LINE_BREAK)
    return ["python", "-c", RUNNER, *(text[start : start + 256] for start in range(0, len(text), 256))]


def processing(name: str, code: str = "pass", **changes: Any) -> dict[str, Any]:
    """A CreateProcessingJob request whose container runs `code`."""
    return {
        "ProcessingJobName": name,
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": "image", "ContainerEntrypoint": python(code)},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
        },
    } | changes


def training(name: str, code: str = "pass", **changes: Any) -> dict[str, Any]:
    """A CreateTrainingJob request whose container runs `code`; its model goes to `s3://bucket/models`."""
    return {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": "image",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": python(code),
        },
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/models"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    } | changes
