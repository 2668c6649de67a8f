"""Which forecast departures are the most crowded."""

from __future__ import annotations

import polars as pl


def most_crowded(forecasts: pl.DataFrame, count: int) -> pl.DataFrame:
    """The `count` departures with the highest probability above the seats, then the highest mean; the highest first.

    Departures with unknown seats follow those with known seats. The key decides between equal departures.
    """
    key = ("operating_date", "scheduled_departure_time", "trip_id", "stop_sequence")
    # Only the rows that can be among them are sorted: sorting millions of wide rows takes three seconds (goal: forecasting).
    highest = forecasts["prob_above_seats"].drop_nulls().top_k(count)
    candidates = forecasts
    if count > 0 and highest.len() == count:
        candidates = forecasts.filter(pl.col("prob_above_seats") >= highest.min())
    return candidates.sort(
        "prob_above_seats",
        "mean",
        *key,
        descending=[True, True, *(False for _ in key)],
        nulls_last=True,
    ).head(count)
