"""Health of the passenger counters on an operating date: silent and absent vehicles, dead doors, silent lines, gaps; and
changes of the timetable.

One date suffices to see each of these faults. Each function takes sums of one scope and returns a value and its detail.
Counts are compared with dates on which they were healthy, so that a fault that lasts does not become usual itself.
Thresholds belong in contracts/drift.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ruter_dagster.contracts.date_windows import DRIFT_PLAN_DAYS, DRIFT_REFERENCE_DAYS

SENSOR_LOAD_COLUMNS = (
    "service_date", "trip_id", "stop_sequence", "mode", "line_id", "vehicle_id", "load", "imbalance",
)  # fmt: skip
"""The columns of contract `STOP_LOADS` that are read."""
PLAN_COLUMNS = ("service_date", "trip_id", "mode", "line_id", "direction_id", "scheduled_departure_time")
"""The columns of contract `PLANNED_DEPARTURES` that are read."""
SHOWN_SUBJECTS = 10
"""Number of vehicles or lines that a detail lists."""
MIN_EXPECTED_LOAD = 100
"""Sum of a silent vehicle's usual loads, over its departures of the date, that it needs."""
MIN_LINE_JOURNEYS = 4
"""Planned journeys that a silent line needs."""
MIN_KNOWN_DATES = 3
"""Earlier dates with counts that a silent vehicle, a silent line and the usual counted share need."""
MIN_REGULAR_VEHICLES = 10
"""Vehicles that the share of absent vehicles needs."""
MIN_PLANNED_DATES = 7
"""Earlier dates with a timetable that a change of the timetable needs."""

_VEHICLES = {
    "operating_date": pl.Date, "mode": pl.String, "vehicle_id": pl.String, "trips": pl.UInt32, "visits": pl.UInt32,
    "passengers": pl.Float64, "reported": pl.Boolean,
}  # fmt: skip
_LINES = {
    "operating_date": pl.Date, "mode": pl.String, "line_id": pl.String, "journeys": pl.UInt32, "planned": pl.UInt32,
    "counted": pl.UInt32, "planned_in_counted_trips": pl.UInt32,
}  # fmt: skip
_JOURNEYS = {
    "operating_date": pl.Date, "mode": pl.String, "line_id": pl.String, "journey": pl.UInt64, "journeys": pl.UInt32,
}  # fmt: skip
SENSOR_SCHEMAS: dict[str, dict[str, type[pl.DataType]]] = {
    "vehicles": _VEHICLES,
    "lines": _LINES,
    "journeys": _JOURNEYS,
}
"""The columns of each frame of `SensorSums`."""
_TRIP = ("operating_date", "trip_id")


class MetricValue(NamedTuple):
    """A metric's value, None if unknown, and the vehicles or lines that it is about."""

    value: float | None = None
    detail: str | None = None


@dataclass(frozen=True)
class SensorSums:
    """Frames by operating date and mode."""

    vehicles: pl.DataFrame
    """Each vehicle's trips, visits, passengers (sum of loads), and whether it counted anybody."""
    lines: pl.DataFrame
    """Each line's planned journeys and departures, and how many departures were counted."""
    journeys: pl.DataFrame
    """A hash of line, direction and local start time of planned journeys, and how many journeys have it."""

    @classmethod
    def of(cls, loads: pl.DataFrame, plan: pl.DataFrame | None, time_zone: str) -> SensorSums:
        """Sums of any dates.

        Args:
            loads: contract `STOP_LOADS`, with the columns `SENSOR_LOAD_COLUMNS`.
            plan: contract `PLANNED_DEPARTURES` of the same dates, with the columns `PLAN_COLUMNS`. On dates without a plan, the
                visited departures count as planned, and there is no timetable to compare.
            time_zone: IANA name, for start times that do not change with the clocks.
        """
        trips = _counted_trips(loads)
        planned = _planned_trips(plan, time_zone) if plan is not None and plan.height else None
        return cls(
            vehicles=_vehicles(trips),
            lines=_lines(trips, planned),
            journeys=pl.DataFrame(schema=_JOURNEYS) if planned is None else _journeys(planned),
        )

    @classmethod
    def none(cls) -> SensorSums:
        """The sums of no date."""
        return cls(*(pl.DataFrame(schema=schema) for schema in SENSOR_SCHEMAS.values()))

    @classmethod
    def joined(cls, parts: Sequence[SensorSums]) -> SensorSums:
        """The sums of parts without a common operating date."""
        return cls(*(pl.concat(frames) for frames in zip(*(part.frames for part in parts), strict=True)))

    def of_mode(self, mode: str) -> SensorSums:
        return SensorSums(*(frame.filter(pl.col("mode") == mode) for frame in self.frames))

    @property
    def frames(self) -> tuple[pl.DataFrame, ...]:
        """The frames in the order of `SENSOR_SCHEMAS`."""
        return self.vehicles, self.lines, self.journeys

    @cached_property
    def timetables(self) -> Timetables:
        """The planned journeys of each date, compared with those of every other date."""
        return Timetables.of(self.journeys)


class Timetables(NamedTuple):
    """How many journeys dates have in common."""

    indices: dict[date, int]
    """The row and column of each date in `common`."""
    common: NDArray[np.float64]
    """Number of journeys that two dates have in common, shape (dates, dates). On the diagonal: the journeys of a date."""

    @classmethod
    def of(cls, journeys: pl.DataFrame) -> Timetables:
        """The comparison of all dates at once. A product of matrices takes a tenth of the time of sets."""
        dates = journeys["operating_date"].unique().sort().to_list()
        indices = {day: number for number, day in enumerate(dates)}
        rows, columns = (
            journeys[name].rank("dense").cast(pl.Int64).to_numpy() - 1
            for name in ("operating_date", "journey")
        )
        present = np.zeros((len(dates), int(columns.max(initial=-1)) + 1))
        present[rows, columns] = 1
        return cls(indices, present @ present.T)

    def difference(self, day: date, other: date) -> float:
        """Share of the journeys of two dates that only one of them has."""
        first, second = self.indices[day], self.indices[other]
        common = self.common[first, second]
        total = self.common[first, first] + self.common[second, second]
        return float((total - 2 * common) / (total - common))


def _counted_trips(loads: pl.DataFrame) -> pl.DataFrame:
    """One row per performed trip. A departure is counted if it has a load, or counts that cannot be reconciled."""
    has_counts = pl.col("load").is_not_null() | (pl.col("imbalance") > 0)
    return (
        loads.rename({"service_date": "operating_date"})
        .group_by(*_TRIP)
        .agg(
            pl.col("mode", "line_id", "vehicle_id", "imbalance").first(),
            pl.len().alias("visits"),
            has_counts.fill_null(False).sum().alias("counted"),
            pl.col("load").sum().alias("passengers"),
        )
    )


def _planned_trips(plan: pl.DataFrame, time_zone: str) -> pl.DataFrame:
    """One row per planned journey."""
    start = pl.col("start").dt.convert_time_zone(time_zone).dt.time()
    return (
        plan.rename({"service_date": "operating_date"})
        .group_by(*_TRIP)
        .agg(
            pl.col("mode", "line_id", "direction_id").first(),
            pl.len().alias("planned"),
            pl.col("scheduled_departure_time").min().alias("start"),
        )
        .with_columns(journey=pl.struct("line_id", "direction_id", start).hash())
    )


def _journeys(planned: pl.DataFrame) -> pl.DataFrame:
    *key, count = _JOURNEYS
    return planned.group_by(*key).len(count)


def _vehicles(trips: pl.DataFrame) -> pl.DataFrame:
    return (
        trips.drop_nulls("vehicle_id")
        .group_by("operating_date", "mode", "vehicle_id")
        .agg(
            pl.len().alias("trips"),
            pl.col("visits").sum(),
            pl.col("passengers").sum(),
            ((pl.col("passengers") > 0) | (pl.col("imbalance") > 0)).any().alias("reported"),
        )
        .cast({name: _VEHICLES[name] for name in ("trips", "visits", "passengers")})
        .select(*_VEHICLES)
    )


def _lines(trips: pl.DataFrame, planned: pl.DataFrame | None) -> pl.DataFrame:
    counted = trips.select(*_TRIP, "mode", "line_id", "visits", "counted")
    unplanned = counted.rename({"visits": "planned"})
    if planned is None:
        journeys = unplanned
    else:
        journeys = planned.join(counted.select(*_TRIP, "counted"), on=_TRIP, how="left")
        without_plan = unplanned.join(
            planned.select("operating_date").unique(), on="operating_date", how="anti"
        )
        journeys = pl.concat([journeys.select(unplanned.columns), without_plan], how="vertical_relaxed")
    in_counted_trips = pl.col("planned").filter(pl.col("counted") > 0)
    return (
        journeys.with_columns(pl.min_horizontal(pl.col("counted").fill_null(0), "planned").alias("counted"))
        .group_by("operating_date", "mode", "line_id")
        .agg(
            pl.len().alias("journeys"),
            pl.col("planned", "counted").sum(),
            in_counted_trips.sum().alias("planned_in_counted_trips"),
        )
        .cast(dict.fromkeys(("journeys", "planned", "counted", "planned_in_counted_trips"), pl.UInt32))
        .select(*_LINES)
    )


# Vehicles


def silent_vehicles(sums: SensorSums, day: date) -> MetricValue:
    """Vehicles that ran and counted nobody, although their usual loads let passengers be expected."""
    vehicles = _on(sums.vehicles, day)
    if vehicles.is_empty():
        return MetricValue()
    before = _before(sums.vehicles, day, DRIFT_REFERENCE_DAYS).filter("reported")
    usual = before.group_by("vehicle_id").agg(
        pl.len().alias("dates"), (pl.col("passengers").sum() / pl.col("visits").sum()).alias("load")
    )
    silent = (
        vehicles.filter(~pl.col("reported"))
        .join(usual.filter(pl.col("dates") >= MIN_KNOWN_DATES), on="vehicle_id")
        .filter(pl.col("load") * pl.col("visits") >= MIN_EXPECTED_LOAD)
        .sort("trips", "vehicle_id", descending=[True, False])
    )
    subjects = (
        f"{vehicle} ({trips} trips)" for vehicle, trips in silent.select("vehicle_id", "trips").iter_rows()
    )
    return MetricValue(float(silent.height), list_subjects(subjects))


def absent_vehicles(sums: SensorSums, day: date, comparable: Collection[date]) -> MetricValue:
    """Share of the vehicles without a trip on the date, of those that counted passengers on each comparable date."""
    earlier = sums.vehicles.filter(pl.col("operating_date").is_in(list(comparable)), "reported")
    dates = earlier["operating_date"].n_unique()
    if dates < 2 or day not in sums.vehicles["operating_date"]:
        return MetricValue()
    counts = earlier.group_by("vehicle_id").agg(pl.col("operating_date").n_unique().alias("dates"))
    regular = counts.filter(pl.col("dates") == dates)
    if regular.height < MIN_REGULAR_VEHICLES:
        return MetricValue()
    absent = regular.join(_on(sums.vehicles, day), on="vehicle_id", how="anti")["vehicle_id"].sort()
    return MetricValue(absent.len() / regular.height, list_subjects(absent))


# Lines


def silent_lines(sums: SensorSums, day: date) -> MetricValue:
    """Lines with planned journeys of which none was counted, although the line was counted before."""
    lines = _on(sums.lines, day)
    if lines.is_empty():
        return MetricValue()
    before = _before(sums.lines, day, DRIFT_REFERENCE_DAYS).filter(pl.col("counted") > 0)
    known = before.group_by("line_id").len().filter(pl.col("len") >= MIN_KNOWN_DATES)
    silent = (
        lines.filter(pl.col("counted") == 0, pl.col("journeys") >= MIN_LINE_JOURNEYS)
        .join(known, on="line_id", how="semi")
        .sort("planned", "line_id", descending=[True, False])
    )
    subjects = (
        f"{line} ({number} departures)" for line, number in silent.select("line_id", "planned").iter_rows()
    )
    return MetricValue(float(silent.height), list_subjects(subjects))


def counted_share(sums: SensorSums, day: date, warn: float) -> MetricValue:
    """The counted share of the planned departures, over its median on the healthy dates of the eight weeks before.

    On a healthy date the share is at least `warn` of the third largest one. The detail lists the lines that lost most.
    """
    shares = (
        sums.lines.group_by("operating_date")
        .agg(pl.col("counted", "planned").sum())
        .select("operating_date", share=pl.col("counted") / pl.col("planned"))
    )
    today = _on(shares, day)["share"]
    before = _before(shares, day, DRIFT_REFERENCE_DAYS).sort("share", descending=True)
    if today.is_empty() or before.height < MIN_KNOWN_DATES:
        return MetricValue()
    healthy = before.filter(pl.col("share") >= warn * before["share"][MIN_KNOWN_DATES - 1])
    median = healthy["share"].median()
    if not median:
        return MetricValue()
    lines = _lines_by_lost_counts(sums.lines, day, healthy["operating_date"])
    return MetricValue(today.item() / median, list_subjects(lines))  # pyright: ignore[reportOperatorIssue]


def _lines_by_lost_counts(lines: pl.DataFrame, day: date, healthy: pl.Series) -> list[str]:
    """Lines of which less than the usual share was counted, with these shares. Those that miss most departures are first."""
    share = pl.col("counted") / pl.col("planned")
    before = lines.filter(pl.col("operating_date").is_in(healthy.implode()))
    usual = before.group_by("line_id").agg(usual=share.median())
    lost = (
        _on(lines, day)
        .join(usual, on="line_id")
        .with_columns(share=share, lost=(pl.col("usual") - share) * pl.col("planned"))
        .filter(share < 0.9 * pl.col("usual"))
        .sort("lost", "line_id", descending=[True, False])
    )
    rows = lost.select("line_id", "share", "usual").iter_rows()
    return [f"{line} ({counted:.0%}, usually {before:.0%})" for line, counted, before in rows]


def trip_gaps(sums: SensorSums, day: date) -> MetricValue:
    """Share of departures without counts in trips with counts of other departures. The detail lists lines by their gaps."""
    lines = _on(sums.lines, day).with_columns(gaps=pl.col("planned_in_counted_trips") - pl.col("counted"))
    departures = lines["planned_in_counted_trips"].sum()
    if not departures:
        return MetricValue()
    worst = lines.filter(pl.col("gaps") > 0).sort("gaps", "line_id", descending=[True, False])
    subjects = (f"{line} ({gaps} departures)" for line, gaps in worst.select("line_id", "gaps").iter_rows())
    return MetricValue(float(lines["gaps"].sum()) / float(departures), list_subjects(subjects))


# Timetable


def timetable_change(sums: SensorSums, day: date) -> MetricValue:
    """Share of journeys that only one of two dates has: the date, and the most similar of the dates before it.

    A journey is a line, a direction and a local start time. Day types alternate, so every earlier date may be the most similar.
    """
    timetables = sums.timetables
    earlier = [day - timedelta(ago) for ago in range(1, DRIFT_PLAN_DAYS + 1)]
    planned = [other for other in earlier if other in timetables.indices]
    if day not in timetables.indices or len(planned) < MIN_PLANNED_DATES:
        return MetricValue()
    differences = {other: timetables.difference(day, other) for other in planned}
    nearest = min(differences, key=lambda other: (differences[other], day - other))
    lines = _changed_lines(sums, day, nearest) if differences[nearest] else ()
    return MetricValue(differences[nearest], list_subjects(lines))


def _changed_lines(sums: SensorSums, day: date, other: date) -> list[str]:
    """Lines with journeys that only one of the dates has, the most changed first."""
    is_changed = pl.col("operating_date").n_unique().over("journey") == 1
    by_line = (
        sums.journeys.filter(pl.col("operating_date").is_in([day, other]))
        .filter(is_changed)
        .group_by("line_id")
        .agg(pl.col("journeys").sum())
        .sort("journeys", "line_id", descending=[True, False])
    )
    return [f"{line} ({number} journeys)" for line, number in by_line.iter_rows()]


def list_subjects(subjects: Iterable[str]) -> str | None:
    """The first ten subjects, and how many more there are; None if there is none."""
    texts = list(subjects)
    more = len(texts) - SHOWN_SUBJECTS
    shown = ", ".join(texts[:SHOWN_SUBJECTS])
    return f"{shown} and {more} more" if more > 0 else shown or None


def _on(frame: pl.DataFrame, day: date) -> pl.DataFrame:
    return frame.filter(pl.col("operating_date") == day)


def _before(frame: pl.DataFrame, day: date, days: int) -> pl.DataFrame:
    """The rows of the dates before `day`, as far back as `days`."""
    return frame.filter(pl.col("operating_date").is_between(day - timedelta(days), day - timedelta(1)))
