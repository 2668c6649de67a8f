"""The training sample: a few thousand departures per operating date, with everything that a model learns from.

A year of a large network has 200 million departures; a few thousand per date teach a model as much.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from ruter_dagster.contracts.features import TRAINING_SAMPLE
from ruter_dagster.contracts.validation import conform
from ruter_dagster.forecasting.model_rows import KEY, TRUTH, rows_with_truth

SAMPLE_ROWS = 5000
"""Departures per operating date in the sample: two million for 400 dates."""
_STRATA = ("mode", "line_id", "direction_id", "slot_hour")


def training_sample(
    features: pl.DataFrame,
    loads: pl.DataFrame,
    levels: pl.DataFrame,
    weather: pl.DataFrame,
    max_rows: int,
    seed: int,
) -> pl.DataFrame:
    """Contract `features.training_sample` of every service date of `features`, at most `max_rows` rows per date.

    The arguments are those of `rows_with_truth`. Departures whose load has no weight are left out.
    """
    trusted = loads.select(TRUTH).filter(pl.col("weight") > 0)
    known = features.join(trusted.select(KEY), on=KEY, how="semi", maintain_order="left")
    dates: list[date] = known["service_date"].unique().sort().to_list()
    drawn = [stratified(known.filter(pl.col("service_date") == day), max_rows, seed) for day in dates]
    chosen = pl.concat(drawn) if drawn else known.with_columns(pl.lit(1.0).alias("sample_weight"))
    rows = rows_with_truth(chosen, trusted, levels, weather)
    return conform(rows.select(TRAINING_SAMPLE.column_names), TRAINING_SAMPLE).sort(TRAINING_SAMPLE.key)


def stratified(departures: pl.DataFrame, max_rows: int, seed: int) -> pl.DataFrame:
    """At most `max_rows` departures of one date, with `sample_weight`: how many departures of its mode each represents.

    A mode's share grows with the square root of its size, so that boats are not lost among buses. Within a mode, rows are
    spread evenly over lines and hours; within a line and hour, key and `seed` decide.
    """
    if departures.height <= max_rows:
        return departures.with_columns(pl.lit(1.0).alias("sample_weight"))
    order = departures.select(
        *_STRATA, pl.struct(KEY).hash(seed).alias("drawn"), pl.int_range(pl.len()).alias("row")
    ).sort(*_STRATA, "drawn")
    size, number = pl.len().over("mode"), pl.int_range(pl.len()).over("mode")
    # Summed over all rows, 1 / root of a mode's size is the sum of the modes' roots.
    roots = (1 / size.sqrt()).sum()
    taken = pl.min_horizontal((max_rows * size.sqrt() / roots).floor().clip(1), size)
    passes = ((number + 1) * taken / size).floor() > (number * taken / size).floor()
    chosen = order.select("row", (size / taken).alias("sample_weight"), passes.alias("chosen"))
    rows = chosen.filter("chosen").sort("row")
    return departures[rows["row"]].with_columns(rows["sample_weight"])
