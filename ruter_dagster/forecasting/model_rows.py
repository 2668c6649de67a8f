"""Model rows: departure features, the levels and the weather forecast of an issue date, in one frame.

Training, backtest and forecasts all use these functions: `joined_rows` joins the tables, as the training sample stores them,
and `with_model_columns` adds the columns that a model reads. contracts/features.py describes the columns; columns made here
relate others to `expected`, the row's expected load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.features import LEVEL_RATIO_DAYS, YEAR_AGO_SCOPES
from ruter_dagster.forecasting.levels import SCOPES
from ruter_dagster.forecasting.lookup import look_up
from ruter_dagster.forecasting.tiers import tier_number

SMOOTHING_LOAD = 0.3
"""Passengers added to a load before its logarithm, so that an empty departure has a logarithm."""
KEY = ("service_date", "trip_id", "stop_sequence")
TRUTH = (*KEY, "load", "weight")
"""The columns of loads that training reads."""
_LOADS = (
    "usual_recent", "usual_median", "ha4", "lag_1", "lag_2", "usual_line_hour", "usual_previous_hour", "usual_next_hour",
    "usual_previous_stop", "last_week_previous_hour", "last_week_next_hour", "slot_of_day_class_recent",
    "slot_of_day_class", "slot_of_day_class_of_weekday", "departure_of_day_class_recent", "departure_of_day_class",
    "usual", "neighbouring_hours", "journey_load", "stop_hour_of_other_lines", "mode_hour_of_other_lines",
)  # fmt: skip
LEVEL_RATIOS = tuple(f"{scope}_ratio_{days}" for scope in SCOPES for days in LEVEL_RATIO_DAYS)
"""The columns that the levels of the issue date add to a row."""
YEAR_AGO_RATIOS = tuple(f"{scope}_year_ago" for scope in YEAR_AGO_SCOPES)
"""The columns that levels of the year before add."""
_RATIOS = (
    "last_week_line_hour_ratio",
    "last_week_network_ratio",
    "weekday_of_line_hour",
    *LEVEL_RATIOS,
    *YEAR_AGO_RATIOS,
)
_UNCHANGED = (
    "slot_hour", "weekday", "comparable_weekday", "public_holiday", "minor_holiday", "bridge_day", "school_holiday",
    "school_holiday_last_week", "school_holiday_weeks", "days_since_public_holiday", "days_to_public_holiday",
    "public_holidays_nearby", "events", "events_last_week", "stop_sequence", "journey_position", "headway_minutes", "departures_in_slot",
    "history_count", "horizon_days", "expected", "tier", "hours_to_earlier", "hours_to_later", "usual_deviation", "temperature", "precipitation", "wind_speed",
)  # fmt: skip
NUMBERS = (
    *_UNCHANGED,
    *(f"{name}_to_expected" for name in _LOADS),
    *(f"{name}_log" for name in _RATIOS),
)
"""The numeric features of a model, in order; may be null."""
CATEGORIES = ("mode",)
_DAY = timedelta(1)
WEATHER = ("temperature", "precipitation", "wind_speed")
HORIZONS = tuple(range(HORIZON_DAYS + 1))
"""Days from the issue date to the service date, `horizon_days`."""


def joined_rows(
    features: pl.DataFrame, levels: pl.DataFrame, weather: pl.DataFrame, issue_date: date
) -> pl.DataFrame:
    """The rows of `features` with `issue_date`, `horizon_days`, `LEVEL_RATIOS`, `YEAR_AGO_RATIOS` and `WEATHER`.

    `levels` is contract `features.levels`, `weather` contract `raw.weather_forecasts` (may be empty). Only rows of
    `issue_date` are read, and levels of `year_ago_issue_dates`. Unknown values are null.
    """
    issued = pl.col("issue_date") == issue_date
    rows = features.with_columns(
        pl.lit(issue_date).alias("issue_date"),
        (pl.col("service_date") - issue_date).dt.total_days().cast(pl.Int32).alias("horizon_days"),
    )
    rows = _with_year_ago(_with_levels(rows, levels.filter(issued)), levels)
    return _with_weather(rows, weather.filter(issued))


def year_ago_issue_dates(dates: Iterable[date | None]) -> list[date]:
    """The issue dates whose levels describe the dates `year_ago` of departure features: the day after each."""
    return sorted({day + _DAY for day in dates if day})


def with_model_columns(joined: pl.DataFrame) -> pl.DataFrame:
    """Joined rows with the computed columns of `NUMBERS`."""
    weekday = pl.col("usual_line_hour") / pl.col("line_hour_of_day_class")
    return (
        joined.lazy()
        .with_columns(pl.when(weekday.is_finite()).then(weekday).alias("weekday_of_line_hour"), tier_number().alias("tier"))
        .with_columns((pl.col("slot_of_day_class") * pl.col("weekday_of_line_hour")).alias("slot_of_day_class_of_weekday"))
        .with_columns(
            *((_log(name) - _log("expected")).alias(f"{name}_to_expected") for name in _LOADS),
            *(pl.col(name).clip(0.05, 20.0).log().alias(f"{name}_log") for name in _RATIOS),
        )
        .collect()
    )  # fmt: skip


def model_rows(
    features: pl.DataFrame, levels: pl.DataFrame, weather: pl.DataFrame, issue_date: date
) -> pl.DataFrame:
    """Rows of a model as of an issue date: the joined rows with `NUMBERS` and `CATEGORIES`. Arguments: `joined_rows`."""
    return with_model_columns(joined_rows(features, levels, weather, issue_date))


def rows_with_truth(
    features: pl.DataFrame,
    loads: pl.DataFrame,
    levels: pl.DataFrame,
    weather: pl.DataFrame,
    horizons: Sequence[int] = HORIZONS,
) -> pl.DataFrame:
    """Joined rows with `load` and `weight` of `loads` (contract `loads.stop_loads`).

    Departures without a load, or with weight 0, are left out. A departure of service date T appears once, for one of
    `horizons` (issued on T - horizon_days). Its key decides which one, so that a repeated training has the same rows.
    """
    observed = loads.filter(pl.col("weight") > 0).select(TRUTH)
    known = features.join(observed, on=KEY, how="inner", maintain_order="left").with_columns(
        _draw_horizon(len(horizons)).alias("drawn")
    )
    dates: list[date] = known["service_date"].unique().sort().to_list()
    by_date = known.partition_by("service_date", as_dict=True)
    levels_of, weather_of = _by_date(levels), _by_date(weather)
    frames = []
    for day in dates:
        a_year_ago = year_ago_issue_dates(by_date[(day,)]["year_ago"].unique())
        for drawn, horizon in enumerate(horizons):
            issued = day - timedelta(horizon)
            rows = by_date[(day,)].filter(pl.col("drawn") == drawn).drop("drawn")
            as_of = pl.concat(
                [levels_of(issued), *(levels_of(other) for other in a_year_ago if other != issued)]
            )
            frames.append(joined_rows(rows, as_of, weather_of(issued), issued))
    return pl.concat(frames) if frames else joined_rows(known.drop("drawn"), levels, weather, date.min)


def training_rows(
    features: pl.DataFrame,
    loads: pl.DataFrame,
    levels: pl.DataFrame,
    weather: pl.DataFrame,
    horizons: Sequence[int] = HORIZONS,
) -> pl.DataFrame:
    """Model rows with their loads and `sample_weight` 1. Arguments: `rows_with_truth`."""
    rows = with_model_columns(rows_with_truth(features, loads, levels, weather, horizons))
    return rows.with_columns(pl.lit(1.0).alias("sample_weight"))


def sampled(departures: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """About this share of the departures (all if it is 1 or more). Their key and `seed` decide, not their order."""
    if share >= 1:
        return departures
    drawn = pl.struct(KEY).hash(seed) // 2**11 / 2**53
    return departures.filter(drawn < share)


def _by_date(frame: pl.DataFrame) -> Callable[[date], pl.DataFrame]:
    parts = frame.partition_by("issue_date", as_dict=True)
    return lambda day: parts.get((day,), frame.clear())


def _draw_horizon(count: int) -> pl.Expr:
    """A number from 0 to `count` - 1, spread evenly over the stops, journeys and dates by plain arithmetic."""
    minutes = pl.col("scheduled_departure_time").dt.epoch("s") // 60
    return ((minutes * 7 + pl.col("stop_sequence") * 13 + minutes // 1440) % count).cast(pl.Int32)


def _with_levels(rows: pl.DataFrame, levels: pl.DataFrame) -> pl.DataFrame:
    for scope, parts in SCOPES.items():
        of_scope = levels.filter(pl.col("scope") == scope).select(
            *_parts_of_id(scope, rows.schema),
            *(pl.col(f"ratio_{days}").alias(f"{scope}_ratio_{days}") for days in LEVEL_RATIO_DAYS),
        )
        if parts:
            rows = _join_known(rows, of_scope, parts)
        else:
            known = of_scope.row(0) if of_scope.height else [None] * of_scope.width
            rows = rows.with_columns(
                pl.lit(value, pl.Float64).alias(name)
                for name, value in zip(of_scope.columns, known, strict=True)
            )
    return rows


def _with_year_ago(rows: pl.DataFrame, levels: pl.DataFrame) -> pl.DataFrame:
    """Adds the ratio of load to expected load on the date `year_ago`: `ratio_1` of the levels issued the day after."""
    wanted = year_ago_issue_dates(rows["year_ago"].unique())
    of_dates = levels.filter(pl.col("issue_date").is_in(wanted))
    for scope in YEAR_AGO_SCOPES:
        known = of_dates.filter(pl.col("scope") == scope).select(
            (pl.col("issue_date") - _DAY).alias("year_ago"),
            *_parts_of_id(scope, rows.schema),
            pl.col("ratio_1").alias(f"{scope}_year_ago"),
        )
        rows = _join_known(rows, known, ("year_ago", *SCOPES[scope]))
    return rows


def _join_known(rows: pl.DataFrame, known: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    return rows.hstack(look_up(rows, known, key))


def _parts_of_id(scope: str, schema: pl.Schema) -> list[pl.Expr]:
    """The columns that form a scope's id. Joining by them avoids a text id for each of millions of rows (goal: forecasting)."""
    parts = SCOPES[scope]
    pattern = "^(.*)" + r"\|([^|]*)" * (len(parts) - 1) + "$"
    return [
        pl.col("scope_id").str.extract(pattern, group).cast(schema[part]).alias(part)
        for group, part in enumerate(parts, 1)
    ]


def _with_weather(rows: pl.DataFrame, weather: pl.DataFrame) -> pl.DataFrame:
    key = ("service_date", "slot_hour")
    return _join_known(rows, weather.select(*key, *WEATHER), key)


def _log(name: str) -> pl.Expr:
    return (pl.col(name) + SMOOTHING_LOAD).log()
