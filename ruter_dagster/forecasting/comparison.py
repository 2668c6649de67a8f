"""Two sets of forecasts of the same departures: how far apart they are, and which one is closer to the counted loads.

`this` is the state that is examined, `other` the one it is compared with. Sums of one issue date can be concatenated: a large
network is compared one issue date at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

DEPARTURE = ("operating_date", "trip_id", "stop_sequence")
KEY = ("issue_date", *DEPARTURE)
FORECAST_COLUMNS = (
    *KEY,
    "line_id",
    "mode",
    "stop_id",
    "scheduled_departure_time",
    "mean",
    "occupancy_level",
    "model_version",
)
"""Columns of `LOAD_FORECASTS` that a comparison reads."""
LOAD_COLUMNS = ("service_date", "trip_id", "stop_sequence", "load", "weight")
"""Columns of `STOP_LOADS` that a comparison reads."""
ALL = "all"
"""Name of the row about all modes."""
_DRAWS = 2000
_CONFIDENCE = (2.5, 97.5)
_DIFFERENCE = pl.col("mean_this") - pl.col("mean_other")


def pair_forecasts(this: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """The departures that both sides forecast (`FORECAST_COLUMNS`), with `mean_` and `level_` of `this` and of `other`."""
    theirs = other.select(*KEY, mean_other="mean", level_other="occupancy_level")
    ours = this.rename({"mean": "mean_this", "occupancy_level": "level_this"})
    return ours.join(theirs, on=KEY, how="inner", validate="1:1")


def change_sums(pairs: pl.DataFrame) -> pl.DataFrame:
    """By mode: `departures`, the sums of `absolute_change` and `change` of the mean, and `level_changes`."""
    return pairs.group_by("mode").agg(
        pl.len().cast(pl.Int64).alias("departures"),
        _DIFFERENCE.abs().sum().alias("absolute_change"),
        _DIFFERENCE.sum().alias("change"),
        (pl.col("level_this") != pl.col("level_other")).sum().cast(pl.Int64).alias("level_changes"),
    )


def changes(sums: pl.DataFrame) -> pl.DataFrame:
    """The row `all`, then one row for each mode.

    Columns: mode, departures, `mean_absolute` and `mean` change in passengers, `level_changed` as a share from 0 to 1.
    """
    by_mode = sums.group_by("mode").agg(pl.exclude("mode").sum()).sort("mode")
    total = by_mode.select(pl.lit(ALL).alias("mode"), pl.exclude("mode").sum())
    departures = pl.col("departures")
    return (
        pl.concat([total, by_mode])
        .filter(departures > 0)
        .select(
            "mode",
            "departures",
            (pl.col("absolute_change") / departures).alias("mean_absolute"),
            (pl.col("change") / departures).alias("mean"),
            (pl.col("level_changes") / departures).alias("level_changed"),
        )
    )


def largest_changes(pairs: pl.DataFrame, number: int) -> pl.DataFrame:
    """The departures whose mean changed most, the largest change first. Unchanged departures are left out.

    Of the issue dates that forecast a departure, the one with the largest change is kept.
    """
    order = [_DIFFERENCE.abs().round(9), *map(pl.col, KEY)]
    descending = [True, *(False for _ in KEY)]
    ordered = pairs.filter(_DIFFERENCE != 0).sort(order, descending=descending)
    return ordered.unique(DEPARTURE, keep="first", maintain_order=True).head(number)


def error_sums(pairs: pl.DataFrame, loads: pl.DataFrame) -> pl.DataFrame:
    """By service date, mode and line: `departures`, `load`, and the absolute errors `error_this` and `error_other`.

    `loads` has `LOAD_COLUMNS`. Loads of weight 0 are not counted loads, so their departures are left out.
    """
    counted = loads.filter(pl.col("weight") > 0, pl.col("load").is_not_null())
    truth = counted.select("service_date", "trip_id", "stop_sequence", "load")
    scored = pairs.rename({"operating_date": "service_date"}).join(
        truth, on=("service_date", "trip_id", "stop_sequence"), how="inner", validate="m:1"
    )
    return scored.group_by("service_date", "mode", "line_id").agg(
        pl.len().cast(pl.Int64).alias("departures"),
        pl.col("load").sum(),
        (pl.col("mean_this") - pl.col("load")).abs().sum().alias("error_this"),
        (pl.col("mean_other") - pl.col("load")).abs().sum().alias("error_other"),
    )


def accuracy(sums: pl.DataFrame, by: Sequence[str] = (), seed: int = 0) -> pl.DataFrame:
    """WAPE of both sides, by the columns `by` of `error_sums`, and `difference`, WAPE of `this` minus WAPE of `other`.

    `low` and `high` are the 95 % interval of the difference by a bootstrap: service dates are drawn with replacement, 2,000
    times. They are null for a group with passengers on fewer than two `dates`. Groups without passengers are left out.
    """
    keys = list(by) or ["mode"]
    groups = sums if by else sums.with_columns(pl.lit(ALL).alias("mode"))
    daily = groups.group_by(["service_date", *keys]).agg(
        pl.col("departures", "load", "error_this", "error_other").sum()
    )
    totals = (
        daily.group_by(keys)
        .agg(
            (pl.col("load") > 0).sum().cast(pl.Int64).alias("dates"),
            pl.col("departures", "load", "error_this", "error_other").sum(),
        )
        .filter(pl.col("load") > 0)
        .sort(keys)
    )
    low, high = _difference_intervals(daily, totals.select(keys), seed)
    load = pl.col("load")
    return totals.with_columns(
        (pl.col("error_this") / load).alias("wape_this"),
        (pl.col("error_other") / load).alias("wape_other"),
        ((pl.col("error_this") - pl.col("error_other")) / load).alias("difference"),
        pl.when(pl.col("dates") > 1).then(low).alias("low"),
        pl.when(pl.col("dates") > 1).then(high).alias("high"),
    )


def compare_drift(this: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Drift metrics of one date on each side: metric, scope, and `value_` and `verdict_` of `this` and of `other`.

    Both frames are as the contract `DRIFT`. A metric that one side lacks has nulls there.
    """
    columns = ("metric", "scope")
    ours = this.select(*columns, value_this="value", verdict_this="verdict")
    theirs = other.select(*columns, value_other="value", verdict_other="verdict")
    return ours.join(theirs, on=columns, how="full", coalesce=True).sort(columns)


def _difference_intervals(
    daily: pl.DataFrame, groups: pl.DataFrame, seed: int
) -> tuple[pl.Series, pl.Series]:
    """Bounds of each group's interval, in the order of `groups`. All groups are drawn on the same dates."""
    dates = daily.select("service_date").unique().sort("service_date")
    if groups.is_empty():
        empty = pl.Series([], dtype=pl.Float64)
        return empty, empty
    load = _by_date_and_group(daily, dates, groups, pl.col("load"))
    error = _by_date_and_group(daily, dates, groups, pl.col("error_this") - pl.col("error_other"))
    draws = np.random.default_rng(seed).multinomial(
        dates.height, np.full(dates.height, 1 / dates.height), _DRAWS
    )
    drawn_load = draws @ load
    differences = np.full(drawn_load.shape, np.nan)
    np.divide(draws @ error, drawn_load, out=differences, where=drawn_load > 0)
    low, high = np.nanpercentile(differences, _CONFIDENCE, axis=0)
    return pl.Series(low), pl.Series(high)


def _by_date_and_group(
    daily: pl.DataFrame, dates: pl.DataFrame, groups: pl.DataFrame, value: pl.Expr
) -> NDArray[np.float64]:
    """The value of each date (rows) and group (columns); 0 where the group has no departures."""
    cells = daily.join(dates.with_row_index("row"), on="service_date").join(
        groups.with_row_index("column"), on=groups.columns
    )
    matrix = np.zeros((dates.height, groups.height))
    matrix[cells["row"].to_numpy(), cells["column"].to_numpy()] = cells.select(value).to_series().to_numpy()
    return matrix
