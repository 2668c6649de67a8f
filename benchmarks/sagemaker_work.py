"""The cases of `benchmarks.sagemaker`, and the jobs of a round with their seeded durations."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS, AIRFLOW = "dagster_sagemaker", "Airflow"
CONTAINER = Path(__file__).with_name("sagemaker_container.py")


@dataclass(frozen=True)
class Case:
    """One way to run a job. `logs`: whether this case shows the job's log lines."""

    by: str
    service: str
    mode: str
    logs: bool


CASES = (
    Case(OURS, "Processing", "polling", logs=False),
    Case(OURS, "Processing", "events", logs=False),
    Case(AIRFLOW, "Processing", "default", logs=False),
    Case(AIRFLOW, "Processing", "deferrable", logs=False),
    Case(OURS, "Training", "polling", logs=True),
    Case(OURS, "Training", "events", logs=True),
    Case(AIRFLOW, "Training", "default", logs=True),
    Case(AIRFLOW, "Training", "deferrable", logs=True),
)


@dataclass(frozen=True)
class Work:
    """One job. Jobs of equal `index` are equally long in every case; `delay` is the time from the start of the round to the start of the job."""

    case: Case
    token: str
    """Names the job in log lines, queues and, as access key, in the double's counts."""
    index: int
    seconds: float
    linger: float
    delay: float
    interval: float

    @property
    def entrypoint(self) -> tuple[str, ...]:
        return ("python", str(CONTAINER))

    @property
    def arguments(self) -> tuple[str, ...]:
        return (self.token, *(f"{number:.3f}" for number in (self.seconds, self.linger, self.interval)))

    def request(self) -> dict[str, Any]:
        """The request for Airflow's operators; our client builds its own."""
        from sagemaker_double.requests import processing, training

        command = {"ContainerEntrypoint": list(self.entrypoint), "ContainerArguments": list(self.arguments)}
        if self.case.service == "Processing":
            return processing(self.token, AppSpecification={"ImageUri": "image", **command})
        image = {"TrainingImage": "image", "TrainingInputMode": "File"}
        return training(self.token, AlgorithmSpecification={**image, **command})


@dataclass(frozen=True)
class Lengths:
    """Seconds. A job takes `shortest` and up to `spread` more; then up to `linger` pass from Pipes' end to the job's."""

    shortest: float = 180.0
    spread: float = 30.0
    linger: float = 0.0
    apart: float = 0.5
    """Between the starts of two jobs."""
    interval: float = 5.0
    """Between two log lines."""


def plan_round(number: int, jobs: int, lengths: Lengths, cases: tuple[Case, ...] = CASES) -> list[Work]:
    """The jobs of round `number`: `jobs` per case."""
    drawn = random.Random(number)
    sizes = [
        (lengths.shortest + lengths.spread * drawn.random(), lengths.linger * drawn.random())
        for _ in range(jobs)
    ]
    order = [(case, index) for index in range(jobs) for case in cases]
    return [
        Work(case, _token(number, case, index), index, *sizes[index], place * lengths.apart, lengths.interval)
        for place, (case, index) in enumerate(order)
    ]


def _token(number: int, case: Case, index: int) -> str:
    by = case.by.lower().replace("_", "-")
    return f"r{number}-{by}-{case.service.lower()}-{case.mode}-{index}"
