"""Sums by operating date and mode from which drift is computed. Their size does not depend on the number of departures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from ruter_dagster.contracts.drift import NETWORK
from ruter_dagster.contracts.tables import DRIFT_SUMS
from ruter_dagster.contracts.validation import conform, empty_frame
from ruter_dagster.forecasting.counts import door_imbalance, vehicle_imbalance
from ruter_dagster.forecasting.distances import MAX_PASSENGERS
from ruter_dagster.forecasting.sensor_health import SENSOR_SCHEMAS, SensorSums

PERFORMANCE_COLUMNS = (
    "operating_date", "trip_id", "stop_sequence", "mode", "source", "load", "mean", "p10", "p90", "ha4",
)  # fmt: skip
"""The columns of contract `FORECAST_PERFORMANCE` that are read."""
LOAD_COLUMNS = ("service_date", "trip_id", "stop_sequence", "mode", "load")
"""The columns of contract `STOP_LOADS` that are read; rows without a load (weight 0) are left out."""
JOURNEY_COLUMNS = ("operating_date", "measure", "mode", "subject", "number", "journeys")
"""The columns of contract `DRIFT_SUMS` that its measure `journeys` has."""
VISIT_COLUMNS = ("service_date", "trip_id", "mode", "vehicle_id", "boardings", "alightings")
"""The columns of contract `STOP_VISITS` that are read."""
_KEY = ("operating_date", "trip_id", "stop_sequence")
_BY_MODE = {"operating_date": pl.Date, "mode": pl.String}
_ERRORS = {
    **_BY_MODE, "rows": pl.UInt32, "load": pl.Float64, "mean": pl.Float64, "error": pl.Float64, "error_beside_ha4": pl.Float64,
    "error_ha4": pl.Float64, "covered": pl.UInt32,
}  # fmt: skip
_LOADS = {**_BY_MODE, "passengers": pl.Int32, "rows": pl.UInt32}
_MATCHED = {**_BY_MODE, "rows": pl.UInt32, "forecast": pl.UInt32}
_VEHICLES = {**_BY_MODE, "vehicle_id": pl.String, "imbalance": pl.Float64, "door_imbalance": pl.Float64}
_SCHEMAS = {
    "errors": _ERRORS, "loads": _LOADS, "matched": _MATCHED, "imbalances": _VEHICLES, **SENSOR_SCHEMAS,
}  # fmt: skip
"""The columns of the frame of each measure of contract `DRIFT_SUMS`, in the order of `DriftSums` and `SensorSums`."""
_SUBJECTS = {
    "imbalances": "vehicle_id",
    "vehicles": "vehicle_id",
    "lines": "line_id",
    "journeys": "line_id",
}
_NUMBERS = {"loads": "passengers", "journeys": "journey"}


@dataclass(frozen=True)
class DriftSums:
    """Frames by operating date and mode."""

    errors: pl.DataFrame
    """Of a model's forecasts: rows, and sums of load, mean, error, error_beside_ha4, error_ha4 and covered."""
    loads: pl.DataFrame
    """Rows by number of passengers."""
    matched: pl.DataFrame
    """Rows of loads, and rows with a forecast."""
    vehicles: pl.DataFrame
    """Imbalance of each vehicle's day, and its part beyond chance; null if it has too few passengers or trips."""
    sensors: SensorSums = field(default_factory=SensorSums.none)
    """Of the passenger counters and the timetable."""

    @classmethod
    def of(
        cls,
        dates: Collection[date],
        performance: pl.DataFrame,
        loads: pl.DataFrame,
        visits: pl.DataFrame | None,
        sensors: SensorSums | None = None,
    ) -> DriftSums:
        """Sums of any dates; `matched` covers `dates` only.

        Args:
            dates: the operating dates whose values are needed: those to measure, and the dates before them that verdicts read.
            performance: contract `FORECAST_PERFORMANCE`, with the columns `PERFORMANCE_COLUMNS`.
            loads: contract `STOP_LOADS` of the same dates, with the columns `LOAD_COLUMNS`.
            visits: contract `STOP_VISITS` of `dates`, with the columns `VISIT_COLUMNS`, for the imbalance of vehicles; None if
                they are not available.
            sensors: the sums of the counters; None if they are not available.
        """
        loads = loads.drop_nulls("load").rename({"service_date": "operating_date"})
        passengers = pl.col("load").round().clip(0, MAX_PASSENGERS).cast(pl.Int32).alias("passengers")
        return cls(
            errors=_errors(performance),
            loads=loads.group_by("operating_date", "mode", passengers).agg(rows=pl.len()),
            matched=_matched(dates, performance, loads),
            vehicles=pl.DataFrame(schema=_VEHICLES) if visits is None else _vehicles(visits),
            sensors=sensors or SensorSums.none(),
        )

    @classmethod
    def joined(cls, parts: Sequence[DriftSums]) -> DriftSums:
        """The sums of parts without a common operating date."""
        frames = zip(*(part._frames for part in parts), strict=True)
        return cls(*map(pl.concat, frames), sensors=SensorSums.joined([part.sensors for part in parts]))

    def to_rows(self) -> pl.DataFrame:
        """The sums as contract `DRIFT_SUMS`, which `of_rows` turns back into the same sums."""
        frames = dict(zip(_SCHEMAS, (*self._frames, *self.sensors.frames), strict=True))
        rows = [_rows_of(measure, frame) for measure, frame in frames.items()]
        return conform(pl.concat([empty_frame(DRIFT_SUMS), *rows], how="diagonal_relaxed"), DRIFT_SUMS)

    @classmethod
    def of_rows(cls, rows: pl.DataFrame, journeys: pl.DataFrame) -> DriftSums:
        """The sums of rows of contract `DRIFT_SUMS`. `journeys` has the rows of that measure, with `JOURNEY_COLUMNS`."""
        frames = [
            _frame_of(measure, journeys if measure == "journeys" else rows.filter(measure=measure))
            for measure in _SCHEMAS
        ]
        return cls(*frames[:4], sensors=SensorSums(*frames[4:]))

    def of_scope(self, scope: str) -> DriftSums:
        """The sums of one mode, or all for the network."""
        if scope == NETWORK:
            return self
        frames = (frame.filter(pl.col("mode") == scope) for frame in self._frames)
        return DriftSums(*frames, sensors=self.sensors.of_mode(scope))

    @property
    def _frames(self) -> tuple[pl.DataFrame, ...]:
        return self.errors, self.loads, self.matched, self.vehicles


def _rows_of(measure: str, frame: pl.DataFrame) -> pl.DataFrame:
    subject, number = _SUBJECTS.get(measure), _NUMBERS.get(measure)
    return frame.select(
        pl.lit(measure).alias("measure"),
        pl.lit("").alias("subject") if subject is None else pl.col(subject).alias("subject"),
        pl.lit(0, pl.Int64).alias("number") if number is None else _signed(number).alias("number"),
        pl.exclude(subject or "", number or ""),
    )


def _signed(name: str) -> pl.Expr:
    """Passengers or a hash as a signed integer of 64 bits, which is what Iceberg has."""
    return pl.col(name).reinterpret(signed=True) if name == "journey" else pl.col(name).cast(pl.Int64)


def _frame_of(measure: str, rows: pl.DataFrame) -> pl.DataFrame:
    schema = _SCHEMAS[measure]
    columns = {name: pl.col(_stored_name(measure, name)) for name in schema}
    if "journey" in columns:
        columns["journey"] = columns["journey"].reinterpret(signed=False)
    return rows.select(column.cast(schema[name]).alias(name) for name, column in columns.items())


def _stored_name(measure: str, name: str) -> str:
    """The column of contract `DRIFT_SUMS` that has a column of a measure's frame."""
    if name == _SUBJECTS.get(measure):
        return "subject"
    return "number" if name == _NUMBERS.get(measure) else name


def _errors(performance: pl.DataFrame) -> pl.DataFrame:
    load, mean, ha4 = pl.col("load"), pl.col("mean"), pl.col("ha4")
    error = (mean - load).abs()
    return (
        performance.filter(pl.col("source") == "model")
        .group_by("operating_date", "mode")
        .agg(
            rows=pl.len(),
            load=load.sum(),
            mean=mean.sum(),
            error=error.sum(),
            error_beside_ha4=error.filter(ha4.is_not_null()).sum(),
            error_ha4=(ha4 - load).abs().sum(),
            covered=load.is_between("p10", "p90").sum(),
        )
    )


def _matched(dates: Collection[date], performance: pl.DataFrame, loads: pl.DataFrame) -> pl.DataFrame:
    of_dates = pl.col("operating_date").is_in(list(dates))
    of_date, forecast = loads.filter(of_dates), performance.filter(of_dates).select(_KEY)
    rows = of_date.group_by("operating_date", "mode").agg(rows=pl.len())
    matched = (
        of_date.join(forecast, on=_KEY, how="semi").group_by("operating_date", "mode").agg(forecast=pl.len())
    )
    return rows.join(matched, on=("operating_date", "mode"), how="left").with_columns(
        pl.col("forecast").fill_null(0)
    )


def _vehicles(visits: pl.DataFrame) -> pl.DataFrame:
    vehicle, sides = ("service_date", "mode", "vehicle_id"), ("boardings", "alightings")
    counted = visits.filter(pl.all_horizontal(pl.col("vehicle_id", *sides).is_not_null()))
    trips = counted.group_by(*vehicle, "trip_id").agg(pl.col(*sides).sum())
    return (
        vehicle_imbalance(trips)
        .join(door_imbalance(trips), on=vehicle, how="full", coalesce=True)
        .rename({"service_date": "operating_date"})
        .select(*_VEHICLES)
    )
