"""The jobs: their names and typed parameters, shared by the assets that ask for them and the code that runs in the container.

An asset passes one of these to the launcher; `python -m ruter_dagster.jobs <name>` reads it back. Nothing here runs a job.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from ruter_dagster.contracts.date_windows import HORIZON_DAYS

MODEL_NAME = "load_model"
"""Name of the one model, in the registry and in MLflow."""

NEWEST = "newest"
"""Stands for the model version that was trained last, where the version itself is not known yet."""

LOAD_MODEL = "models/load_model"
EVALUATION = "models/evaluation"
REFITTED_MODEL = "models/refitted_model"
CHAMPION = "models/champion"
PUBLISHED_FORECASTS = "forecasts/published_forecasts"

MIN_COUNTED_DATES = 35
"""Operating dates with counts below which no model is trained and baselines are published: five weeks, of which the first has
no history."""
MIN_TRAINING_DATES = 14
"""Dates of the training sample, before those of the evaluation, below which no model is trained either: where few days have counts."""

QUALITY_GROUP = "quality"
"""Group, and first part of the key, of the quality reports."""

EXIT_PERMANENT = 65
"""Exit code of a job whose failure no retry can cure (EX_DATAERR)."""
EXIT_MEMORY = 137
"""Exit code of a job that ran out of memory, whether it noticed or the kernel killed it (128 + SIGKILL)."""
EXIT_ABSENT = 66
"""Exit code of a job that found none of its dates: it is a failure unless other parts of the range have theirs."""


def asset_of(table: str) -> str:
    """Asset key of a table, as text: `raw.stop_visits` is `raw/stop_visits`."""
    return table.replace(".", "/")


def quality_asset_of(table: str) -> str:
    """Asset key of a table's quality report: `raw.stop_visits` has `quality/stop_visits`."""
    return f"{QUALITY_GROUP}/{table.split('.')[1]}"


class JobParameters(BaseModel):
    """What every job takes. `pins` are snapshot ids by table: a pinned table is read as it was then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: ClassVar[str]
    training: ClassVar[bool] = False
    """Whether SageMaker runs it as a Training job rather than a Processing job."""

    code_version: str = "1"
    pins: dict[str, int] = Field(default_factory=dict)


class DatesParameters(JobParameters):
    """A job over operating dates (or issue dates).

    `of_range`: absent dates are left out and listed, else they are an error. `part_of_range`: the other dates of their range
    stand, so that it is no error either if all of these are absent.
    """

    in_order: ClassVar[bool] = False
    """Whether each job of a range reads what the one before it left: then they never run side by side."""
    service_dates: ClassVar[int] = 1
    """How many service dates' departures each date stands for: a job of a range has the fewer dates."""

    dates: tuple[date, ...]
    of_range: bool = False
    part_of_range: bool = False


class Snapshot(DatesParameters):
    """Copies one raw table of the source, whole dates."""

    job = "snapshot"
    table: str


class CheckQuality(DatesParameters):
    """Runs the expectation suite of a table on dates, and records a verdict for each (date, content)."""

    job = "check_quality"
    in_order = True
    table: str


class Balance(DatesParameters):
    """Stop visits to balanced stop loads."""

    job = "balance"


class Features(DatesParameters):
    """Departure features of operating dates, future ones included.

    `make_again`: those that would come out as they stand too. A run that was given pins repeats a former one to see that
    the same comes out; pins that the first job of a range gives the others mean no such thing.
    """

    job = "features"

    make_again: bool = False


class Levels(DatesParameters):
    """Recent levels on issue dates."""

    job = "levels"


class Sample(DatesParameters):
    """The training sample of operating dates: at most `rows` departures of each, drawn with `seed`."""

    job = "sample"
    rows: int
    seed: int


class Train(JobParameters):
    """Trains a load model on `days` operating dates up to `cutoff`; by default all but the newest `held_out` of the sample."""

    job = "train"
    training = True
    cutoff: date | None = None
    days: int
    held_out: int
    parameters: dict[str, float | int | str] = Field(default_factory=dict)


class Evaluate(JobParameters):
    """Judges a model version on operating dates after its cut-off, against the baselines."""

    job = "evaluate"
    model_version: str
    days: int


class Refit(JobParameters):
    """Trains an evaluated model version again with its own parameters, on the newest `days` operating dates."""

    job = "refit"
    training = True
    model_version: str
    days: int


class Promote(JobParameters):
    """Makes a model version champion, if the version that was evaluated in its place passed the release gate."""

    job = "promote"
    model_version: str
    promoted_at: datetime


class Forecast(DatesParameters):
    """Forecasts every planned departure of issue dates D to D+3, with the newest fit champion or a pinned one."""

    job = "forecast"
    service_dates = HORIZON_DAYS + 1
    model_version: str | None = None


class Publish(DatesParameters):
    """Publishes issue dates on Kafka, a transaction each. `issued_at` is the local time of issue, HH:MM."""

    job = "publish"
    issued_at: str


class Performance(DatesParameters):
    """Joins forecasts to the loads that arrived."""

    job = "performance"
    service_dates = HORIZON_DAYS + 1


class Drift(DatesParameters):
    """Measures drift of operating dates."""

    job = "drift"


JOBS: dict[str, type[JobParameters]] = {
    parameters.job: parameters
    for parameters in (
        Snapshot, CheckQuality, Balance, Features, Levels, Sample, Train, Evaluate, Refit, Promote, Forecast, Publish, Performance,
        Drift,
    )
}  # fmt: skip
