"""Settings of a chain whose SageMaker jobs are `dates_container.py`: what it does is said while it runs."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

from sagemaker_double.process import ROLE

REPOSITORY = Path(__file__).parents[2]
ASSET = "raw/weather_forecasts"
QUOTA = "ml.m5.large for processing job usage"
POOL = "sagemaker-processing-ml.m5.large"
"""The pool of the asset's runs, where its jobs are Processing jobs."""


class DatesJobs:
    """`folder` holds their settings, their script and all state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pace = 0.05
        """All of the client's intervals are multiplied by it."""
        self._script: dict[str, Any] = {}
        self.do()

    def do(self, seconds: float = 0, reads: dict[str, int] | None = None, **exits: tuple[int, str]) -> None:
        """From now on: `do(seconds=3)`; `do(**{"2026-06-02": (66, "Nothing there")})`."""
        script = {"seconds": seconds, "reads": reads or {}, "exits": exits}
        (self.folder / "script.json").write_text(json.dumps(script))

    def variables(self, quota: int = 3, **settings: str) -> dict[str, str]:
        """Of a chain in the environment test, with so many instances; `settings` stand in the jobs' default, as TOML."""
        command = [
            "env",
            f"PYTHONPATH={REPOSITORY}",
            "python",
            str(REPOSITORY / "tests/faults/dates_container.py"),
        ]
        lines = {
            "entrypoint": json.dumps([*command, str(self.folder / "script.json")]),
            "instance_types": '["ml.m5.large"]',
            "jobs_at_once": "50",
            **settings,
        }
        default = "\n".join(f"{name} = {value}" for name, value in lines.items())
        (self.folder / "jobs.toml").write_text(f'[default]\n{default}\n[quotas]\n"{QUOTA}" = {quota}\n')
        return {
            "RUTER_ENVIRONMENT": "test",
            "RUTER_HISTORY_START": "2025-01-01",
            "RUTER_STATE_DIR": str(self.folder / "state"),
            "RUTER_LAKE": "s3://lake",
            "RUTER_MLFLOW_TRACKING_URI": "https://mlflow.example.org",
            "RUTER_SAGEMAKER_IMAGE": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/jobs@sha256:" + "0" * 64,
            "RUTER_SAGEMAKER_ROLE": ROLE,
            "RUTER_SAGEMAKER_JOBS": str(self.folder / "jobs.toml"),
            "RUTER_SAGEMAKER_PACE": str(self.pace),
            "RUTER_JOB_DAYS": "1",
            "RUTER_STEP_RETRIES": "1",
            "RUTER_STEP_RETRY_DELAY": "0",
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
        }


def of_date(jobs: list[dict[str, Any]], day: date) -> list[dict[str, Any]]:
    """The double's jobs of a date, by their names."""
    return [job for job in jobs if day.isoformat() in job["name"]]


def date_of(job: dict[str, Any]) -> date:
    """The date that stands in a job's name."""
    found = re.search(r"\d{4}-\d\d-\d\d", job["name"])
    assert found, job["name"]
    return date.fromisoformat(found[0])


def most_at_once(jobs: list[dict[str, Any]]) -> int:
    """How many of these jobs there were at one moment."""
    times = [(job["describe"], f"{job['kind']}EndTime") for job in jobs]
    moments = [(told["CreationTime"], 1) for told, _ in times] + [(told[end], -1) for told, end in times]
    running, most = 0, 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    return most
