"""SageMaker's container contract, shared by job and launcher: the files of parameters and of failures.

The base is `/opt/ml` in SageMaker; `RUTER_CONTAINER_BASE` sets another base for a job in a local process.
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
"""Set by a launcher that keeps the job's standard input open while it lives."""
USER_VARIABLE = "RUTER_CONTAINER_USER"
"""Set by the jobs' image: the user that a job switches to if it was started as root."""
STOP_SECONDS = 10.0
"""How long a job may take to end after a stop request."""
MESSAGE_LIMIT = 1000
"""Bytes of a failure's reason. SageMaker keeps 1,024 with its own words, and fails a job if the limit cuts a character."""
_CODE = "exit code: "
HYPERPARAMETER_LIMIT = 2500
"""Maximum characters of one hyperparameter. Longer parameters are split into several."""
PARAMETERS_FOLDER, PARAMETERS_FILE = "/opt/ml/processing/input/parameters", "parameters.json"
"""Where Processing mounts the parameters."""


@dataclass(frozen=True)
class Container:
    """The folders of one job, below `base`."""

    base: Path

    @classmethod
    def of_environment(cls) -> Container:
        return cls(Path(os.environ.get(BASE_VARIABLE) or "/opt/ml"))

    @property
    def hyperparameters(self) -> Path:
        """Training: a JSON object of strings. Ours are pieces of JSON: `parameters_1`, `parameters_2`, …."""
        return self.base / "input" / "config" / "hyperparameters.json"

    @property
    def processing_parameters(self) -> Path:
        """Processing has no hyperparameters: the same JSON comes as an input."""
        return self.base / "processing" / "input" / "parameters" / "parameters.json"

    @property
    def written_by_jobs(self) -> tuple[Path, ...]:
        """Existing folders that SageMaker uploads; `output` always exists."""
        output, names = self.base / "output", ("model", "checkpoints", "processing/output")
        output.mkdir(parents=True, exist_ok=True)
        return (output, *(folder for name in names if (folder := self.base / name).is_dir()))

    @property
    def is_first_host(self) -> bool:
        """Whether this is the first instance, which alone reports for the job. Without a resource file there is one instance."""
        for folder in ("input/config", "config"):  # Training, Processing
            path = self.base / folder / "resourceconfig.json"
            if path.is_file():
                resources = json.loads(path.read_text())
                return resources["current_host"] == min(resources["hosts"], key=_host_number)
        return True

    def write_parameters(self, parameters: JobParameters) -> None:
        """Writes the parameters where the job reads them (the launcher's half of the contract)."""
        text = parameters.model_dump_json()
        path = self.hyperparameters if parameters.training else self.processing_parameters
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(to_hyperparameters(parameters)) if parameters.training else text)

    def read_parameters(self, job: str) -> JobParameters:
        """The parameters of `job`, run as Processing or Training. Raises `PermanentFailure` if they are missing or wrong."""
        if job not in JOBS:
            raise PermanentFailure(f"Unknown job {job!r}. Jobs: {', '.join(sorted(JOBS))}")
        kind = JOBS[job]
        paths = [self.processing_parameters, self.hyperparameters]
        expected = paths[kind.training]
        path = next((path for path in paths if path.is_file()), expected)
        try:
            content: Any = json.loads(path.read_text())
            training = path == self.hyperparameters
            return kind.model_validate_json(_joined(content) if training else json.dumps(content))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PermanentFailure(f"Parameters of job {job} at {path} cannot be read: {error}") from error

    def write_failure(self, reason: str, exit_code: int) -> None:
        """Writes why the job failed, for Training (output/failure), Processing (output/message) and this machine (output/reason).

        SageMaker's two files have the beginning of the reason, and `exit code: N` as their last line: older stacks of SageMaker
        do not report the code.
        """
        output = self.base / "output"
        output.mkdir(parents=True, exist_ok=True)
        whole, last_line = reason.encode(errors="replace"), f"\n{_CODE}{exit_code}"
        text = whole[: MESSAGE_LIMIT - len(last_line)].decode(errors="ignore") + last_line
        (output / "failure").write_text(text, encoding="utf-8")
        (output / "message").write_text(text, encoding="utf-8")
        (output / "reason").write_bytes(whole)

    def read_failure(self) -> str | None:
        """The whole reason that a job has written."""
        path = self.base / "output" / "reason"
        return path.read_text(encoding="utf-8") if path.is_file() else None


def to_hyperparameters(parameters: JobParameters) -> dict[str, str]:
    """A Training job's hyperparameters: the parameters as JSON, split into pieces."""
    text, size = parameters.model_dump_json(), HYPERPARAMETER_LIMIT
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    return {f"parameters_{number}": piece for number, piece in enumerate(pieces, 1)}


def _joined(pieces: dict[str, str]) -> str:
    return "".join(pieces[f"parameters_{number}"] for number in range(1, max(1, len(pieces)) + 1))


def _host_number(host: str) -> int:
    """`algo-10` comes after `algo-2`."""
    return int(host.rpartition("-")[2])


def is_alive(process: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        pass
    return True
