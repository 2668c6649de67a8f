"""A small table and its rows, for the tests of storage. Not a test."""

from datetime import UTC, date, datetime

import polars as pl

from ruter_dagster.contracts.tables import Column, Rule, Table

DAY = date(2026, 11, 20)
NEXT_DAY = date(2026, 11, 21)
VISITS = Table(
    name="raw.visits",
    description="A small table.",
    partition="service_date",
    key=("service_date", "trip_id", "stop_sequence"),
    columns=(
        Column("service_date", "date", "Operating date"),
        Column("trip_id", "string", "Service journey"),
        Column("stop_sequence", "int32", "Order of the stop", minimum=1),
        Column("departure", "timestamp", "Planned departure, UTC"),
        Column("load", "float64", "Passengers on board", required=False, minimum=0),
    ),
    rules=(Rule("load_within_capacity", "load <= 400", "No load is over 400"),),
)


def visits(day: date = DAY, load: float | None = 12.0, rows: int = 20) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "service_date": [day] * rows,
            "trip_id": [f"journey {number // 10}" for number in range(rows)],
            "stop_sequence": [1 + number % 10 for number in range(rows)],
            "departure": [datetime(2026, 11, 20, 6, number % 60, tzinfo=UTC) for number in range(rows)],
            "load": [load] * rows,
        }
    )
