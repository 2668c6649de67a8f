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
USER_VARIABLE = "RUTER_CONTAINER_USER"
"""Set by the jobs' image: the user that a job goes on as where it was started as root."""
STOP_SECONDS = 10.0
"""How long a job that is told to end may take to do so by itself."""
MESSAGE_LIMIT = 1024
"""Bytes that SageMaker keeps of an exit message; it fails a job whose message they cut in the middle of a character."""
HYPERPARAMETER_LIMIT = 2500
"""Characters of one hyperparameter: longer parameters, those of many dates, come in several."""
PARAMETERS_FOLDER, PARAMETERS_FILE = "/opt/ml/processing/input/parameters", "parameters.json"
"""Where Processing has the parameters."""


@dataclass(frozen=True)
class Container:
    """The folders of one job, below `base`."""

    base: Path

    @classmethod
    def of_environment(cls) -> Container:
        return cls(Path(os.environ.get(BASE_VARIABLE) or "/opt/ml"))

    @property
    def hyperparameters(self) -> Path:
        """Training: a JSON object of strings; ours are JSON in pieces, `parameters_1`, `parameters_2`, …."""
        return self.base / "input" / "config" / "hyperparameters.json"

    @property
    def processing_parameters(self) -> Path:
        """Processing has no hyperparameters: the same JSON comes as an input."""
        return self.base / "processing" / "input" / "parameters" / "parameters.json"

    @property
    def written_by_jobs(self) -> tuple[Path, ...]:
        """Folders that SageMaker takes something out of, as far as it has laid them out; `output` always."""
        output, names = self.base / "output", ("model", "checkpoints", "processing/output")
        output.mkdir(parents=True, exist_ok=True)
        return (output, *(folder for name in names if (folder := self.base / name).is_dir()))

    @property
    def is_first_host(self) -> bool:
        """Of several instances the first alone speaks for the job; where nothing tells of others there is one."""
        for place in ("input/config", "config"):  # Training, Processing
            path = self.base / place / "resourceconfig.json"
            if path.is_file():
                resources = json.loads(path.read_text())
                return resources["current_host"] == min(resources["hosts"], key=_host_number)
        return True

    def write_parameters(self, parameters: JobParameters) -> None:
        """Lays the parameters where the job will look for them (the launcher's half of the contract)."""
        text = parameters.model_dump_json()
        path = self.hyperparameters if parameters.training else self.processing_parameters
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(to_hyperparameters(parameters)) if parameters.training else text)

    def read_parameters(self, job: str) -> JobParameters:
        """The parameters of `job`, run as Processing or as Training; a `PermanentFailure` tells what is missing or wrong."""
        if job not in JOBS:
            raise PermanentFailure(f"There is no job {job!r}; there are: {', '.join(sorted(JOBS))}")
        kind = JOBS[job]
        places = [self.processing_parameters, self.hyperparameters]
        usual = places[kind.training]
        path = next((place for place in places if place.is_file()), usual)
        try:
            content: Any = json.loads(path.read_text())
            training = path == self.hyperparameters
            return kind.model_validate_json(_joined(content) if training else json.dumps(content))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PermanentFailure(f"Parameters of job {job} at {path} cannot be read: {error}") from error

    def write_failure(self, reason: str) -> None:
        """Says why the job failed, where Training (output/failure) and Processing (output/message) look for it."""
        output = self.base / "output"
        output.mkdir(parents=True, exist_ok=True)
        whole = reason.encode(errors="replace")
        (output / "failure").write_bytes(whole)
        message = whole[:MESSAGE_LIMIT].decode(errors="ignore")
        (output / "message").write_text(message, encoding="utf-8")

    def read_failure(self) -> str | None:
        path = self.base / "output" / "failure"
        return path.read_text(encoding="utf-8") if path.is_file() else None


def to_hyperparameters(parameters: JobParameters) -> dict[str, str]:
    """A Training job's hyperparameters: the parameters as JSON, in as many pieces as it takes."""
    text, size = parameters.model_dump_json(), HYPERPARAMETER_LIMIT
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    return {f"parameters_{number}": piece for number, piece in enumerate(pieces, 1)}


def _joined(pieces: dict[str, str]) -> str:
    return "".join(pieces[f"parameters_{number}"] for number in range(1, max(1, len(pieces)) + 1))


def _host_number(host: str) -> int:
    """`algo-10` comes after `algo-2`."""
    return int(host.rpartition("-")[2])


def is_alive(process: int) -> bool:
    """Whether a process with this id is there: launcher and job each end what outlives the other."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True
