"""Backtest by rolling origin: one model per 7-day fold, and forecasts that use only what was known at their cut-off.

Rows and forecasts come from the same functions as in production.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.tables import WEATHER_FORECASTS
from ruter_dagster.contracts.validation import empty_frame
from ruter_dagster.forecasting.baselines import (
    SIX_MONTH_MEAN,
    baseline_columns,
    baseline_quantiles,
    six_month_means,
)
from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.calendar import OperatingCalendar
from ruter_dagster.forecasting.features import departure_features
from ruter_dagster.forecasting.forecast import forecast_rows
from ruter_dagster.forecasting.levels import levels_with_renamed_ids
from ruter_dagster.forecasting.model_rows import KEY, model_rows
from ruter_dagster.forecasting.occupancy import OccupancyThresholds, occupancy
from ruter_dagster.forecasting.readiness import has_enough_dates
from ruter_dagster.forecasting.training import TRAINING_DAYS, train_on, training_dates
from ruter_dagster.forecasting.training_sample import SAMPLE_ROWS, training_sample

FOLD_DAYS = 7
HORIZONS = range(1, HORIZON_DAYS + 2)
Frames = Callable[[Sequence[date]], pl.DataFrame]
"""Reads the rows of a table for the requested dates; missing dates are left out."""


@dataclass(frozen=True)
class Backtest:
    """The parameters of a backtest: service dates `first` to `last`, each forecast `horizon` days before (1 to 4).

    Models are trained as in production: on `sample_rows` departures, drawn with `sample_seed`, of each of the newest
    `training_days` service dates since `history_start`.
    """

    first: date
    last: date
    horizon: int
    history_start: date
    training_days: int = TRAINING_DAYS
    sample_rows: int = SAMPLE_ROWS
    sample_seed: int = 1
    parameters: ModelParameters = field(default_factory=ModelParameters)
    thresholds: OccupancyThresholds = field(default_factory=OccupancyThresholds)

    def __post_init__(self) -> None:
        if self.horizon not in HORIZONS:
            raise BadInput(f"horizon {self.horizon} is not between 1 and 4 days; choose 1, 2, 3 or 4")
        if self.last < self.first:
            raise BadInput(f"the last service date {self.last} is before the first {self.first}; swap them")

    def folds(self) -> list[list[date]]:
        days = [self.first + timedelta(ago) for ago in range((self.last - self.first).days + 1)]
        return [days[start : start + FOLD_DAYS] for start in range(0, len(days), FOLD_DAYS)]


@dataclass(frozen=True)
class Fold:
    """The forecasts of one fold. `trained_until` is the newest service date that its model has seen.

    With too few dates of counts for a model (readiness.py), baselines are forecast.
    """

    first: date
    last: date
    trained_until: date
    training_rows: int
    forecasts: pl.DataFrame


def backtest(
    trial: Backtest, loads: Frames, plan: Frames, calendar: OperatingCalendar, weather: Frames | None = None
) -> Iterator[Fold]:
    """Yields the folds of `trial`, oldest first.

    `loads`, `plan` and `weather` read contracts `loads.stop_loads`, `raw.planned_departures` and
    `raw.weather_forecasts` (by issue date). Forecasts have one row per planned departure: service_date, trip_id, trip_id_performed, stop_sequence, mode, seats, total_capacity, horizon_days, mean, p10, p50,
    p90, prob_above_seats, source, expected, expected_tier, the occupancy columns, last_week, ha4, ha8, history_count,
    six_month_mean, the quantiles of the baselines, and the observed `load` (null if there is none).
    """
    dates = _dates(trial.history_start, trial.last)
    known = loads(dates)
    features = departure_features(plan(dates), known, calendar)
    as_of = levels_with_renamed_ids(known, features, _dates(dates[1], dates[-1]), calendar)
    issued = weather(dates) if weather else empty_frame(WEATHER_FORECASTS)
    with_loads = features.join(known.filter(pl.col("weight") > 0).select(*KEY, "load"), on=KEY)
    sample = training_sample(features, known, as_of, issued, trial.sample_rows, trial.sample_seed)
    for fold in trial.folds():
        trained_until = fold[0] - timedelta(trial.horizon)
        training_rows = sample.filter(
            pl.col("service_date").is_in(training_dates(trained_until, trial.training_days))
        )
        counted_dates = known.filter(pl.col("service_date") <= trained_until)["service_date"].n_unique()
        # As in production: with too few counts, the baseline is forecast.
        model = train_on([training_rows], trial.parameters) if has_enough_dates(counted_dates) else None
        forecasts = [
            _forecast_day(features, with_loads, as_of, issued, model, day - timedelta(trial.horizon - 1), day)
            for day in fold
        ]
        yield Fold(
            fold[0],
            fold[-1],
            trained_until,
            training_rows.height,
            _with_observed_loads(pl.concat(forecasts), known, trial),
        )


def _dates(first: date, last: date) -> list[date]:
    return [first + timedelta(days) for days in range((last - first).days + 1)]


def _forecast_day(features, with_loads, as_of, issued, model, issue_date: date, day: date) -> pl.DataFrame:
    rows = model_rows(features.filter(pl.col("service_date") == day), as_of, issued, issue_date)
    means = six_month_means(with_loads, rows, issue_date)
    return pl.concat([rows, forecast_rows(rows, model), means], how="horizontal")


def _with_observed_loads(forecasts: pl.DataFrame, known: pl.DataFrame, trial: Backtest) -> pl.DataFrame:
    # A trip of weight 0 has no load: its forecast is kept but not scored.
    observed = pl.when(pl.col("weight") > 0).then("load").alias("load")
    loads = known.select(*KEY, "trip_id_performed", observed)
    return forecasts.join(loads, on=KEY, how="left").select(
        *KEY, "trip_id_performed", "line_id", "mode", "direction_id", "stop_id", "slot_hour", "seats", "total_capacity",
        "horizon_days", "mean", "p10", "p50", "p90", "prob_above_seats", "source",
        "expected", "expected_tier", *occupancy("mean", trial.thresholds), *baseline_columns(), *baseline_quantiles(),
        f"^{SIX_MONTH_MEAN}.*$", "load",
    )  # fmt: skip
