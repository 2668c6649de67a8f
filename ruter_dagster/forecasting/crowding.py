"""Which forecast departures are the most crowded."""

from __future__ import annotations

import polars as pl


def most_crowded(forecasts: pl.DataFrame, count: int) -> pl.DataFrame:
    """The `count` departures with the highest probability above the seats, then the highest mean; the highest first.

    Departures with unknown seats follow those with known seats. The key decides between equal departures.
    """
    key = ("operating_date", "scheduled_departure_time", "trip_id", "stop_sequence")
    return forecasts.sort(
        "prob_above_seats",
        "mean",
        *key,
        descending=[True, True, *(False for _ in key)],
        nulls_last=True,
    ).head(count)
