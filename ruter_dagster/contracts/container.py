"""SageMaker's container contract, which job and launcher share: where parameters come in, where failures go out.

`/opt/ml` is the base in SageMaker; `RUTER_CONTAINER_BASE` names another for a job that runs as a local process.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import JOBS, JobParameters

BASE_VARIABLE = "RUTER_CONTAINER_BASE"
OWNER_VARIABLE = "RUTER_JOB_OWNER_ON_STDIN"
"""Set by a launcher that holds the job's standard input open for as long as it lives."""
MESSAGE_LIMIT = 1024
"""Characters that SageMaker keeps of a failure reason or an exit message."""


@dataclass(frozen=True)
class Container:
    """The folders of one job, below `base`."""

    base: Path

    @classmethod
    def of_environment(cls) -> Container:
        return cls(Path(os.environ.get(BASE_VARIABLE) or "/opt/ml"))

    @property
    def hyperparameters(self) -> Path:
        """Training: a JSON object of strings; ours has one, `parameters`, itself JSON."""
        return self.base / "input" / "config" / "hyperparameters.json"

    @property
    def processing_parameters(self) -> Path:
        """Processing has no hyperparameters: the same JSON comes as an input."""
        return self.base / "processing" / "input" / "parameters" / "parameters.json"

    def write_parameters(self, parameters: JobParameters) -> None:
        """Lays the parameters where the job will look for them (the launcher's half of the contract)."""
        text = parameters.model_dump_json()
        path = self.hyperparameters if parameters.training else self.processing_parameters
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"parameters": text}) if parameters.training else text)

    def read_parameters(self, job: str) -> JobParameters:
        """The parameters of `job`; a `PermanentFailure` tells what is missing or wrong."""
        if job not in JOBS:
            raise PermanentFailure(f"There is no job {job!r}; there are: {', '.join(sorted(JOBS))}")
        kind = JOBS[job]
        path = self.hyperparameters if kind.training else self.processing_parameters
        try:
            content: Any = json.loads(path.read_text())
            return kind.model_validate_json(content["parameters"] if kind.training else json.dumps(content))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PermanentFailure(f"Parameters of job {job} at {path} cannot be read: {error}") from error

    def write_failure(self, reason: str) -> None:
        """Says why the job failed, where Training (output/failure) and Processing (output/message) look for it."""
        output = self.base / "output"
        output.mkdir(parents=True, exist_ok=True)
        (output / "failure").write_text(reason)
        (output / "message").write_text(reason[:MESSAGE_LIMIT])

    def read_failure(self) -> str | None:
        path = self.base / "output" / "failure"
        return path.read_text() if path.is_file() else None
