"""The API names of the two kinds of job: calls, fields and log groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dagster_sagemaker.jobs import Job, ProcessingJob, TrainingJob


@dataclass(frozen=True)
class Kind:
    """`word` is Processing or Training."""

    word: str
    job_class: type[Job]
    console: str
    """Part of the job's URL in the AWS console."""

    @property
    def log_group(self) -> str:
        return f"/aws/sagemaker/{self.word}Jobs"

    def create(self, sagemaker: Any) -> Callable[..., Any]:
        return getattr(sagemaker, f"create_{self.word.lower()}_job")

    def describe(self, sagemaker: Any) -> Callable[..., Any]:
        return getattr(sagemaker, f"describe_{self.word.lower()}_job")

    def stop(self, sagemaker: Any) -> Callable[..., Any]:
        return getattr(sagemaker, f"stop_{self.word.lower()}_job")

    def name_parameter(self, name: str) -> dict[str, str]:
        """The parameter that names the job in Describe and Stop."""
        return {f"{self.word}JobName": name}

    def arn(self, described: Mapping[str, Any]) -> str:
        return described.get(f"{self.word}JobArn", "")

    def status(self, described: Mapping[str, Any]) -> str:
        """The secondary status (`Starting`, `Training`, …) if there is one, else `InProgress`, `Completed`, …."""
        return described.get("SecondaryStatus") or described.get(f"{self.word}JobStatus", "")

    def started(self, described: Mapping[str, Any]) -> bool:
        if self.word == "Training":
            return self.status(described) not in (
                "Starting",
                "Pending",
                "LaunchingMLInstances",
                "Downloading",
            )
        return bool(described.get("ProcessingStartTime"))


PROCESSING = Kind("Processing", ProcessingJob, "processing-jobs")
TRAINING = Kind("Training", TrainingJob, "jobs")
