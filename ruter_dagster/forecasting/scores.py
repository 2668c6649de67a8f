"""Scores of forecasts against observed loads: of each departure, their daily sums by line and by stop, and ratios of sums.

The variants of the sums: the published forecast, the baselines, and a challenger (contracts/scores.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ruter_dagster.contracts.scores import (
    BASELINE_VARIANTS,
    CHALLENGER,
    LINE_SCORES,
    NIGHT,
    PERIODS,
    PUBLISHED,
    STOP_SCORES,
    SUMS,
    WEEKEND,
)
from ruter_dagster.contracts.tables import Table
from ruter_dagster.contracts.validation import conform
from ruter_dagster.forecasting.prediction_intervals import QUANTILES

_LINE = ("operating_date", "horizon_days", "mode", "line_id", "direction_id")
_GROUP = (*_LINE, "stop_id", "peak")
_TEXTS = ("mode", "line_id", "stop_id", "peak")
GROUP_COLUMNS = (*_LINE, "stop_id", "slot_hour", *BASELINE_VARIANTS)
"""Columns of `LOAD_FORECASTS` from which departures are counted."""
SCORED_COLUMNS = (
    *GROUP_COLUMNS, "seats", "load", "mean", "prob_above_seats", "absolute_error", "pinball_loss", "crps", "covered", "is_final",
)  # fmt: skip
"""Columns of `FORECAST_PERFORMANCE` from which the sums are made."""
_FRIDAY = 5
_MILLION = 1_000_000
_SUM_NAMES = tuple(column.name for column in SUMS)
_COUNTED = _SUM_NAMES[1:]
"""The columns of `SUMS` after `departures`: those of departures with a load."""
_IN_MILLIONTHS = [column.name for column in SUMS if column.type == "float64"]
"""The columns of `SUMS` that `_group_sums` returns in millionths."""


def departure_scores() -> list[pl.Expr]:
    """`absolute_error`, `pinball_loss`, `crps` and `covered` of rows with `load`, `mean`, `p10`, `p50` and `p90`.

    CRPS is approximated from the quantiles, as `scoringrules.crps_quantile` does: twice the mean pinball loss.
    """
    load = pl.col("load")
    losses = [_pinball(f"p{round(100 * level)}", level) for level in QUANTILES]
    pinball_loss = pl.sum_horizontal(losses) / len(losses)
    return [
        (pl.col("mean") - load).abs().alias("absolute_error"),
        pinball_loss.alias("pinball_loss"),
        (2 * pinball_loss).alias("crps"),
        load.is_between("p10", "p90").alias("covered"),
    ]


def _pinball(quantile: str, level: float) -> pl.Expr:
    above = pl.col("load") - pl.col(quantile)
    return pl.max_horizontal(level * above, (level - 1) * above)


def peak() -> pl.Expr:
    """The period of the day (`PEAKS`) of `operating_date` and `slot_hour`."""
    hour = pl.col("slot_hour")
    names = {at: name for name, (first, end) in PERIODS.items() for at in range(first, end)}
    of_hour = hour.replace_strict(names, default=NIGHT, return_dtype=pl.String)
    weekday = pl.col("operating_date").dt.weekday() <= _FRIDAY
    return pl.when(weekday).then(of_hour).otherwise(pl.lit(WEEKEND)).alias("peak")


def score_sums(
    performance: pl.DataFrame,
    forecasts: pl.DataFrame,
    crowded_probability: float,
    challenger: pl.DataFrame | None = None,
    challenger_forecasts: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The daily sums by line (contract `LINE_SCORES`) and by stop (contract `STOP_SCORES`).

    `performance` has `SCORED_COLUMNS`, one row per departure and horizon with an observed load. `forecasts` has
    `GROUP_COLUMNS`, one row per departure and horizon, with or without a load. `challenger` and `challenger_forecasts` are
    the same of another model. `crowded_probability`: P(load > seats) from which a departure is forecast to be crowded.
    """
    performance, forecasts = _with_codes(performance), _with_codes(forecasts)
    parts = list(_sums_of_variants(performance, forecasts, crowded_probability))
    if challenger is not None and challenger_forecasts is not None:
        rows, departures = _with_codes(challenger), _with_codes(challenger_forecasts)
        parts.append(_group_sums(CHALLENGER, rows, departures, _model(), crowded_probability))
    sums = pl.concat(parts).with_columns(pl.col(_TEXTS).cast(pl.String))
    final = performance.group_by("operating_date").agg(pl.col("is_final").fill_null(False).all())
    return _rolled_up(sums, final, LINE_SCORES), _rolled_up(sums, final, STOP_SCORES)


def _with_codes(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with `peak`, and numbers for the texts of `_GROUP`. Each variant groups millions of rows by them."""
    return rows.with_columns(peak()).with_columns(pl.col(_TEXTS).cast(pl.Categorical))


@dataclass(frozen=True)
class _Forecaster:
    """The expressions of a variant: its mean, errors and probability above the seats. `covered` is null without an interval."""

    mean: pl.Expr
    absolute_error: pl.Expr
    pinball_loss: pl.Expr
    crps: pl.Expr
    covered: pl.Expr
    probability: pl.Expr


def _model() -> _Forecaster:
    names = ("mean", "absolute_error", "pinball_loss", "crps", "covered", "prob_above_seats")
    return _Forecaster(*(pl.col(name) for name in names))


def _baseline(name: str) -> _Forecaster:
    """A baseline is a point: its quantiles are equal, so that CRPS is the absolute error and twice the pinball loss."""
    error = (pl.col(name) - pl.col("load")).abs()
    crowded = (pl.col(name) > pl.col("seats")).cast(pl.Float64)
    return _Forecaster(pl.col(name), error, error / 2, error, pl.lit(None, pl.Boolean), crowded)


def _sums_of_variants(
    performance: pl.DataFrame, forecasts: pl.DataFrame, crowded_probability: float
) -> Iterator[pl.DataFrame]:
    yield _group_sums(PUBLISHED, performance, forecasts, _model(), crowded_probability)
    for name in BASELINE_VARIANTS:
        known = pl.col(name).is_not_null()
        rows, departures = performance.filter(known), forecasts.filter(known)
        yield _group_sums(name, rows, departures, _baseline(name), crowded_probability)


def _group_sums(
    variant: str,
    performance: pl.DataFrame,
    forecasts: pl.DataFrame,
    forecaster: _Forecaster,
    crowded_probability: float,
) -> pl.DataFrame:
    """The sums of a variant by date, horizon, line, direction, stop and period of the day."""
    departures = forecasts.lazy().group_by(_GROUP).agg(pl.len().cast(pl.Int64).alias("departures"))
    values = performance.lazy().select(*_GROUP, *_values(forecaster, crowded_probability))
    sums = values.group_by(_GROUP).agg(_added(_COUNTED))
    # A full join: forecasts of a date can have been deleted, or made again for another plan, since the date was scored.
    joined = departures.join(sums, on=_GROUP, how="full", coalesce=True)
    return joined.with_columns(
        pl.lit(variant).alias("variant"),
        pl.max_horizontal("departures", "matched"),
        pl.col([name for name in _COUNTED if name != "covered"]).fill_null(0),
    ).collect()


def _values(forecaster: _Forecaster, crowded_probability: float) -> list[pl.Expr]:
    """The columns `_COUNTED` of a departure."""
    above = (pl.col("load") > pl.col("seats")).fill_null(False)
    probability = pl.when(pl.col("seats").is_not_null()).then(forecaster.probability)
    crowded = (probability >= crowded_probability).fill_null(False)
    with_ha4 = pl.col("ha4").is_not_null()
    return [
        _count(True).alias("matched"),
        _millionths(pl.col("load")).alias("load"),
        _millionths(forecaster.mean).alias("mean"),
        _millionths(forecaster.absolute_error).alias("absolute_error"),
        _count(forecaster.covered).alias("covered"),
        _millionths(forecaster.pinball_loss).alias("pinball_loss"),
        _millionths(forecaster.crps).alias("crps"),
        _count(above).alias("above_seats"),
        _millionths(probability).alias("expected_above_seats"),
        _count(crowded).alias("crowded_forecasts"),
        _count(crowded & above).alias("crowded_hits"),
        _millionths(pl.when(with_ha4).then(forecaster.absolute_error)).alias("absolute_error_with_ha4"),
        _millionths((pl.col("ha4") - pl.col("load")).abs()).alias("absolute_error_of_ha4"),
    ]


def _count(condition: pl.Expr | bool) -> pl.Expr:
    return (pl.lit(condition) if isinstance(condition, bool) else condition).cast(pl.Int64)


def _millionths(value: pl.Expr) -> pl.Expr:
    """As integers: a sum of floats would depend on the order of the rows, and so would the version of the table."""
    return (value.cast(pl.Float64) * _MILLION).round().cast(pl.Int64)


def _rolled_up(sums: pl.DataFrame, final: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The sums by the table's key, in its contract. `final` has `is_final` of each date with observed loads."""
    rows = sums.group_by(table.key).agg(_added()).join(final, on="operating_date", how="left")
    rows = rows.with_columns(pl.col(_IN_MILLIONTHS) / _MILLION, pl.col("is_final").fill_null(False))
    return conform(rows.select(table.column_names), table).sort(table.key)


def _added(names: Sequence[str] = _SUM_NAMES) -> list[pl.Expr]:
    """The columns added up. `covered` stays null if no row has an interval."""
    covered = pl.when(pl.col("covered").is_not_null().any()).then(pl.col("covered").sum())
    return [covered.alias(name) if name == "covered" else pl.col(name).sum() for name in names]


def ratios(sums: pl.DataFrame, by: Sequence[str] = ()) -> pl.DataFrame:
    """Scores of groups of the marts' rows, one row per group of `by` (one row for all if `by` is empty).

    Columns, null where the denominator is 0:

    - `departures`, `matched`, and `matched_share` (0 to 1);
    - `wape` (share), `bias` (share of the load, positive if too high), `coverage` of P10 to P90 (0 to 1);
    - `mean_absolute_error`, `pinball_loss`, `crps`: passengers, means over matched departures;
    - `above_seats`, `crowded_forecasts`, `crowded_recall`, `crowded_precision` (0 to 1);
    - `skill_against_ha4`: 1 - WAPE / WAPE of HA4 on the departures that HA4 knows.

    Pass rows of one variant, or have `variant` in `by`.
    """
    grouped = sums.group_by(by).agg(_added()).sort(by) if by else sums.select(_added())
    return grouped.select(
        *by,
        "departures",
        "matched",
        "above_seats",
        "crowded_forecasts",
        *(_ratio(*parts).alias(name) for name, parts in RATIOS.items()),
        (pl.col("mean") - pl.col("load")).truediv(_nonzero("load")).alias("bias"),
        (1 - _ratio("absolute_error_with_ha4", "absolute_error_of_ha4")).alias("skill_against_ha4"),
    )


RATIOS: Mapping[str, tuple[str, str]] = {
    "matched_share": ("matched", "departures"),
    "wape": ("absolute_error", "load"),
    "coverage": ("covered", "matched"),
    "mean_absolute_error": ("absolute_error", "matched"),
    "pinball_loss": ("pinball_loss", "matched"),
    "crps": ("crps", "matched"),
    "crowded_recall": ("crowded_hits", "above_seats"),
    "crowded_precision": ("crowded_hits", "crowded_forecasts"),
}
"""Ratios of two sums: numerator and denominator."""


def _ratio(numerator: str, denominator: str) -> pl.Expr:
    return pl.col(numerator) / _nonzero(denominator)


def _nonzero(name: str) -> pl.Expr:
    return pl.when(pl.col(name) > 0).then(pl.col(name))
