"""The simulated network: scales, lines, stop points, vehicles. Departure times belong in timetable.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ruter_dagster.sources.demo.random_numbers import generator

Scale = Literal["demo", "ruter"]

TIMETABLE_CHANGE = date(2026, 10, 5)
"""First service date of version 1 of the timetable. Version 0 is valid before it."""


@dataclass(frozen=True)
class VehicleType:
    """Seats, standing places and doors of a vehicle type. A dead door loses its share of the counts."""

    name: str
    seats: int
    standing: int
    doors: int


VEHICLE_TYPES = (
    VehicleType("bus 12 m", 34, 41, 3),
    VehicleType("articulated bus 18 m", 45, 75, 4),
    VehicleType("regional bus 15 m", 53, 24, 2),
    VehicleType("tram 22 m", 58, 82, 4),
    VehicleType("tram 34 m", 72, 148, 6),
    VehicleType("metro 3 cars", 124, 276, 9),
    VehicleType("metro 6 cars", 248, 552, 18),
    VehicleType("ferry", 180, 220, 2),
    VehicleType("fast boat", 220, 60, 2),
)


@dataclass(frozen=True)
class LineClass:
    """A group of similar lines. Headways are in minutes: peak, daytime, evening.

    - `lines`: number of lines in the group.
    - `boardings`: mean boardings of a departure on a working day.
    - `usual`, `other`: the planned vehicle type, and the type that sometimes replaces it.
    """

    mode: str
    first_number: int
    lines: int
    stops: tuple[int, int]
    minutes_between_stops: float
    headways: tuple[float, float, float]
    boardings: float
    usual: str
    other: str
    through: bool = True
    at_night: bool = False
    school: float = 0.0


SCALES: dict[Scale, tuple[LineClass, ...]] = {
    "demo": (
        LineClass(
            "metro", 1, 2, (17, 21), 1.9, (20, 40, 60), 300, "metro 6 cars", "metro 3 cars", at_night=True
        ),
        LineClass("tram", 11, 3, (14, 18), 1.9, (30, 40, 60), 95, "tram 34 m", "tram 22 m", at_night=True),
        LineClass(
            "bus", 20, 3, (13, 17), 2.0, (30, 60, 60), 62, "articulated bus 18 m", "bus 12 m", True, True, 0.3
        ),
        LineClass(
            "bus", 60, 2, (11, 15), 2.2, (30, 60, 60), 36, "bus 12 m", "articulated bus 18 m", school=0.7
        ),
        LineClass("boat", 601, 2, (3, 6), 6.0, (30, 60, 60), 70, "ferry", "fast boat", through=False),
    ),
    "ruter": (
        LineClass(
            "metro", 1, 5, (24, 32), 1.9, (7.5, 10, 15), 285, "metro 6 cars", "metro 3 cars", at_night=True
        ),
        LineClass("tram", 11, 6, (18, 26), 1.9, (10, 12, 20), 92, "tram 34 m", "tram 22 m", at_night=True),
        LineClass(
            "bus",
            20,
            60,
            (17, 25),
            2.0,
            (15, 20, 30),
            58,
            "articulated bus 18 m",
            "bus 12 m",
            True,
            True,
            0.3,
        ),
        LineClass(
            "bus", 100, 117, (15, 23), 2.1, (20, 30, 45), 40, "bus 12 m", "articulated bus 18 m", school=0.6
        ),
        LineClass(
            "bus", 400, 100, (16, 24), 2.3, (30, 45, 60), 33, "regional bus 15 m", "bus 12 m", school=0.6
        ),
        LineClass("boat", 601, 12, (3, 7), 6.0, (20, 30, 60), 85, "ferry", "fast boat", through=False),
    ),
}


@dataclass(frozen=True)
class Network:
    """Lines and patterns as arrays. A pattern is a line in one direction: pattern = 2 x line + direction.

    Matrices are (pattern, position); positions after a pattern's last stop are never read.
    """

    seed: int
    scale: Scale
    classes: tuple[LineClass, ...]
    line_class: NDArray[np.int64]
    line_ids: NDArray[np.object_]
    modes: NDArray[np.object_]
    popularity: NDArray[np.float64]
    peakedness: NDArray[np.float64]
    growth: NDArray[np.float64]
    pattern_stops: NDArray[np.int64]
    minutes: NDArray[np.float64]
    homes: NDArray[np.float64]
    jobs: NDArray[np.float64]
    quays: tuple[NDArray[np.int64], NDArray[np.int64]] = field(repr=False)
    """Number of the stop point at each position, for version 0 and 1 of the timetable. One stop moves between them."""
    new_line: int = 0
    """Index of the line that starts with the timetable change."""
    relieved_line: int = 0
    """Index of the line that loses passengers to the new one."""

    @property
    def lines(self) -> int:
        return len(self.line_class)

    def class_of(self, line: int) -> LineClass:
        return self.classes[self.line_class[line]]


def version_of(service_date: date) -> int:
    """Version of the timetable that is valid on the date."""
    return int(service_date >= TIMETABLE_CHANGE)


@lru_cache(maxsize=4)
def build_network(seed: int, scale: Scale) -> Network:
    """The network of a seed. Lines, stops and demand are the same on every date."""
    classes = SCALES[scale]
    random = generator(seed, f"network {scale}")
    line_class = np.repeat(np.arange(len(classes)), [kind.lines for kind in classes])
    numbers = np.concatenate([kind.first_number + np.arange(kind.lines) for kind in classes])
    lines = len(line_class)
    last_bus = max(line for line in range(lines) if classes[line_class[line]].mode == "bus")
    stop_places = _StopPlaces(random, classes)
    layouts = [stop_places.line(classes[kind]) for kind in line_class]
    layouts[last_bus] = stop_places.beside(layouts[last_bus - 1])
    stops = np.array([len(layout) for layout in layouts])
    stop_place = _pad([side for layout in layouts for side in (layout, layout[::-1])])
    quays = stop_place * 2 + np.arange(2 * lines)[:, None] % 2
    moved = np.where(stop_place == layouts[last_bus - 1][2], quays + 2 * stop_places.count, quays)
    return Network(
        seed=seed,
        scale=scale,
        classes=classes,
        line_class=line_class,
        line_ids=np.array([f"RUT:Line:{number}" for number in numbers], dtype=object),
        modes=np.array([classes[kind].mode for kind in line_class], dtype=object),
        popularity=np.exp(random.normal(-0.03, 0.25, lines)),
        peakedness=np.exp(random.normal(0, 0.3, lines)),
        growth=random.normal(0.03, 0.03, lines),
        pattern_stops=np.repeat(stops, 2),
        minutes=_running_minutes(random, classes, line_class, stops),
        homes=stop_places.homes[stop_place],
        jobs=stop_places.jobs[stop_place],
        quays=(quays, moved),
        new_line=last_bus,
        relieved_line=last_bus - 1,
    )


class _StopPlaces:
    """Stop places: a hub that lines share, and corridors out of the hub that some lines share."""

    def __init__(self, random: np.random.Generator, classes: tuple[LineClass, ...]) -> None:
        self._random, self._hubs, self._corridors, count = random, {}, {}, 0
        for network in ("metro", "street", "boat"):
            kinds = [kind for kind in classes if _network_of(kind) == network]
            longest = max(kind.stops[1] for kind in kinds)
            corridors = max(2, round(1.2 * sum(kind.lines for kind in kinds)))
            hub = 1 if network == "boat" else 4
            self._hubs[network] = count + np.arange(hub)
            self._corridors[network] = (
                count + hub + np.arange(corridors * longest).reshape(corridors, longest)
            )
            count += hub + corridors * longest
        self.count = count
        centrality = np.ones(count)
        for rows in self._corridors.values():
            centrality[rows] = 0.85 / (1 + 0.3 * (1 + np.arange(rows.shape[1])))
        size = np.exp(random.normal(0, 0.5, count))
        self.homes, self.jobs = size * (1.1 - centrality), size * (0.08 + centrality**1.5)

    def line(self, kind: LineClass) -> NDArray[np.int64]:
        """Stop places in direction 0: into the hub on one corridor and, for through lines, out on another."""
        network = _network_of(kind)
        hub, corridors = self._hubs[network], self._corridors[network]
        stops = int(self._random.integers(kind.stops[0], kind.stops[1] + 1))
        into, out = self._random.choice(len(corridors), 2, replace=False)
        outward = (stops - len(hub)) // 2 if kind.through else 0
        inward = stops - len(hub) - outward
        return np.concatenate([corridors[into, :inward][::-1], hub, corridors[out, :outward]])

    def beside(self, layout: NDArray[np.int64]) -> NDArray[np.int64]:
        """A line that shares the first two thirds of another's stop places."""
        return layout[: max(4, 2 * len(layout) // 3)]


def _network_of(kind: LineClass) -> str:
    return "street" if kind.mode in ("bus", "tram") else kind.mode


def _running_minutes(
    random: np.random.Generator,
    classes: tuple[LineClass, ...],
    line_class: NDArray[np.int64],
    stops: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Planned minutes from the first stop, whole, at least one between stops; (pattern, position)."""
    pace = np.array([classes[kind].minutes_between_stops for kind in line_class]).repeat(2)
    gaps = pace[:, None] * random.uniform(0.6, 1.4, (2 * len(line_class), stops.max()))
    gaps[:, 0] = 0
    return np.round(gaps).clip(np.where(np.arange(stops.max()) == 0, 0, 1)).cumsum(axis=1)


def _pad(rows: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """A matrix of rows of unequal length, each continued with its last value."""
    width = max(len(row) for row in rows)
    return np.stack([np.pad(row, (0, width - len(row)), mode="edge") for row in rows])
