"""Journeys of the simulated network: departure times by timetable version and day type, and the order of vehicles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ruter_dagster.sources.demo.calendar import DayType
from ruter_dagster.sources.demo.network import VEHICLE_TYPES, Network, Scale, build_network
from ruter_dagster.sources.demo.random_numbers import generator

_PEAK, _DAYTIME, _EVENING, _NIGHT = range(4)
_NIGHT_HEADWAY = 60.0
_WORKING_DAY = (
    (5.0, _DAYTIME), (6.5, _PEAK), (9.0, _DAYTIME), (14.5, _PEAK), (18.0, _DAYTIME), (20.0, _EVENING)
)  # fmt: skip
_SATURDAY = ((6.0, _EVENING), (9.0, _DAYTIME), (19.0, _EVENING))
_LAST_EVENING_START, _LAST_NIGHT_START = 24.75, 28.5
_PERIODS: dict[DayType, tuple[tuple[float, int], ...]] = {
    "weekday": _WORKING_DAY,
    "friday": _WORKING_DAY,
    "saturday": _SATURDAY,
    "sunday": ((7.0, _EVENING), (12.0, _DAYTIME), (18.0, _EVENING)),
}
_CALENDAR_CODE: dict[DayType, str] = {"weekday": "W", "friday": "W", "saturday": "L", "sunday": "S"}
_CHANGED_LINES = 0.25
_DENSER, _SPARSER = 2 / 3, 3 / 2


@dataclass(frozen=True)
class Timetable:
    """Journeys of a day type, in order of line, direction and departure.

    Vectors have one value per journey. Matrices are (position, journey), so that one row is a step along all journeys.
    """

    network: Network
    version: int
    line: NDArray[np.int64]
    direction: NDArray[np.int64]
    start: NDArray[np.float64]
    """Planned departure from the first stop, minutes of the service day."""
    headway: NDArray[np.float64]
    """Minutes since the previous departure of the same line and direction."""
    turn: NDArray[np.int64]
    """Rank of the journey among the journeys of its line. The vehicles of the line take turns in this order."""
    calendar_code: str

    @cached_property
    def pattern(self) -> NDArray[np.int64]:
        return 2 * self.line + self.direction

    @cached_property
    def stops(self) -> NDArray[np.int64]:
        return self.network.pattern_stops[self.pattern]

    @cached_property
    def served(self) -> NDArray[np.bool_]:
        """Positions at which a journey has a stop."""
        return np.arange(self.stops.max())[:, None] < self.stops

    @cached_property
    def minute(self) -> NDArray[np.float64]:
        """Planned departure at each position, minutes of the service day."""
        return self.start + self.network.minutes.T[: len(self.served), self.pattern]

    @cached_property
    def hour(self) -> NDArray[np.int64]:
        """Hour of the service day at each position."""
        return (self.minute // 60).astype(np.int64)

    def flat(self, matrix: NDArray) -> NDArray:
        """A matrix's served positions, journey by journey."""
        return matrix.T[self.served.T]

    @cached_property
    def journey(self) -> NDArray[np.int64]:
        """Journey of each departure, in the order of `flat`."""
        return np.repeat(np.arange(len(self.line)), self.stops)

    def departures(self, vector: NDArray | pl.Series) -> pl.Series:
        """A value per journey, repeated for its departures."""
        return pl.Series(vector).gather(self.journey)

    @cached_property
    def frame(self) -> pl.DataFrame:
        """Columns of departures that are the same on every date: ids, line, stop point, planned capacity and minute."""
        network, quays = self.network, self.network.quays[self.version]
        kinds = network.line_class[self.line]
        types = [_TYPE_NUMBER[kind.usual] for kind in network.classes]
        return pl.DataFrame(
            {
                "trip_id": self.departures(self.trip_ids),
                "stop_sequence": self.flat(np.broadcast_to(_sequence(self.served), self.served.shape)),
                "line_id": self.departures(pl.Series(network.line_ids.tolist()).gather(self.line)),
                "mode": self.departures(pl.Series(network.modes.tolist()).gather(self.line)),
                "direction_id": self.departures(self.direction.astype(np.int32)),
                "stop_id": _quay_ids(self.flat(quays.T[: len(self.served), self.pattern])),
                "seats": self.departures(_SEATS[types][kinds]),
                "total_capacity": self.departures(_CAPACITY[types][kinds]),
                "minute": self.flat(self.minute).astype(np.int64),
            }
        )

    @cached_property
    def trip_ids(self) -> pl.Series:
        """Id of each service journey. Each version of the timetable has its own ids."""
        journeys = pl.DataFrame(
            {
                "number": pl.Series(self.network.line_ids.tolist())
                .str.replace("RUT:Line:", "")
                .gather(self.line),
                "code": f"{self.version + 1}{self.calendar_code}",
                "direction": self.direction,
                "hour": (self.start // 60).astype(np.int64),
                "minute": (self.start % 60).astype(np.int64),
            }
        )
        clock = pl.col("hour").cast(pl.String).str.zfill(2) + pl.col("minute").cast(pl.String).str.zfill(2)
        parts = (pl.lit("RUT:ServiceJourney:") + pl.col("number"), "code", "direction", clock)
        return journeys.select(trip_id=pl.concat_str(*parts, separator="-")).to_series()


@lru_cache(maxsize=16)
def build_timetable(seed: int, scale: Scale, version: int, day_type: DayType) -> Timetable:
    """The journeys of a version and day type. All of them run on every date of that day type."""
    network = build_network(seed, scale)
    headways = planned_headways(network, version)
    offsets = generator(seed, "offsets").uniform(0, 1, (10_000, 2))
    starts = [
        _starts(headways[line], offsets[line, direction], day_type, network.class_of(line).at_night)
        if version or line != network.new_line
        else np.empty(0)
        for line in range(network.lines)
        for direction in (0, 1)
    ]
    pattern = np.repeat(np.arange(len(starts)), [len(times) for times in starts])
    start = np.concatenate(starts)
    line = pattern // 2
    order = np.lexsort((pattern, start, line))
    first = np.searchsorted(line, np.arange(network.lines))
    turn = np.empty(len(line), dtype=np.int64)
    turn[order] = np.arange(len(line)) - first[line[order]]
    gap = np.diff(start, prepend=0.0)
    opens = np.diff(pattern, prepend=-1) > 0
    headway = np.where(opens, headways[line, _DAYTIME], gap).clip(1, 60)
    return Timetable(
        network, version, line, pattern % 2, start, headway, turn, calendar_code=_CALENDAR_CODE[day_type]
    )


def planned_headways(network: Network, version: int) -> NDArray[np.float64]:
    """Headways in minutes, (line, peak/daytime/evening/night); version 1 changes those of a quarter of the lines."""
    headways = np.array([(*kind.headways, _NIGHT_HEADWAY) for kind in network.classes])[network.line_class]
    if version:
        changed = generator(network.seed, "changed lines").permutation(network.lines)
        changed = changed[: round(_CHANGED_LINES * network.lines)]
        headways[changed[::2], :_NIGHT] *= _DENSER
        headways[changed[1::2], :_NIGHT] *= _SPARSER
    return headways


def _starts(
    headways: NDArray[np.float64], offset: float, day_type: DayType, at_night: bool
) -> NDArray[np.float64]:
    """Start times of the journeys of a line and direction, in whole minutes."""
    periods = list(_PERIODS[day_type])
    ends = [60 * begin for begin, _ in periods[1:]] + [60 * _LAST_EVENING_START]
    if at_night and day_type in ("friday", "saturday"):
        periods.append((_LAST_EVENING_START, _NIGHT))
        ends.append(60 * _LAST_NIGHT_START)
    time = 60 * periods[0][0] + offset * headways[periods[0][1]]
    runs = []
    for (_, kind), end in zip(periods, ends, strict=True):
        runs.append(np.arange(time, end, headways[kind]))
        time = max(time, runs[-1][-1] + headways[kind]) if len(runs[-1]) else time
    return np.floor(np.concatenate(runs))


def _sequence(served: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.arange(1, len(served) + 1, dtype=np.int32)[:, None]


def _quay_ids(numbers: NDArray[np.int64]) -> pl.Series:
    names = pl.Series([f"NSR:Quay:{7000 + number}" for number in range(int(numbers.max()) + 1)])
    return names.gather(numbers)


_TYPE_NUMBER = {kind.name: number for number, kind in enumerate(VEHICLE_TYPES)}
_SEATS = np.array([kind.seats for kind in VEHICLE_TYPES], dtype=np.int32)
_CAPACITY = np.array([kind.seats + kind.standing for kind in VEHICLE_TYPES], dtype=np.int32)
