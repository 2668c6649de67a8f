"""The chain of jobs and the backtest forecast the same, on real counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.commands.backtest_data import read_usable_dates
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import (
    MODEL_NAME,
    NEWEST,
    Balance,
    Evaluate,
    Features,
    Forecast,
    JobParameters,
    Levels,
    Promote,
    Refit,
    Sample,
    Snapshot,
    Train,
)
from ruter_dagster.contracts.tables import (
    LOAD_FORECASTS,
    PLANNED_DEPARTURES,
    STOP_LOADS,
    STOP_VISITS,
    WEATHER_FORECASTS,
)
from ruter_dagster.forecasting.backtest import Backtest, backtest
from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.counts import balance
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import Reporter
from tests.jobs.demo_jobs import quality_check

AARHUS = Path(__file__).parents[2] / "examples" / "aarhus_1a"
FIRST, ISSUED = date(2023, 3, 1), date(2023, 6, 8)
LAST = ISSUED + timedelta(3)
HORIZON = 2
PARAMETERS = {"trees": 20, "spread_trees": 10}
TRAINING_DAYS, HELD_OUT, ROWS, SEED = 60, 14, 60, 7
"""Fewer dates and rows than the source has, so that the window and the sample matter."""
VALUES = ["mean", "p10", "p50", "p90", "prob_above_seats"]

pytestmark = pytest.mark.extended


def context_of(parameters: JobParameters, folder: Path) -> JobContext:
    settings = Settings(source="tides", tides_path=str(AARHUS), state_dir=folder, _env_file=None)  # pyright: ignore[reportCallIssue]
    return JobContext(settings, parameters, Container(folder), Reporter(None))


def chain_jobs() -> Sequence[JobParameters]:
    counted, planned = tuple(day_range(FIRST, ISSUED - timedelta(1))), tuple(day_range(FIRST, LAST))
    issued = (*counted, ISSUED)
    return (
        Snapshot(table=PLANNED_DEPARTURES.name, dates=planned, of_range=True),
        quality_check(PLANNED_DEPARTURES, *planned),
        Snapshot(table=STOP_VISITS.name, dates=counted, of_range=True),
        quality_check(STOP_VISITS, *counted),
        Balance(dates=counted, of_range=True),
        quality_check(STOP_LOADS, *counted),
        Features(dates=planned, of_range=True),
        quality_check(DEPARTURE_FEATURES, *planned),
        Snapshot(table=WEATHER_FORECASTS.name, dates=issued, of_range=True),
        quality_check(WEATHER_FORECASTS, *issued),
        Levels(dates=issued[1:], of_range=True),
        quality_check(LEVELS, *issued[1:]),
        Sample(dates=counted, rows=ROWS, seed=SEED, of_range=True),
        Train(days=TRAINING_DAYS - HELD_OUT, held_out=HELD_OUT, parameters=dict(PARAMETERS)),
        Evaluate(model_version=NEWEST, days=HELD_OUT),
        Refit(model_version=NEWEST, days=TRAINING_DAYS),
        Promote(model_version=NEWEST, promoted_at=datetime(2023, 6, 8, 4, tzinfo=UTC)),
        Forecast(dates=(ISSUED,)),
    )


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def live(state: Path) -> pl.DataFrame:
    """The chain's forecasts of the issue date."""
    for parameters in chain_jobs():
        context = context_of(parameters, state)
        import_module(f"ruter_dagster.jobs.{parameters.job}").run(parameters, context)
    context = context_of(Forecast(dates=(ISSUED,)), state)
    return context.store.snapshot(LOAD_FORECASTS).read([ISSUED])


@pytest.fixture(scope="module")
def backtested(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """The backtest's forecasts of the first date of a fold with the same cut-off."""
    dates = tuple(day_range(FIRST, LAST))
    # The context of a job that may read stored plans, as the source of the backtest does.
    context = context_of(Snapshot(table=STOP_VISITS.name, dates=dates), tmp_path_factory.mktemp("unused"))
    read = read_usable_dates(context.source, dates, context.operator.rejects)
    visits, plan = read.visits, read.plan
    loads = balance(visits, context.operator.time_zone)
    day = ISSUED + timedelta(HORIZON - 1)
    request = Backtest(
        day, day, HORIZON, FIRST, TRAINING_DAYS, ROWS, SEED, parameters=ModelParameters(**PARAMETERS)
    )

    def of(frame: pl.DataFrame, days: Sequence[date]) -> pl.DataFrame:
        return frame.filter(pl.col("service_date").is_in(list(days)))

    (fold,) = backtest(request, lambda days: of(loads, days), lambda days: of(plan, days), context.calendar)
    return fold.forecasts


def test_live_forecast_equals_that_of_the_backtest(live: pl.DataFrame, backtested: pl.DataFrame) -> None:
    day = ISSUED + timedelta(HORIZON - 1)
    key = ["trip_id", "stop_sequence"]
    of_day = live.filter(operating_date=day).sort(key)
    assert of_day.height > 50
    assert set(of_day["source"]) == {"model"}
    assert_frame_equal(
        of_day.select(*key, *VALUES), backtested.sort(key).select(*key, *VALUES), check_exact=True
    )


def test_forecast_comes_from_the_model_refitted_to_the_newest_date(live: pl.DataFrame, state: Path) -> None:
    (version,) = live["model_version"].unique()
    record = context_of(Forecast(dates=(ISSUED,)), state).models.load(MODEL_NAME, version)
    assert record.training_cutoff == ISSUED - timedelta(1)
    assert record.evaluated_version not in (None, version)
