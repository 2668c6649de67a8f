"""Small valid frames, which the tests of quality change to break a rule."""

from __future__ import annotations

from datetime import date

import polars as pl

from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, REJECTED_VISITS, STOP_LOADS, STOP_VISITS
from ruter_dagster.contracts.validation import conform, with_optional_columns

DAY = date(2026, 11, 20)
_STOPS = pl.DataFrame(
    {
        "stop_sequence": [1, 2, 3, 4, 5],
        "stop_id": ["Majorstuen", "Nationaltheatret", "Stortinget", "Jernbanetorget", "Tøyen"],
        "boardings": [4, 3, 2, 1, 0],
        "alightings": [0, 1, 2, 3, 4],
        "departure_load": [4, 6, 6, 4, 0],
    }
)


def visits(*days: date, journeys: int = 20) -> pl.DataFrame:
    """Stop visits on each day: journeys of five stops, ten minutes apart, with balanced counts."""
    trips = pl.DataFrame({"journey": range(journeys)}).join(pl.DataFrame({"service_date": days}), how="cross")
    start = pl.col("service_date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC") + pl.duration(hours=5)
    departure = start + pl.duration(minutes=10 * pl.col("journey") + 2 * pl.col("stop_sequence"))
    return conform(
        trips.join(_STOPS, how="cross")
        .with_columns(
            trip_id=pl.format("journey-{}", "journey"),
            trip_id_performed=pl.format("journey-{}-performed", "journey"),
            line_id=pl.lit("3"),
            mode=pl.lit("metro"),
            direction_id=pl.lit(0),
            vehicle_id=pl.format("train-{}", pl.col("journey") % 4),
            scheduled_departure_time=departure,
            actual_departure_time=departure,
            seats=pl.lit(40),
            total_capacity=pl.lit(90),
            block_id=pl.lit(None, pl.String),
        )
        .select(STOP_VISITS.column_names),
        STOP_VISITS,
    )


def planned(*days: date, journeys: int = 20) -> pl.DataFrame:
    """The planned departures of `visits` of the same days."""
    rows = with_optional_columns(visits(*days, journeys=journeys), PLANNED_DEPARTURES)
    return rows.select(PLANNED_DEPARTURES.column_names)


def loads(*days: date, journeys: int = 20) -> pl.DataFrame:
    """Balanced loads of `visits` of the same days."""
    return conform(
        visits(*days, journeys=journeys)
        .with_columns(load="departure_load", slot_hour=6, imbalance=0.0, weight=1.0)
        .with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("initial_load", "final_load"))
        .select(STOP_LOADS.column_names),
        STOP_LOADS,
    )


def change(frame: pl.DataFrame, column: str, value: object, rows: int = 1) -> pl.DataFrame:
    """The frame with another value in the first rows of a column."""
    first = pl.int_range(pl.len()) < rows
    changed = pl.when(first).then(pl.lit(value)).otherwise(pl.col(column)).cast(frame.schema[column])
    return frame.with_columns(changed.alias(column))


def rejected_rows(
    day: date, rows: int, reason: str = "boardings is below 0", *, blocked: bool = False
) -> pl.DataFrame:
    """Rejected rows of a date, each of its own trip, from line 2 of their file."""
    return conform(
        pl.DataFrame({"line_number": range(2, 2 + rows)})
        .with_columns(
            service_date=day,
            file=pl.lit("stop_visits.csv"),
            reason=pl.lit(reason),
            trip_id_performed=pl.format("journey-{}-performed", "line_number"),
            vehicle_id=pl.format("train-{}", pl.col("line_number") % 4),
            line_id=pl.lit("3"),
            vehicle_type=pl.lit("metro of 90 places"),
            kept_without_counts=pl.lit(False),
            date_blocked=pl.lit(blocked),
            row=pl.lit('{"boarding_1":"-1"}'),
        )
        .select(REJECTED_VISITS.column_names),
        REJECTED_VISITS,
    )
