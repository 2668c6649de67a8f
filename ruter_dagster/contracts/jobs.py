"""The jobs: their names and typed parameters, shared by the assets that ask for them and the code that runs in the container.

An asset passes one of these to the launcher; `python -m ruter_dagster.jobs <name>` reads it back. Nothing here runs a job.
"""

from __future__ import annotations

from datetime import date, datetime
from difflib import get_close_matches
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from ruter_dagster.contracts.checks import CHECKED_TABLES, compared_with_plan
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS, TRAINING_SAMPLE
from ruter_dagster.contracts.tables import (
    FORECAST_PERFORMANCE,
    LOAD_FORECASTS,
    PLANNED_DEPARTURES,
    REJECTED_VISITS,
    STOP_LOADS,
    STOP_VISITS,
    WEATHER_FORECASTS,
    Table,
)

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
EXIT_NO_DATA = 66
"""Exit code of a job if none of its dates has data. It is no failure if other jobs of the range have data."""


def asset_of(table: str) -> str:
    """Asset key of a table, as text: `raw.stop_visits` is `raw/stop_visits`."""
    return table.replace(".", "/")


def quality_asset_of(table: str) -> str:
    """Asset key of a table's quality report: `raw.stop_visits` has `quality/stop_visits`."""
    return f"{QUALITY_GROUP}/{table.split('.')[1]}"


class JobParameters(BaseModel):
    """The parameters of every job. `pins` are snapshot ids by table name: a pinned table is read at that snapshot."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: ClassVar[str]
    training: ClassVar[bool] = False
    """Whether SageMaker runs it as a Training job rather than a Processing job."""

    reads: ClassVar[tuple[Table, ...]] = ()
    """The tables that the job reads, whatever its parameters."""

    code_version: str = "1"
    pins: dict[str, int] = Field(default_factory=dict)

    @property
    def input_tables(self) -> tuple[Table, ...]:
        """The tables that the job may read with these parameters; no other table can be pinned."""
        return self.reads

    def require_known_pins(self) -> None:
        """Raises `PermanentFailure` if a pinned table is misspelt, or is none that the job reads."""
        names = [table.name for table in self.input_tables]
        for pin in self.pins:
            if pin not in names:
                close = get_close_matches(pin, names, n=1)
                suggestion = f" Did you mean {close[0]}?" if close else ""
                raise PermanentFailure(
                    f"Job {self.job} does not read the pinned table {pin}.{suggestion} Tables that it reads: "
                    f"{', '.join(names) or 'none'}. Correct or remove the pin."
                )


class DatesParameters(JobParameters):
    """A job over operating dates (or issue dates).

    `of_range`: missing dates are left out and listed; otherwise they are an error.
    `part_of_range`: other dates of the range exist already, so it is no error if all of these dates are missing.
    """

    in_order: ClassVar[bool] = False
    """Whether each job of a range reads what the one before it left: then they never run side by side."""
    service_dates: ClassVar[int] = 1
    """How many service dates' departures each date stands for: a job of a range has the fewer dates."""

    dates: tuple[date, ...]
    of_range: bool = False
    part_of_range: bool = False

    @property
    def missing(self) -> Literal["error", "error_if_all"]:
        """What a job does if an input table lacks dates: a range needs at least one of them."""
        return "error_if_all" if self.of_range else "error"


class Snapshot(DatesParameters):
    """Copies one raw table of the source, whole dates."""

    job = "snapshot"
    table: str

    @property
    def input_tables(self) -> tuple[Table, ...]:
        """Counts are matched to the plans that are stored."""
        return (PLANNED_DEPARTURES,) if self.table == STOP_VISITS.name else ()


class CheckQuality(DatesParameters):
    """Runs the expectation suite of a table on dates, and records a verdict for each (date, content)."""

    job = "check_quality"
    in_order = True
    table: str

    @property
    def input_tables(self) -> tuple[Table, ...]:
        """The checked table, its plan, and rejected rows beside stop visits."""
        tables = [table for table in CHECKED_TABLES if table.name == self.table]
        plan = [PLANNED_DEPARTURES] if any(map(compared_with_plan, tables)) else []
        rejected = [REJECTED_VISITS] if STOP_VISITS in tables else []
        return (*tables, *plan, *rejected)


class Balance(DatesParameters):
    """Stop visits to balanced stop loads."""

    job = "balance"
    reads = (STOP_VISITS,)


class Features(DatesParameters):
    """Departure features of operating dates, future ones included.

    `force`: compute dates again even if their inputs are unchanged. The asset sets it if the run's configuration has pins,
    because such a run repeats a former run to compare the results.
    """

    job = "features"
    reads = (PLANNED_DEPARTURES, STOP_LOADS)

    force: bool = False


class Levels(DatesParameters):
    """Recent levels on issue dates."""

    job = "levels"
    reads = (STOP_LOADS, DEPARTURE_FEATURES)


class Sample(DatesParameters):
    """The training sample of operating dates: at most `rows` departures of each, drawn with `seed`."""

    job = "sample"
    reads = (STOP_LOADS, DEPARTURE_FEATURES, LEVELS, WEATHER_FORECASTS)
    rows: int
    seed: int


class Train(JobParameters):
    """Trains a load model on `days` operating dates up to `cutoff`; by default all but the newest `held_out` of the sample."""

    job = "train"
    training = True
    reads = (TRAINING_SAMPLE, STOP_LOADS)
    cutoff: date | None = None
    days: int
    held_out: int
    parameters: dict[str, float | int | str] = Field(default_factory=dict)


class Evaluate(JobParameters):
    """Judges a model version on operating dates after its cut-off, against the baselines."""

    job = "evaluate"
    reads = (STOP_LOADS, DEPARTURE_FEATURES, LEVELS, WEATHER_FORECASTS)
    model_version: str
    days: int


class Refit(JobParameters):
    """Trains an evaluated model version again with its own parameters, on the newest `days` operating dates."""

    job = "refit"
    training = True
    reads = (TRAINING_SAMPLE,)
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
    reads = (DEPARTURE_FEATURES, LEVELS, WEATHER_FORECASTS)
    service_dates = HORIZON_DAYS + 1
    model_version: str | None = None


class Publish(DatesParameters):
    """Publishes issue dates on Kafka, a transaction each. `issued_at` is the local time of issue, HH:MM."""

    job = "publish"
    reads = (LOAD_FORECASTS,)
    issued_at: str


class Performance(DatesParameters):
    """Joins forecasts to the loads that arrived."""

    job = "performance"
    reads = (STOP_LOADS, LOAD_FORECASTS)
    service_dates = HORIZON_DAYS + 1


class Drift(DatesParameters):
    """Measures drift of operating dates."""

    job = "drift"
    reads = (STOP_LOADS, STOP_VISITS, FORECAST_PERFORMANCE)


JOBS: dict[str, type[JobParameters]] = {
    parameters.job: parameters
    for base in (JobParameters, DatesParameters)
    for parameters in base.__subclasses__()
    if parameters is not DatesParameters
}
"""The class of each job's parameters, by the job's name: every class of this module that declares `job`."""
