"""Writes stop visits as TIDES tables of texts, and adds random faults of every kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ruter_dagster.sources.tides_schema import ROUTE_TYPES_BY_MODE

Indices = np.ndarray
_TIME = "%Y-%m-%dT%H:%M:%S%:z"


@dataclass(frozen=True)
class TidesTables:
    """The three tables, with texts in all cells."""

    stop_visits: pl.DataFrame
    trips_performed: pl.DataFrame
    vehicles: pl.DataFrame

    def write(self, folder: Path, form: str) -> Path:
        for name in ("stop_visits", "trips_performed", "vehicles"):
            table: pl.DataFrame = getattr(self, name)
            path = folder / f"{name}.{form}"
            if form == "csv":
                table.write_csv(path)
            else:
                table.write_parquet(path)
        return folder


def export(visits: pl.DataFrame) -> TidesTables:
    """`visits` (contract `raw.stop_visits`) as TIDES tables."""
    route_types = {mode: names[0] for mode, names in ROUTE_TYPES_BY_MODE.items()}
    trips = visits.select(
        "service_date",
        "trip_id_performed",
        "vehicle_id",
        pl.col("trip_id").alias("trip_id_scheduled"),
        pl.col("line_id").alias("route_id"),
        pl.col("mode").replace(route_types).alias("route_type"),
        "direction_id",
        trip_type=pl.lit("In service"),
    ).unique(["service_date", "trip_id_performed"], keep="first", maintain_order=True)
    times = {
        name: pl.col(column).dt.convert_time_zone("Europe/Oslo").dt.to_string(_TIME)
        for name, column in (
            ("schedule_departure_time", "scheduled_departure_time"),
            ("actual_departure_time", "actual_departure_time"),
        )
    }
    rows = visits.select(
        "service_date",
        "trip_id_performed",
        pl.col("stop_sequence").alias("trip_stop_sequence"),
        "vehicle_id",
        "stop_id",
        pl.col("boardings").alias("boarding_1"),
        pl.col("alightings").alias("alighting_1"),
        "departure_load",
        **times,
    )
    vehicles = visits.drop_nulls("vehicle_id").select(
        "vehicle_id",
        capacity_seated="seats",
        capacity_standing=pl.col("total_capacity") - pl.col("seats"),
    )
    return TidesTables(
        rows.cast(pl.String), trips.cast(pl.String), vehicles.unique(maintain_order=True).cast(pl.String)
    )


def _cells(column: str, value: pl.Expr) -> Callable[[TidesTables, Indices], TidesTables]:
    """Puts `value` into a column of the visits at these rows."""

    def spoil(tables: TidesTables, rows: Indices) -> TidesTables:
        at = pl.Series(np.isin(np.arange(tables.stop_visits.height), rows))
        changed = pl.when(at).then(value).otherwise(pl.col(column)).alias(column)
        return TidesTables(tables.stop_visits.with_columns(changed), tables.trips_performed, tables.vehicles)

    return spoil


def _trips(column: str, value: pl.Expr) -> Callable[[TidesTables, Indices], TidesTables]:
    """Puts `value` into a column of as many trips as have about so many visits."""

    def spoil(tables: TidesTables, rows: Indices) -> TidesTables:
        number = max(1, len(rows) * tables.trips_performed.height // tables.stop_visits.height)
        every = tables.trips_performed.height // number
        at = (pl.int_range(pl.len()) + int(rows[0])) % every == 0
        changed = tables.trips_performed.with_columns(
            pl.when(at).then(value).otherwise(pl.col(column)).alias(column)
        )
        return TidesTables(tables.stop_visits, changed, tables.vehicles)

    return spoil


def _again(change: pl.Expr) -> Callable[[TidesTables, Indices], TidesTables]:
    """Repeats rows at the end, changed."""

    def spoil(tables: TidesTables, rows: Indices) -> TidesTables:
        copies = tables.stop_visits[rows].with_columns(change)
        return TidesTables(pl.concat([tables.stop_visits, copies]), tables.trips_performed, tables.vehicles)

    return spoil


def _text(value: str | None) -> pl.Expr:
    return pl.lit(value, pl.String)


FAULTS: dict[str, Callable[[TidesTables, Indices], TidesTables]] = {
    "equal rows of a visit": _again(pl.col("stop_id")),
    "impossible load": _cells("departure_load", _text("999")),
    "load -1": _cells("departure_load", _text("-1")),
    "unknown trip type": _trips("trip_type", _text("Charter")),
    "time without offset": _cells("schedule_departure_time", pl.col("schedule_departure_time").str.head(19)),
    "12.0": _cells("boarding_1", pl.col("boarding_1") + ".0"),
    "negative count": _cells("boarding_1", _text("-1")),
    "impossible count": _cells("alighting_1", _text("50000")),
    "text in a count": _cells("alighting_1", _text("many")),
    "unknown trip": _cells("trip_id_performed", _text("nowhere")),
    "sequence 0": _cells("trip_stop_sequence", _text("0")),
    "empty stop": _cells("stop_id", _text(None)),
    "empty route": _trips("route_id", _text(None)),
    "different rows of a visit": _again((pl.col("boarding_1").cast(pl.Int64) + 3).cast(pl.String)),
    "no time": _cells("schedule_departure_time", _text("soon")),
}
LEAST, MOST = 0.0001, 0.01
"""Shares of the rows that a corruption concerns."""


def corrupted(tables: TidesTables, seed: int) -> TidesTables:
    """The tables with one kind of fault for each of the first seeds, and all kinds together for those after them.

    Between 0.01 and 1 % of the rows, drawn from the seed.
    """
    draw = np.random.default_rng(seed)
    kinds = list(FAULTS)[seed : seed + 1] or list(FAULTS)
    number = max(len(kinds), int(tables.stop_visits.height * LEAST * (MOST / LEAST) ** draw.uniform()))
    rows = draw.choice(tables.stop_visits.height, number, replace=False)
    for kind, part in zip(kinds, np.array_split(rows, len(kinds)), strict=True):
        tables = FAULTS[kind](tables, np.sort(part))
    return tables
