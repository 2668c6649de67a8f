"""Vehicles of the simulated network: the fleet of each line, and the vehicle of each journey on a date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ruter_dagster.sources.demo.network import VEHICLE_TYPES, Scale, build_network
from ruter_dagster.sources.demo.random_numbers import generator
from ruter_dagster.sources.demo.timetable import Timetable, planned_headways

_LAYOVER_MINUTES = 5.0
_OTHER_TYPE_SHARE = 0.12


@dataclass(frozen=True)
class Fleet:
    """Vehicles as arrays. A line has `size[line]` vehicles, with numbers from `first[line]` on."""

    first: NDArray[np.int64]
    size: NDArray[np.int64]
    vehicle_ids: pl.Series
    seats: NDArray[np.int32]
    total_capacity: NDArray[np.int32]
    doors: NDArray[np.int64]

    def vehicle_of(self, timetable: Timetable, service_date: date) -> NDArray[np.int64]:
        """The vehicle of each journey. Vehicles take turns, and each date starts with another vehicle."""
        line = timetable.line
        return self.first[line] + (timetable.turn + service_date.toordinal()) % self.size[line]


@lru_cache(maxsize=4)
def build_fleet(seed: int, scale: Scale) -> Fleet:
    """Each line's fleet, large enough that no vehicle runs two journeys at once."""
    network = build_network(seed, scale)
    densest = np.minimum(planned_headways(network, 0), planned_headways(network, 1)).min(axis=1)
    durations = np.take_along_axis(network.minutes, network.pattern_stops[:, None] - 1, axis=1)
    longest = durations.reshape(-1, 2).max(axis=1)
    size = 2 * (np.floor((longest + _LAYOVER_MINUTES) / densest).astype(np.int64) + 1) + 1
    random = generator(seed, "fleet")
    line = np.repeat(np.arange(network.lines), size)
    numbers = {kind.name: number for number, kind in enumerate(VEHICLE_TYPES)}
    usual = np.array([numbers[kind.usual] for kind in network.classes])[network.line_class[line]]
    other = np.array([numbers[kind.other] for kind in network.classes])[network.line_class[line]]
    kind = np.where(random.random(len(line)) < _OTHER_TYPE_SHARE, other, usual)
    return Fleet(
        first=np.concatenate([[0], size.cumsum()[:-1]]),
        size=size,
        vehicle_ids=pl.Series([f"RUT:Vehicle:{10_000 + number}" for number in range(len(line))]),
        seats=np.array([vehicle.seats for vehicle in VEHICLE_TYPES], dtype=np.int32)[kind],
        total_capacity=np.array(
            [vehicle.seats + vehicle.standing for vehicle in VEHICLE_TYPES], dtype=np.int32
        )[kind],
        doors=np.array([vehicle.doors for vehicle in VEHICLE_TYPES])[kind],
    )
