"""The jobs' names and typed parameters, shared by assets, launchers and the jobs themselves.

An asset passes parameters to a launcher, and `python -m ruter_dagster.jobs <name>` reads them. Nothing here runs a job.
"""

from __future__ import annotations

from datetime import date, datetime
from difflib import get_close_matches
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from ruter_dagster.contracts.checks import CHECKED_TABLES, compared_with_plan
from ruter_dagster.contracts.date_windows import HORIZON_DAYS, TRUTH_FINAL_DAYS
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS, TRAINING_SAMPLE
from ruter_dagster.contracts.scores import CROWDED_PROBABILITY
from ruter_dagster.contracts.tables import (
    CHALLENGER_FORECASTS,
    FORECAST_PERFORMANCE,
    LOAD_FORECASTS,
    PLANNED_DEPARTURES,
    PUBLICATIONS,
    REJECTED_VISITS,
    STOP_LOADS,
    STOP_VISITS,
    WEATHER_FORECASTS,
    Table,
)

MODEL_NAME = "load_model"
"""Name of the model in the registry and in MLflow."""

NEWEST = "newest"
"""Names the model version that was trained last, for parameters that are written before the training."""

LOAD_MODEL = "models/load_model"
EVALUATION = "models/evaluation"
REFITTED_MODEL = "models/refitted_model"
CHAMPION = "models/champion"
PUBLISHED_FORECASTS = "forecasts/published_forecasts"
FEEDS = "forecasts/feeds"
RETENTION = "monitoring/retention"

MIN_COUNTED_DATES = 35
"""Minimum number of operating dates with counts for a training: five weeks, the first of which has no history. With fewer dates
baselines are published."""
MIN_TRAINING_DATES = 14
"""Minimum number of dates in the training sample, without those of the evaluation."""

QUALITY_GROUP = "quality"
"""Group of the quality reports, and first part of their keys."""

EXIT_PERMANENT = 65
"""Exit code of a permanent failure, which is not retried (EX_DATAERR)."""
EXIT_MEMORY = 137
"""Exit code of a job that ran out of memory, also if the kernel killed it (128 + SIGKILL)."""
EXIT_NO_DATA = 66
"""Exit code of a job if none of its dates has data. It is no failure if other jobs of the range have data."""


_ASSETS_WITH_ANOTHER_NAME = {PUBLICATIONS.name: PUBLISHED_FORECASTS}


def asset_of(table: str) -> str:
    """The asset key of a table: `raw/stop_visits` for `raw.stop_visits`."""
    return _ASSETS_WITH_ANOTHER_NAME.get(table) or table.replace(".", "/")


def quality_asset_of(table: str) -> str:
    """The asset key of a table's quality report: `quality/stop_visits` for `raw.stop_visits`."""
    return f"{QUALITY_GROUP}/{table.split('.')[1]}"


class JobParameters(BaseModel):
    """The parameters of every job. `pins` are snapshot ids by table name: a pinned table is read at that snapshot."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: ClassVar[str]
    training: ClassVar[bool] = False
    """Whether SageMaker runs it as a Training job rather than a Processing job."""

    uses_kafka: ClassVar[bool] = False
    """Whether the job connects to Kafka. Only such a job gets Kafka's settings and the secret with the password."""

    reads: ClassVar[tuple[Table, ...]] = ()
    """The tables that the job reads with any parameters."""

    code_version: str = "1"
    pins: dict[str, int] = Field(default_factory=dict)

    @property
    def input_tables(self) -> tuple[Table, ...]:
        """The tables that the job may read with these parameters; no other table can be pinned."""
        return self.reads

    def require_known_pins(self) -> None:
        """Raises `PermanentFailure` if a pinned table is misspelt or the job does not read it."""
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
    """Whether the jobs of a range run one after the other, because each depends on what the one before left."""
    service_dates: ClassVar[int] = 1
    """Number of service dates that each date covers. A job of a range gets fewer dates if it is larger."""

    dates: tuple[date, ...]
    of_range: bool = False
    part_of_range: bool = False

    @property
    def missing(self) -> Literal["error", "error_if_all"]:
        """What a job does if an input table lacks dates: a range needs at least one of them."""
        return "error_if_all" if self.of_range else "error"


class Snapshot(DatesParameters):
    """Copies dates of a raw table from the source."""

    job = "snapshot"
    table: str

    @property
    def input_tables(self) -> tuple[Table, ...]:
        """Stop visits are matched to the stored plans."""
        return (PLANNED_DEPARTURES,) if self.table == STOP_VISITS.name else ()


class CheckQuality(DatesParameters):
    """Checks the rows of a table on dates, and records a verdict for each date and content version."""

    job = "check_quality"
    in_order = True
    table: str

    @property
    def input_tables(self) -> tuple[Table, ...]:
        """The checked table, the plan of its dates, and the rejected rows of stop visits."""
        tables = [table for table in CHECKED_TABLES if table.name == self.table]
        plan = [PLANNED_DEPARTURES] if any(map(compared_with_plan, tables)) else []
        rejected = [REJECTED_VISITS] if STOP_VISITS in tables else []
        return (*tables, *plan, *rejected)


class Balance(DatesParameters):
    """Computes balanced stop loads from stop visits."""

    job = "balance"
    reads = (STOP_VISITS,)


class Features(DatesParameters):
    """Computes departure features of operating dates, future dates included.

    `force`: compute dates again even if their inputs are unchanged. The asset sets it if the run's configuration has pins,
    because such a run repeats a former run to compare the results.
    """

    job = "features"
    reads = (PLANNED_DEPARTURES, STOP_LOADS)

    force: bool = False


class Levels(DatesParameters):
    """Computes the recent levels of issue dates."""

    job = "levels"
    reads = (STOP_LOADS, DEPARTURE_FEATURES)


class Sample(DatesParameters):
    """Draws the training sample of operating dates: at most `rows` departures of each date, with `seed`."""

    job = "sample"
    reads = (STOP_LOADS, DEPARTURE_FEATURES, LEVELS, WEATHER_FORECASTS)
    rows: int
    seed: int


class Train(JobParameters):
    """Trains a load model on `days` operating dates up to `cutoff`. The default cut-off leaves out the newest `held_out` dates."""

    job = "train"
    training = True
    reads = (TRAINING_SAMPLE, STOP_LOADS)
    cutoff: date | None = None
    days: int
    held_out: int
    parameters: dict[str, float | int | str] = Field(default_factory=dict)


class Evaluate(JobParameters):
    """Compares a model version with the baselines on operating dates after its cut-off."""

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
    """Makes a model version the champion, if its evaluated version passed the release gate."""

    job = "promote"
    model_version: str
    promoted_at: datetime


class Forecast(DatesParameters):
    """Forecasts every planned departure from issue date D to D+3, with the newest usable champion or a pinned version.

    `capacities_only`: keep the stored forecasts, and apply the capacities of the present plan to them.
    """

    job = "forecast"
    reads = (DEPARTURE_FEATURES, PLANNED_DEPARTURES, LEVELS, WEATHER_FORECASTS)
    service_dates = HORIZON_DAYS + 1
    model_version: str | None = None
    capacities_only: bool = False

    @property
    def input_tables(self) -> tuple[Table, ...]:
        """Without the model: the stored forecasts, the plan and the usual seats."""
        return (
            (LOAD_FORECASTS, PLANNED_DEPARTURES, DEPARTURE_FEATURES) if self.capacities_only else self.reads
        )


class ForecastChallenger(DatesParameters):
    """Forecasts the departures of issue date D with a model that is not the champion. `newest`: the version trained last.

    An issue date has no rows if the model is its champion, or if its training data reach to the issue date.
    """

    job = "forecast_challenger"
    reads = (DEPARTURE_FEATURES, PLANNED_DEPARTURES, LEVELS, WEATHER_FORECASTS)
    service_dates = HORIZON_DAYS + 1
    model_version: str = NEWEST


class Publish(DatesParameters):
    """Publishes issue dates on Kafka, each in one transaction. `issued_at` is the local time of issue, HH:MM."""

    job = "publish"
    in_order = True
    uses_kafka = True
    reads = (LOAD_FORECASTS,)
    issued_at: str


class Feeds(DatesParameters):
    """Writes the feeds of issue dates: of the newest publication of each. It reads the snapshot that was published, so no pin."""

    job = "feeds"


class Performance(DatesParameters):
    """Joins forecasts to the loads that arrived, and scores them.

    `final_days`: the truth of a date is final once counts of a date this many days later exist. Later counts are reported
    and not used, except with `force`. The asset also sets it if the run's configuration has pins.
    """

    job = "performance"
    reads = (STOP_LOADS, LOAD_FORECASTS)
    service_dates = HORIZON_DAYS + 1
    final_days: int = TRUTH_FINAL_DAYS
    force: bool = False


class Scores(DatesParameters):
    """Adds up the scores of operating dates by line and by stop.

    `crowded_probability`: P(load > seats) from which a departure counts as forecast to be crowded.
    """

    job = "scores"
    reads = (FORECAST_PERFORMANCE, LOAD_FORECASTS, CHALLENGER_FORECASTS)
    service_dates = HORIZON_DAYS + 1
    crowded_probability: float = CROWDED_PROBABILITY


class Retention(JobParameters):
    """Deletes old dates, snapshots and files, as seen at the time `at`.

    A table keeps the dates up to a number of days before its newest date; 0 keeps all. `file_days`: days that snapshots, and
    then files that no snapshot needs, are kept. `dry_run` reports and deletes nothing.
    """

    job = "retention"
    at: datetime
    forecast_days: int
    performance_days: int
    score_days: int
    file_days: int
    dry_run: bool = False


class Drift(DatesParameters):
    """Measures drift of operating dates."""

    job = "drift"
    reads = (STOP_LOADS, STOP_VISITS, PLANNED_DEPARTURES, FORECAST_PERFORMANCE)


JOBS: dict[str, type[JobParameters]] = {
    parameters.job: parameters
    for base in (JobParameters, DatesParameters)
    for parameters in base.__subclasses__()
    if parameters is not DatesParameters
}
"""The class of each job's parameters, by the job's name: every class of this module that declares `job`."""
