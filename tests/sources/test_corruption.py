"""Random faults in a week of counts hardly change the forecasts of the next week."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.config.operator import load_operator
from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.tables import REJECTED_VISITS, STOP_VISITS
from ruter_dagster.contracts.validation import validate
from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.counts import balance
from ruter_dagster.forecasting.features import departure_features
from ruter_dagster.forecasting.forecast import forecast_rows
from ruter_dagster.forecasting.levels import levels
from ruter_dagster.forecasting.model import LoadModel
from ruter_dagster.forecasting.model_rows import KEY, training_rows
from ruter_dagster.forecasting.model_training import train
from ruter_dagster.forecasting.training import train_on
from ruter_dagster.forecasting.training_sample import training_sample
from ruter_dagster.jobs.operator_rules import calendar_of
from ruter_dagster.quality.measures import failing_dates
from ruter_dagster.quality.rejects import blocked_dates
from ruter_dagster.sources.demo.source import DemoSource
from ruter_dagster.sources.tides import TidesSource
from tests.sources.tides_export import FAULTS, TidesTables, corrupted, export

SEEDS = 20
RETRAINED = (len(FAULTS), SEEDS - 1)
"""Seeds with all kinds of fault together, for which the model is trained again, with the functions of the chain."""
SAMPLE_ROWS = 3000
"""Most departures of a date in the training sample."""
TOLERANCE = 0.02
WEEK = day_range(date(2026, 11, 2), date(2026, 11, 8))
"""The week of corrupted counts."""
NEXT_WEEK = [day + timedelta(7) for day in WEEK]
TRAINED = day_range(WEEK[0] - timedelta(14), WEEK[-1])
HISTORY = day_range(TRAINED[0] - timedelta(28), NEXT_WEEK[-1])
HORIZON = 2


@dataclass(frozen=True)
class Network:
    """The demo network: tables and loads of the week, and a function that returns the WAPE of the next week from loads.

    `retrained` returns the WAPE of a model that is trained on the loads as well.
    """

    tables: TidesTables
    clean: pl.DataFrame
    clean_wape: float
    wape: Callable[[pl.DataFrame], float]
    clean_retrained: float
    retrained: Callable[[pl.DataFrame], float]


@pytest.fixture(scope="module")
def network() -> Network:
    operator, source = load_operator("demo"), DemoSource()
    calendar, zone = calendar_of(operator), operator.time_zone
    visits = {day: source.stop_visits(day) for day in HISTORY}
    loads = pl.concat([balance(rows, zone) for rows in visits.values()])
    weather = pl.concat(map(source.weather_forecasts, HISTORY))
    plan = {day: source.planned_departures(day) for day in [*TRAINED, *NEXT_WEEK]}
    as_of = day_range(TRAINED[0] + timedelta(1), NEXT_WEEK[-1])

    def inputs_of(days: list[date], known: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        features = departure_features(
            pl.concat([plan[day] for day in [*TRAINED, *NEXT_WEEK]]), known, calendar
        )
        return features.filter(pl.col("service_date").is_in(days)), levels(known, features, as_of)

    def rows_of(days: list[date], known: pl.DataFrame) -> pl.DataFrame:
        features, issued = inputs_of(days, known)
        return training_rows(features, known, issued, weather, (HORIZON,))

    def trained_on(known: pl.DataFrame) -> LoadModel:
        features, issued = inputs_of(TRAINED, known)
        sample = training_sample(features, known, issued, weather, SAMPLE_ROWS, seed=1)
        return train_on([sample], ModelParameters(seed=1))

    model = train(rows_of(TRAINED, loads))
    truth = loads.filter(pl.col("service_date").is_in(NEXT_WEEK)).select(*KEY, truth="load")

    def with_week(week: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([loads.filter(pl.col("service_date").is_in(WEEK).not_()), week])

    def wape(week: pl.DataFrame, model: LoadModel = model) -> float:
        rows = rows_of(NEXT_WEEK, with_week(week))
        forecasts = pl.concat([rows.select(KEY), forecast_rows(rows, model).select("mean")], how="horizontal")
        joined = forecasts.join(truth, on=KEY)
        return joined.select((pl.col("mean") - pl.col("truth")).abs().sum() / pl.col("truth").sum()).item()

    clean = loads.filter(pl.col("service_date").is_in(WEEK))

    def retrained(week: pl.DataFrame) -> float:
        return wape(week, trained_on(with_week(week)))

    tables = export(pl.concat([visits[day] for day in WEEK]))
    return Network(tables, clean, wape(clean), wape, retrained(clean), retrained)


def read(tables: TidesTables, folder: Path, form: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Loads of the week, computed from the tables like in the chain without blocked dates, and the rejected rows."""
    operator = load_operator("demo")
    reading = TidesSource(tables.write(folder, form), operator.time_zone).read(WEEK)
    blocked = blocked_dates(reading.stop_visits, reading.rejected, operator.rejects)
    open_dates = sorted(set(WEEK) - set(blocked))
    kept = reading.stop_visits.filter(pl.col("service_date").is_in(open_dates))
    validate(kept, STOP_VISITS, open_dates)
    failing = failing_dates(STOP_VISITS, kept, open_dates, operator.rejects, reading.planned_departures)
    assert not failing, "the kept rows of a date pass every check"
    validate(reading.rejected, REJECTED_VISITS, WEEK)
    return balance(kept, operator.time_zone), reading.rejected


@pytest.mark.extended
def test_exported_clean_counts_give_the_same_loads(network: Network, tmp_path: Path) -> None:
    loads, rejected = read(network.tables, tmp_path, "csv")
    assert rejected.is_empty()
    assert (
        loads.sort(KEY)
        .select(*KEY, "load", "weight")
        .equals(network.clean.sort(KEY).select(*KEY, "load", "weight"))
    )


@pytest.mark.extended
@pytest.mark.parametrize("seed", range(SEEDS))
def test_corrupted_counts_hardly_change_the_next_week(network: Network, tmp_path: Path, seed: int) -> None:
    assert len(FAULTS) < SEEDS, "seeds cover each kind of fault alone, then all together"
    loads, _ = read(corrupted(network.tables, seed), tmp_path, "csv" if seed % 2 else "parquet")
    assert network.wape(loads) == pytest.approx(network.clean_wape, rel=TOLERANCE)
    if seed in RETRAINED:
        assert network.retrained(loads) == pytest.approx(network.clean_retrained, rel=TOLERANCE)
