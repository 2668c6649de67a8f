"""The mean demand of an ordinary day of each day type: boardings and alighting probabilities by stop and journey.

Differences between dates belong in variation.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ruter_dagster.sources.demo.calendar import DayType
from ruter_dagster.sources.demo.network import Network, Scale
from ruter_dagster.sources.demo.random_numbers import generator
from ruter_dagster.sources.demo.timetable import Timetable, build_timetable

_HEADWAY_ELASTICITY = 0.7
"""Exponent of the headway. Boardings per departure grow less than the headway, because frequent service attracts passengers."""


@dataclass(frozen=True)
class Demand:
    """Mean boardings and alighting probabilities of a timetable's journeys; matrices (position, journey)."""

    boardings: NDArray[np.float64]
    """Mean boardings without pupils."""
    pupils: NDArray[np.float64]
    """Mean boardings of pupils, on school days only."""
    alighting: NDArray[np.float64]
    """Probability that a passenger on board alights; 1 at the last stop."""


@lru_cache(maxsize=16)
def build_demand(seed: int, scale: Scale, version: int, day_type: DayType) -> Demand:
    """The demand of an ordinary day, the same for all dates of a timetable version and day type."""
    timetable = build_timetable(seed, scale, version, day_type)
    network, pattern, positions = timetable.network, timetable.pattern, len(timetable.served)
    halfway = (
        timetable.minute[0] + np.take_along_axis(timetable.minute, timetable.stops[None] - 1, 0)[0]
    ) / 120
    inbound = _inbound_share(halfway, day_type)
    homes = np.where(timetable.served, network.homes.T[:positions, pattern], 0)
    jobs = np.where(timetable.served, network.jobs.T[:positions, pattern], 0)
    origins, destinations = _blend(homes, jobs, inbound)
    ahead = np.cumsum(destinations[::-1], axis=0)[::-1]
    journeys = origins * (ahead - destinations) / _typical_trips(network)[timetable.line]
    journeys *= _departure_size(timetable)
    hour = timetable.minute / 60
    return Demand(
        boardings=journeys * _hourly_rate(hour, day_type, network.peakedness[timetable.line]),
        pupils=journeys * _pupil_rate(hour, day_type, _school_strength(network)[timetable.line]),
        alighting=np.where(timetable.served, destinations / np.maximum(ahead, 1e-9), 1.0),
    )


def _blend(
    homes: NDArray[np.float64], jobs: NDArray[np.float64], inbound: NDArray[np.float64] | float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of stops as origin and as destination. `inbound` is the share of passengers who travel to work."""
    return inbound * homes + (1 - inbound) * jobs, inbound * jobs + (1 - inbound) * homes


def _typical_trips(network: Network) -> NDArray[np.float64]:
    """Origin-destination weight of a line's journey, averaged over directions and times of day."""
    served = np.arange(network.homes.shape[1]) < network.pattern_stops[:, None]
    homes, jobs = np.where(served, network.homes, 0), np.where(served, network.jobs, 0)
    totals = []
    for inbound in (0.15, 0.5, 0.9):
        origins, destinations = _blend(homes, jobs, inbound)
        ahead = np.cumsum(destinations[:, ::-1], axis=1)[:, ::-1] - destinations
        totals.append((origins * ahead).sum(axis=1))
    return np.mean(totals, axis=0).reshape(-1, 2).mean(axis=1)


def _departure_size(timetable: Timetable) -> NDArray[np.float64]:
    """Boardings of each journey at an hourly rate of 1. They depend on the line and the headway."""
    network = timetable.network
    usual = np.array([kind.boardings for kind in network.classes])[network.line_class]
    peak = np.array([kind.headways[0] for kind in network.classes])[network.line_class]
    line = timetable.line
    return (usual * network.popularity)[line] * (timetable.headway / peak[line]) ** _HEADWAY_ELASTICITY


def _bell(hour: NDArray[np.float64], centre: float, width: float) -> NDArray[np.float64]:
    return np.exp(-0.5 * ((hour - centre) / width) ** 2)


def _hourly_rate(
    hour: NDArray[np.float64], day_type: DayType, peakedness: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Relative demand by hour, about 1 in the peaks of a working day."""
    if day_type == "sunday":
        return 0.38 * _bell(hour, 15.2, 3.2) + 0.05
    if day_type == "saturday":
        return 0.52 * _bell(hour, 14.3, 2.8) + 0.22 * _bell(hour, 22.5, 2.6) + 0.06
    peaks = 0.85 * _bell(hour, 7.7, 0.75) + 0.75 * _bell(hour, 16.1, 1.25)
    daytime = 0.40 * _bell(hour, 12.5, 3.6) + 0.12 * _bell(hour, 20, 1.8) + 0.05
    night_out = 0.16 * _bell(hour, 23.5, 2.2) if day_type == "friday" else 0.0
    return peakedness * peaks + daytime + night_out


def _pupil_rate(
    hour: NDArray[np.float64], day_type: DayType, strength: NDArray[np.float64]
) -> NDArray[np.float64]:
    if day_type in ("saturday", "sunday"):
        return np.zeros_like(hour)
    return strength * (_bell(hour, 8.0, 0.3) + 0.7 * _bell(hour, 14.3, 0.6))


def _inbound_share(hour: NDArray[np.float64], day_type: DayType) -> NDArray[np.float64]:
    """Share of passengers who travel towards work and the city centre. The others travel home."""
    if day_type in ("saturday", "sunday"):
        return 0.5 + 0.18 * _bell(hour, 12, 2) - 0.22 * _bell(hour, 18, 3)
    return 0.5 + 0.42 * _bell(hour, 7.8, 1.4) - 0.38 * _bell(hour, 16.3, 2.0) - 0.12 * _bell(hour, 22, 3)


def _school_strength(network: Network) -> NDArray[np.float64]:
    strength = np.array([kind.school for kind in network.classes])[network.line_class]
    return strength * generator(network.seed, "schools").uniform(0.3, 1.7, network.lines)
