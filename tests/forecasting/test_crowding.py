"""The most crowded departures."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from ruter_dagster.forecasting.crowding import most_crowded

PROBABILITIES = [
    [0.9, 0.5, 0.5, 0.5, 0.1, None],
    [0.9, 0.2, None, None, None, None],
    [None, None, None, None, None, None],
    [0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
]


def forecasts(probabilities: list[float | None]) -> pl.DataFrame:
    rows = len(probabilities)
    return pl.DataFrame(
        {
            "operating_date": [date(2026, 11, 20)] * rows,
            "scheduled_departure_time": [datetime(2026, 11, 20, 8, tzinfo=UTC)] * rows,
            "trip_id": [f"t{rows - i}" for i in range(rows)],
            "stop_sequence": list(range(rows)),
            "mean": [20.0, 30.0, 40.0, 30.0, 50.0, 60.0],
            "prob_above_seats": probabilities,
        },
        schema_overrides={"prob_above_seats": pl.Float64},
    )


@pytest.mark.parametrize("probabilities", PROBABILITIES)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 6, 9])
def test_most_crowded_are_the_first_of_all_sorted(probabilities: list[float | None], count: int):
    rows = forecasts(probabilities)
    unknown = pl.col("prob_above_seats").is_null()
    order = rows.with_columns(unknown=unknown, less=-pl.col("prob_above_seats"), fewer=-pl.col("mean"))
    every = order.sort("unknown", "less", "fewer", "trip_id").select(rows.columns)
    assert most_crowded(rows, count).equals(every.head(count))
