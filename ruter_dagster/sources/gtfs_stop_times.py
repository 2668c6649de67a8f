"""Reads the stop times of a GTFS feed into a compact table, in order of trip and stop, with every time known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ruter_dagster.sources.gtfs_files import FeedFiles
from ruter_dagster.sources.gtfs_tables import LINE, Findings, clock, collect, read_table, scan_table
from ruter_dagster.sources.gtfs_vocabulary import STOP_TIMES

_FILE = STOP_TIMES.name
_TIMES = ("arrival", "departure")


@dataclass(frozen=True)
class StopTimes:
    """Stop times, those of a trip together: `rows` has trip, stop, time (s) and position; starts and lengths by trip."""

    rows: pl.DataFrame
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, rows: pl.DataFrame, trips: int) -> StopTimes:
        """`rows` with each trip's together, in order of its stops; `trips` is how many numbers of trips there are."""
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
        """The rows of these trips, trip by trip."""
        lengths = self.lengths[trips]
        before = np.cumsum(lengths) - lengths
        places = np.arange(lengths.sum()) + np.repeat(self.starts[trips] - before, lengths)
        return self.rows[places]


def read_stop_times(
    files: FeedFiles, trips: pl.DataFrame, stops: pl.DataFrame, findings: Findings
) -> StopTimes:
    """Stop times of the trips that are `wanted`; faulty ones are set aside and counted, missing times interpolated.

    `trips` has trip_id, its number `trip` and `wanted`; `stops` has stop_id and its number `stop`. Raises `BadInput`
    where the file cannot be read or too much of it is faulty.
    """
    named = pl.concat([trips.select("trip_id", "trip", "wanted"), _other_trips(files, trips)])
    # Times are few: to look them up takes a third of the time that reading each takes.
    arrivals, departures = (_times().lazy().rename({"text": f"{name}_time", "time": name}) for name in _TIMES)
    rows = (
        scan_table(files, _FILE, STOP_TIMES.required, [])
        .join(named.lazy(), on="trip_id", how="left", maintain_order="left")
        .filter(pl.col("wanted").fill_null(True))
        .join(stops.lazy().select("stop_id", "stop"), on="stop_id", how="left", maintain_order="left")
        .join(arrivals, on="arrival_time", how="left", maintain_order="left")
        .join(departures, on="departure_time", how="left", maintain_order="left")
        .select(
            LINE,
            "trip",
            "stop",
            pl.col("stop_sequence").cast(pl.Int32, strict=False),
            *_TIMES,
            unread=pl.any_horizontal(
                pl.col(f"{name}_time").is_not_null() & pl.col(name).is_null() for name in _TIMES
            ),
        )
    )
    ordered = _checked(collect(rows, files, _FILE), findings)
    return StopTimes.of(_completed(ordered, trips, findings), trips.height)


def _other_trips(files: FeedFiles, trips: pl.DataFrame) -> pl.DataFrame:
    """Trips of trips.txt that were set aside: their stop times are no fault of stop_times.txt."""
    listed = read_table(files, "trips.txt", ["trip_id"]).select("trip_id").unique()
    return listed.join(trips, on="trip_id", how="anti").with_columns(
        trip=pl.lit(None, pl.UInt32), wanted=pl.lit(False)
    )


def _checked(rows: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """The rows without faulty ones, each trip's together and in order of stop_sequence."""
    faults = {
        "stop times of a trip_id that trips.txt lacks": pl.col("trip").is_null(),
        "stop times of a stop_id that stops.txt lacks": pl.col("stop").is_null(),
        "stop times whose stop_sequence is no whole number": pl.col("stop_sequence").is_null(),
    }
    unread = rows.filter(pl.col("unread"))
    cells = findings.cells(_FILE, unread, ("trip_id", "arrival_time", "departure_time"))
    findings.note("stop times whose time is no HH:MM:SS, taken as missing", unread.height, cells)
    findings.refuse_beyond_limit(unread.height, rows.height, _FILE)
    kept = findings.without_faults(rows, faults, _FILE, ("trip_id", "stop_id", "stop_sequence"))
    ordered = kept if _is_ordered(kept) else kept.sort("trip", "stop_sequence", LINE)
    again = (pl.col("trip") == pl.col("trip").shift(1)) & (
        pl.col("stop_sequence") == pl.col("stop_sequence").shift(1)
    )
    repeated = {"stop times repeated": again.fill_null(False)}
    return findings.without_faults(ordered, repeated, _FILE, ("trip_id", "stop_sequence"))


def _is_ordered(rows: pl.DataFrame) -> bool:
    """Whether each trip's rows lie together and in order, as most feeds have them: sorting takes twice their memory."""
    trip, sequence = pl.col("trip"), pl.col("stop_sequence")
    begins = (trip != trip.shift(1)).fill_null(True)
    falls = (sequence < sequence.shift(1)).fill_null(False)
    together = trip.filter(begins).is_unique().all()
    return rows.select(together & (begins | ~falls).all()).item()


def _completed(rows: pl.DataFrame, trips: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """trip, stop and time of every row; trips without a first or last time, or with one stop, are set aside."""
    trip = pl.col("trip")
    begins, ends = ((trip != trip.shift(by)).fill_null(True) for by in (1, -1))
    leaving, arriving = pl.coalesce("departure", "arrival"), pl.coalesce("arrival", "departure")
    rows = rows.select("trip", "stop", time=pl.when(ends).then(arriving).otherwise(leaving))
    no_time = (begins | ends) & pl.col("time").is_null()
    faulty = rows.filter(no_time | (begins & ends))["trip"].unique().sort()
    if faulty.len():
        findings.note(
            "trips without a time at their first or last stop, or with one stop alone",
            faulty.len(),
            f"trip_id {trips['trip_id'].gather(faulty)[0]!r}",
        )
        findings.refuse_beyond_limit(faulty.len(), rows["trip"].n_unique(), f"{_FILE} (trips)")
        rows = rows.filter(~trip.is_in(faulty.implode()))
    missing = rows["time"].null_count()
    findings.note("stop times interpolated", missing)
    # Every trip begins and ends with a time, so that no interpolation reaches into another trip.
    return rows.with_columns(pl.col("time").interpolate().round().cast(pl.Int32)) if missing else rows


@lru_cache
def _times() -> pl.DataFrame:
    """Every GTFS time of less than 100 hours as text, 7:05:00 and 07:05:00, and its seconds."""
    time = pl.int_range(100 * 3600, dtype=pl.Int32, eager=True).alias("time").to_frame()
    padded = time.select(clock("time").alias("text"), "time")
    short = padded.filter(pl.col("text").str.starts_with("0")).with_columns(pl.col("text").str.slice(1))
    return pl.concat([padded, short])
