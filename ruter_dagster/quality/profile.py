"""Describes each date of a table by a few statistics, and compares them with earlier dates of the same weekday. Polars only."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from ruter_dagster.contracts.checks import load_column
from ruter_dagster.contracts.date_windows import USUAL_WEEKS
from ruter_dagster.contracts.tables import MODES, Table
from ruter_dagster.quality.failing_rows import DATE

MIN_DATES = 3
"""Minimum number of earlier dates with the same weekday."""
MIN_ROWS = 50
"""Minimum number of rows for a date's mean or share."""

_ROWS, _BOARDINGS, _ZERO_LOADS = "rows", "mean of boardings", "share of zero loads"
_NULLS, _LOAD = "share of nulls in ", "mean load of "
_RATIOS = ("rows_near_usual", "boardings_near_usual", "loads_near_usual")
"""Checks that measure value / usual. The other checks measure value - usual."""
CHECKS_AGAINST_USUAL = (*_RATIOS, "zero_loads_near_usual", "nulls_near_usual")
"""Checks that this module measures."""


def profile(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """Statistics of each date of a conformed frame; null if a date has too few rows. One row for each date.

    Columns: `date`, `rows`, `share of nulls in <optional column>`, `mean of boardings`, `share of zero loads`,
    `mean load of <mode>`. Each verdict keeps its profile; `check_table` takes earlier profiles as `reference`.
    """
    statistics = [
        _if_enough(pl.col(column.name).is_null().mean(), pl.len()).alias(_NULLS + column.name)
        for column in table.columns
        if not column.required
    ]
    if "boardings" in table.column_names:
        boardings = pl.col("boardings")
        statistics.append(_if_enough(boardings.mean(), boardings.count()).alias(_BOARDINGS))
    if name := load_column(table):
        load = pl.col(name)
        statistics.append(_if_enough((load == 0).mean(), load.count()).alias(_ZERO_LOADS))
        of_mode = {mode: load.filter(pl.col("mode") == mode) for mode in MODES}
        statistics += [
            _if_enough(loads.mean(), loads.count()).alias(_LOAD + mode) for mode, loads in of_mode.items()
        ]
    return (
        frame.group_by(pl.col(table.partition).alias(DATE))
        .agg(pl.len().cast(pl.Float64).alias(_ROWS), *statistics)
        .sort(DATE)
    )


def compare_with_usual(profiles: pl.DataFrame) -> pl.DataFrame:
    """Compares each statistic of each date with its mean on the same weekday of the weeks before.

    Only earlier dates are used, so that later dates do not change a verdict. Statistics with fewer than `MIN_DATES` earlier
    values are left out. Columns: date, check, statistic, value, usual, measure (value / usual, or value - usual for shares)
    and distance (larger values are less usual).
    """
    known = profiles.unpivot(index=DATE, variable_name="statistic", value_name="value").drop_nulls("value")
    known = known.with_columns(weekday=pl.col(DATE).dt.weekday())
    pairs = known.join(known, on=("statistic", "weekday"), suffix=" before").filter(
        pl.col(f"{DATE} before").is_between(
            pl.col(DATE) - timedelta(weeks=USUAL_WEEKS), pl.col(DATE), closed="left"
        )
    )
    measure, ratio = pl.col("measure"), pl.col("check").is_in(_RATIOS)
    return (
        pairs.group_by(DATE, "statistic", "value")
        .agg(usual=pl.col("value before").mean(), dates=pl.len())
        .filter(pl.col("dates") >= MIN_DATES)
        .with_columns(check=_check_of_statistic())
        .filter(~ratio | (pl.col("usual") > 0))
        .with_columns(
            measure=pl.when(ratio)
            .then(pl.col("value") / pl.col("usual"))
            .otherwise(pl.col("value") - pl.col("usual"))
        )
        .with_columns(distance=pl.when(ratio).then(measure.log().abs()).otherwise(measure))
        .select(DATE, "check", "statistic", "value", "usual", "measure", "distance")
        .sort(DATE, "check", "statistic")
    )


def measures_of_check(compared: pl.DataFrame, check: str) -> pl.DataFrame:
    """The measure of the check's least usual statistic. Columns: `date` and the check's name."""
    return (
        compared.filter(pl.col("check") == check)
        .group_by(DATE)
        .agg(pl.col("measure").sort_by("distance").last().alias(check))
    )


def _if_enough(statistic: pl.Expr, rows: pl.Expr) -> pl.Expr:
    return pl.when(rows >= MIN_ROWS).then(statistic)


def _check_of_statistic() -> pl.Expr:
    name = pl.col("statistic")
    return (
        pl.when(name == _ROWS)
        .then(pl.lit("rows_near_usual"))
        .when(name == _BOARDINGS)
        .then(pl.lit("boardings_near_usual"))
        .when(name == _ZERO_LOADS)
        .then(pl.lit("zero_loads_near_usual"))
        .when(name.str.starts_with(_LOAD))
        .then(pl.lit("loads_near_usual"))
        .when(name.str.starts_with(_NULLS))
        .then(pl.lit("nulls_near_usual"))
    )
