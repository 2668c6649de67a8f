"""Simulated passenger counters and their errors: undercount, drift, dead doors, resets and lost trips.

All errors keep the contract of stop visits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from ruter_dagster.sources.demo.faults import Faults, boarding_shares, demand_shares, reported_journeys
from ruter_dagster.sources.demo.fleet import Fleet
from ruter_dagster.sources.demo.random_numbers import generator
from ruter_dagster.sources.demo.simulation import Passengers

UNDERCOUNT = (0.005, 0.025)
"""Share of passengers that a vehicle's doors miss, uniform over the fleet."""
DRIFT = 0.03
"""Largest further share that is missed at the end of `_CALIBRATION_DAYS`, before the counters are calibrated again."""
DEAD_DOOR_SHARE = 0.02
"""Share of vehicle-periods in which one door counts nothing."""
LOST_SHARE = 0.015
"""Share of journeys whose counts are lost."""
RESET_SHARE = 0.01
"""Share of journeys during which the counters restart and lose the counts of a few stops."""
_CALIBRATION_DAYS = 180
_DEAD_DOOR_DAYS = 14
_RESET_STOPS = 3


@dataclass(frozen=True)
class Counts:
    """The reported counts of a date. All fields are matrices (position, journey); `delay` is in seconds at departure."""

    arrived: NDArray[np.bool_]
    boardings: NDArray[np.int64]
    alightings: NDArray[np.int64]
    departure_load: NDArray[np.int64]
    delay: NDArray[np.float64]


def count(seed: int, fleet: Fleet, passengers: Passengers, service_date: date, faults: Faults = ()) -> Counts:
    """Counts the passengers of a date: fewer than travelled, never negative, at most twice the capacity.

    Journeys without a fault have the counts of the network without faults.
    """
    timetable, vehicle = passengers.timetable, passengers.vehicle
    seen_boarding, seen_alighting = (share[vehicle] for share in detection_shares(seed, fleet, service_date))
    usual = _count(seed, fleet, passengers.usual or passengers, service_date, seen_boarding, seen_alighting)
    working = boarding_shares(timetable.network, fleet, service_date, faults)[vehicle]
    lost = demand_shares(timetable.network, service_date, faults)[timetable.line] < 1
    faulty = lost | (working < 1)
    if not faulty.any():
        counts = usual
    else:
        changed = _count(seed, fleet, passengers, service_date, seen_boarding * working, seen_alighting)
        # Draws of one journey move the random numbers of the next, so only the journeys with a fault are taken.
        names = ("boardings", "alightings", "departure_load")
        columns = {name: np.where(faulty, getattr(changed, name), getattr(usual, name)) for name in names}
        counts = replace(usual, **columns)
    return replace(counts, arrived=counts.arrived & reported_journeys(timetable, service_date, faults))


def _count(
    seed: int,
    fleet: Fleet,
    passengers: Passengers,
    service_date: date,
    seen_boarding: NDArray[np.float64],
    seen_alighting: NDArray[np.float64],
) -> Counts:
    """The counts of all journeys from a generator of their own. The shares that are counted are given for each journey."""
    timetable, vehicle = passengers.timetable, passengers.vehicle
    random = generator(seed, "counters", service_date.toordinal())
    arrived = random.random(len(vehicle)) >= LOST_SHARE
    kept = _kept_by_reset(random, timetable.stops, len(timetable.served))
    boardings = np.where(kept, random.binomial(passengers.boardings, seen_boarding), 0)
    alightings = np.where(kept, random.binomial(passengers.alightings, seen_alighting), 0)
    return Counts(
        arrived=timetable.served & arrived,
        boardings=boardings,
        alightings=alightings,
        departure_load=np.minimum(running_load(boardings, alightings), 2 * fleet.total_capacity[vehicle]),
        delay=_delays(random, timetable.served),
    )


def detection_shares(
    seed: int, fleet: Fleet, service_date: date
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of boarding and of alighting passengers that each vehicle counts on a date."""
    day, vehicles = service_date.toordinal(), len(fleet.doors)
    random = generator(seed, "counter errors")
    missed = random.uniform(*UNDERCOUNT, vehicles)
    unevenness = random.normal(0, 0.004, vehicles)
    slope, phase = random.uniform(0, DRIFT, vehicles), random.integers(0, _CALIBRATION_DAYS, vehicles)
    missed = missed + slope * ((day + phase) % _CALIBRATION_DAYS) / _CALIBRATION_DAYS
    dead = generator(seed, "dead doors", day // _DEAD_DOOR_DAYS).random(vehicles) < DEAD_DOOR_SHARE
    working_doors = 1 - dead / fleet.doors
    return (
        (1 - missed).clip(0, 1) * working_doors,
        (1 - missed + unevenness).clip(0, 1) * working_doors,
    )


def running_load(boardings: NDArray[np.int64], alightings: NDArray[np.int64]) -> NDArray[np.int64]:
    """Load that a counter reports: the running sum, which restarts at zero when it would become negative."""
    total = np.cumsum(boardings - alightings, axis=0)
    return total - np.minimum(np.minimum.accumulate(total, axis=0), 0)


def _kept_by_reset(
    random: np.random.Generator, stops: NDArray[np.int64], positions: int
) -> NDArray[np.bool_]:
    """False at stops whose counts a reset lost: a few consecutive stops in a few journeys."""
    begins = 1 + np.floor(random.random(len(stops)) * (stops - 1)).astype(np.int64)
    begins[random.random(len(stops)) >= RESET_SHARE] = positions
    since = np.arange(positions)[:, None] - begins
    return (since < 0) | (since >= _RESET_STOPS)


def _delays(random: np.random.Generator, served: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Delays in seconds. They grow along the journey and are sometimes slightly negative."""
    at_start = random.gamma(1.2, 40, served.shape[1]) - 15
    along = random.gamma(1.5, 6, served.shape[1])
    return np.round(at_start + along * np.arange(len(served))[:, None])
