"""Forecast performance: forecasts joined to their loads, and the numbers of unmatched departures."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from ruter_dagster.contracts.tables import FORECAST_PERFORMANCE, LOAD_FORECASTS, STOP_LOADS
from ruter_dagster.contracts.validation import conform, polars_schema, validate
from ruter_dagster.forecasting.forecast_performance import forecast_performance

DAY = date(2026, 11, 20)
DEPARTURE = datetime(2026, 11, 20, 7, tzinfo=UTC)
JOURNEY = {
    "line_id": "31",
    "mode": "bus",
    "direction_id": 0,
    "stop_id": "s",
    "scheduled_departure_time": DEPARTURE,
}


def forecasts(*departures: tuple[str, int, int]) -> pl.DataFrame:
    """Forecasts of (trip, stop sequence, horizon), with a mean of 10 + horizon."""
    rows = [
        {
            **dict.fromkeys(LOAD_FORECASTS.column_names),
            **JOURNEY,
            "issue_date": DAY - timedelta(horizon),
            "operating_date": DAY,
            "horizon_days": horizon,
            "trip_id": trip,
            "stop_sequence": sequence,
            "slot_hour": 8,
            "mean": 10.0 + horizon,
            "p10": 5.0,
            "p50": 10.0,
            "p90": 15.0,
            "source": "model",
        }
        for trip, sequence, horizon in departures
    ]
    return conform(pl.DataFrame(rows, schema=polars_schema(LOAD_FORECASTS)), LOAD_FORECASTS)


def loads(*departures: tuple[str, int, float]) -> pl.DataFrame:
    rows = [
        {
            **dict.fromkeys(STOP_LOADS.column_names),
            **JOURNEY,
            "service_date": DAY,
            "trip_id": trip,
            "stop_sequence": sequence,
            "trip_id_performed": trip,
            "slot_hour": 8,
            "load": load,
            "weight": 1.0,
        }
        for trip, sequence, load in departures
    ]
    return conform(pl.DataFrame(rows, schema=polars_schema(STOP_LOADS)), STOP_LOADS)


def test_load_without_weight_is_not_observed():
    weightless = loads(("a", 1, 71.0), ("b", 1, 12.0)).with_columns(
        weight=pl.when(pl.col("trip_id") == "a").then(0.0).otherwise(1.0)
    )
    performance, summary = forecast_performance(forecasts(("a", 1, 0), ("b", 1, 0)), weightless)
    assert performance["trip_id"].to_list() == ["b"]
    assert (summary.forecast, summary.observed, summary.matched) == (2, 1, 1)


def test_every_horizon_joins_the_same_load():
    performance, _ = forecast_performance(
        forecasts(("a", 1, 0), ("a", 1, 1), ("a", 1, 3)), loads(("a", 1, 12.0))
    )
    validate(performance, FORECAST_PERFORMANCE, {DAY})
    assert performance.select("horizon_days", "mean", "load").rows() == [
        (0, 10.0, 12.0),
        (1, 11.0, 12.0),
        (3, 13.0, 12.0),
    ]


def test_unmatched_departures_are_counted():
    performance, summary = forecast_performance(
        forecasts(("a", 1, 0), ("a", 1, 1), ("a", 2, 1), ("b", 1, 1)), loads(("a", 1, 12.0), ("c", 1, 3.0))
    )
    assert performance["trip_id"].unique().to_list() == ["a"]
    assert (summary.forecast, summary.observed, summary.matched) == (3, 2, 1)
    assert (summary.forecast_without_truth, summary.truth_without_forecast) == (2, 1)
    assert summary.matched_share == pytest.approx(1 / 3)


def test_matched_share_needs_a_forecast():
    performance, summary = forecast_performance(forecasts(), loads(("a", 1, 12.0)))
    assert performance.is_empty()
    assert performance.columns == list(FORECAST_PERFORMANCE.column_names)
    assert summary.matched_share is None
