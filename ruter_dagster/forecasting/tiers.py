"""Tiers: the source of a departure's expected load, from its own counts to those of the whole network.

A tier has a name (`expected_tier` of departure features and forecasts). The first tier with counts is used; the most trusted
tier comes first.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ruter_dagster.contracts.tables import EXPECTED_TIERS, NO_BASIS, OWN_TIERS

TIER_COLUMNS: dict[str, tuple[str, ...]] = {
    "departure": ("departure_of_day_class",),
    "slot": ("usual", "ha8", "slot_of_day_class"),
    "journey": ("journey_load",),
    "neighbouring_hours": ("neighbouring_hours",),
    "line_hour": ("line_hour_of_day_class",),
    "stop_hour": ("stop_hour_of_other_lines",),
    "line": ("line_of_day_class",),
    "mode_hour": ("mode_hour_of_other_lines",),
    "network": ("network_of_day_class",),
}
"""The columns that give each tier's expected load, best first."""
UNKNOWN_MEAN_SHARE = 0.25
"""The mean load as a share of the seats if nothing was ever counted: a convention, as its wide quantiles show."""
_UNKNOWN_SEATS = 40


def expected_columns() -> list[pl.Expr]:
    """`expected` and `expected_tier` of rows that have every column of `TIER_COLUMNS`."""
    columns = [name for names in TIER_COLUMNS.values() for name in names]
    tier = pl.coalesce(
        *(
            pl.when(pl.col(name).is_not_null()).then(pl.lit(tier))
            for tier, names in TIER_COLUMNS.items()
            for name in names
        ),
        pl.lit(NO_BASIS),
    )
    return [pl.coalesce(*columns, pl.lit(0.0)).alias("expected"), tier.alias("expected_tier")]


def own_expected_load() -> pl.Expr:
    """The expected load from counts of the departure or its slot; null if there are none."""
    return pl.coalesce(*(name for tier in OWN_TIERS for name in TIER_COLUMNS[tier]))


def has_basis() -> pl.Expr:
    return pl.col("expected_tier") != NO_BASIS


def has_own_counts() -> pl.Expr:
    return pl.col("expected_tier").is_in(OWN_TIERS)


def tier_number() -> pl.Expr:
    """The tier as a number, 0 the best."""
    numbers: dict[Any, int] = {name: number for number, name in enumerate(EXPECTED_TIERS)}
    return pl.col("expected_tier").replace_strict(numbers, return_dtype=pl.Int32)


def with_unknown_loads(forecasts: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The forecasts of `rows`, row by row. Without any counts, every load up to the seats is possible.

    `forecasts` has `mean`, `p10`, `p50`, `p90` and `prob_above_seats`. Without counts P10 is 0, P90 is the seats, and the
    probability of more is 10 %.
    """
    unknown = rows.select(~has_basis()).to_series()
    if not unknown.any():
        return forecasts
    seats = rows["seats"].fill_null(_UNKNOWN_SEATS).cast(pl.Float64)
    probability = pl.select(pl.when(rows["seats"].is_not_null()).then(0.1)).to_series()
    defaults = {
        "mean": seats * UNKNOWN_MEAN_SHARE,
        "p10": seats * 0.0,
        "p50": seats * UNKNOWN_MEAN_SHARE,
        "p90": seats,
        "prob_above_seats": probability,
    }
    return forecasts.with_columns(
        pl.when(unknown).then(column).otherwise(pl.col(name)).alias(name) for name, column in defaults.items()
    )
