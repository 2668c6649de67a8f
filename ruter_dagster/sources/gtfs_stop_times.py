"""Reads the stop times of a GTFS feed into a compact table, ordered by trip and stop, without missing times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ruter_dagster.sources.gtfs_files import FeedFiles
from ruter_dagster.sources.gtfs_schema import STOP_TIMES
from ruter_dagster.sources.gtfs_tables import LINE, Findings, clock, collect, read_table, scan_table

_FILE = STOP_TIMES.name
_TIMES = ("arrival", "departure")


@dataclass(frozen=True)
class StopTimes:
    """Stop times, ordered by trip and stop.

    - `rows`: columns trip, stop, time (seconds) and position (1, 2, … along the trip).
    - `starts`, `lengths`: first row and number of rows of each trip, by its number.
    """

    rows: pl.DataFrame
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, rows: pl.DataFrame, trips: int) -> StopTimes:
        """`rows` is ordered by trip and stop. `trips` is the number of trips in the feed."""
        trip = rows["trip"].to_numpy()
        begins = np.flatnonzero(trip[1:] != trip[:-1]) + 1
        begins = np.concatenate([[0], begins]) if len(trip) else begins
        counts = np.diff(begins, append=len(trip))
        lengths, starts = np.zeros(trips, np.int64), np.zeros(trips, np.int64)
        lengths[trip[begins]], starts[trip[begins]] = counts, begins
        position = np.arange(1, len(trip) + 1, dtype=np.int32)
        position -= np.repeat(begins.astype(np.int32), counts)
        return cls(rows.with_columns(position=pl.Series(position)), starts, lengths)

    def rows_of(self, trips: NDArray[np.uint32]) -> pl.DataFrame:
        """The rows of these trips, in the order of `trips`."""
        lengths = self.lengths[trips]
        preceding = np.cumsum(lengths) - lengths
        indices = np.arange(lengths.sum()) + np.repeat(self.starts[trips] - preceding, lengths)
        return self.rows[indices]


def read_stop_times(
    files: FeedFiles, trips: pl.DataFrame, stops: pl.DataFrame, findings: Findings
) -> StopTimes:
    """Reads the stop times of the `selected` trips. Faulty rows are left out and counted, missing times are interpolated.

    `trips` has trip_id, the number `trip` and `selected`; `stops` has stop_id and the number `stop`. Raises `BadInput` if the
    file cannot be read or too many of its rows are faulty.
    """
    listed = pl.concat([trips.select("trip_id", "trip", "selected"), _other_trips(files, trips)])
    # A feed has millions of stop times but few different times. Looking them up takes a third of the time of parsing each.
    arrivals, departures = (_times().lazy().rename({"text": f"{name}_time", "time": name}) for name in _TIMES)
    rows = (
        scan_table(files, _FILE, STOP_TIMES.required, [])
        .join(listed.lazy(), on="trip_id", how="left", maintain_order="left")
        .filter(pl.col("selected").fill_null(True))
        .join(stops.lazy().select("stop_id", "stop"), on="stop_id", how="left", maintain_order="left")
        .join(arrivals, on="arrival_time", how="left", maintain_order="left")
        .join(departures, on="departure_time", how="left", maintain_order="left")
        .select(
            LINE,
            "trip",
            "stop",
            pl.col("stop_sequence").cast(pl.Int32, strict=False),
            *_TIMES,
            is_unreadable=pl.any_horizontal(
                pl.col(f"{name}_time").is_not_null() & pl.col(name).is_null() for name in _TIMES
            ),
        )
    )
    ordered = _without_faulty(collect(rows, files, _FILE), findings)
    return StopTimes.of(_with_all_times(ordered, trips, findings), trips.height)


def _other_trips(files: FeedFiles, trips: pl.DataFrame) -> pl.DataFrame:
    """Trips of trips.txt that were left out. Their stop times must not count as faults of stop_times.txt."""
    listed = read_table(files, "trips.txt", ["trip_id"]).select("trip_id").unique()
    return listed.join(trips, on="trip_id", how="anti").with_columns(
        trip=pl.lit(None, pl.UInt32), selected=pl.lit(False)
    )


def _without_faulty(rows: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """The valid rows, ordered by trip and stop_sequence."""
    faults = {
        "stop times of a trip_id that trips.txt lacks": pl.col("trip").is_null(),
        "stop times of a stop_id that stops.txt lacks": pl.col("stop").is_null(),
        "stop times whose stop_sequence is not a whole number": pl.col("stop_sequence").is_null(),
    }
    unreadable = rows.filter(pl.col("is_unreadable"))
    example = findings.example(_FILE, unreadable, ("trip_id", "arrival_time", "departure_time"))
    findings.note("stop times whose time is not HH:MM:SS, taken as missing", unreadable.height, example)
    findings.refuse_beyond_limit(unreadable.height, rows.height, _FILE)
    kept = findings.without_faulty_rows(rows, faults, _FILE, ("trip_id", "stop_id", "stop_sequence"))
    ordered = kept if _is_ordered(kept) else kept.sort("trip", "stop_sequence", LINE)
    is_repeated = (pl.col("trip") == pl.col("trip").shift(1)) & (
        pl.col("stop_sequence") == pl.col("stop_sequence").shift(1)
    )
    repeated = {"stop times repeated": is_repeated.fill_null(False)}
    return findings.without_faulty_rows(ordered, repeated, _FILE, ("trip_id", "stop_sequence"))


def _is_ordered(rows: pl.DataFrame) -> bool:
    """Whether the rows are ordered already, as in most feeds. Sorting would take twice their memory."""
    trip, sequence = pl.col("trip"), pl.col("stop_sequence")
    begins = (trip != trip.shift(1)).fill_null(True)
    falls = (sequence < sequence.shift(1)).fill_null(False)
    together = trip.filter(begins).is_unique().all()
    return rows.select(together & (begins | ~falls).all()).item()


def _with_all_times(rows: pl.DataFrame, trips: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """trip, stop and time of every row. Trips without a first or last time, or with only one stop, are left out."""
    trip = pl.col("trip")
    begins, ends = ((trip != trip.shift(by)).fill_null(True) for by in (1, -1))
    leaving, arriving = pl.coalesce("departure", "arrival"), pl.coalesce("arrival", "departure")
    rows = rows.select("trip", "stop", time=pl.when(ends).then(arriving).otherwise(leaving))
    no_time = (begins | ends) & pl.col("time").is_null()
    faulty = rows.filter(no_time | (begins & ends))["trip"].unique().sort()
    if faulty.len():
        findings.note(
            "trips without a time at their first or last stop, or with only one stop",
            faulty.len(),
            f"trip_id {trips['trip_id'].gather(faulty)[0]!r}",
        )
        findings.refuse_beyond_limit(faulty.len(), rows["trip"].n_unique(), f"{_FILE} (trips)")
        rows = rows.filter(~trip.is_in(faulty.implode()))
    missing = rows["time"].null_count()
    findings.note("stop times interpolated", missing)
    # Every trip begins and ends with a time, so the interpolation never crosses two trips.
    return rows.with_columns(pl.col("time").interpolate().round().cast(pl.Int32)) if missing else rows


@lru_cache
def _times() -> pl.DataFrame:
    """All GTFS times below 100 hours as text (7:05:00 and 07:05:00) and in seconds."""
    time = pl.int_range(100 * 3600, dtype=pl.Int32, eager=True).alias("time").to_frame()
    padded = time.select(clock("time").alias("text"), "time")
    short = padded.filter(pl.col("text").str.starts_with("0")).with_columns(pl.col("text").str.slice(1))
    return pl.concat([padded, short])
