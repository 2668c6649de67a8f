"""Simulates the passengers of all journeys of a service date, and their expected number."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from ruter_dagster.sources.demo.calendar import day_of
from ruter_dagster.sources.demo.demand import build_demand
from ruter_dagster.sources.demo.faults import Faults, demand_shares, timetable_version
from ruter_dagster.sources.demo.fleet import build_fleet
from ruter_dagster.sources.demo.network import Scale, build_network
from ruter_dagster.sources.demo.random_numbers import generator
from ruter_dagster.sources.demo.timetable import Timetable, build_timetable
from ruter_dagster.sources.demo.variation import HOURS, demand_factors

LEFT_BEHIND_ABOVE = 1.3
"""A vehicle takes no more passengers above this multiple of its seats and standing places."""
_JOURNEY_VARIATION = {"bus": 0.18, "tram": 0.15, "metro": 0.10, "boat": 0.20}
"""Coefficient of variation of a journey's boardings beyond Poisson's, because of delays and uneven headways."""
_STOP_DISPERSION = 8.0
"""Shape of the gamma distribution of a stop's mean boardings, because passengers travel in groups."""


@dataclass(frozen=True)
class Passengers:
    """Passengers of a service date as matrices (position, journey), zero after a journey's last stop.

    `mean_load` is the expectation of `load` without the random noise, which a perfect forecast would return. It ignores that
    full vehicles leave passengers behind. `usual` are the passengers without the fault `half_the_passengers`; None if no line
    has the fault.
    """

    timetable: Timetable
    vehicle: NDArray[np.int64]
    boardings: NDArray[np.int64]
    alightings: NDArray[np.int64]
    load: NDArray[np.int64]
    mean_load: NDArray[np.float64]
    usual: Passengers | None = None


def timetable_of(seed: int, scale: Scale, service_date: date, faults: Faults = ()) -> Timetable:
    """The timetable of a date."""
    return build_timetable(seed, scale, timetable_version(service_date, faults), day_of(service_date).type)


def simulate(seed: int, scale: Scale, service_date: date, faults: Faults = ()) -> Passengers:
    """Simulates a service date. The same date, seed, scale and faults always give the same passengers.

    Lines without a fault have the passengers of the network without faults.
    """
    timetable = timetable_of(seed, scale, service_date, faults)
    vehicle = build_fleet(seed, scale).vehicle_of(timetable, service_date)
    means = mean_boardings(seed, scale, service_date, faults)
    usual = _passengers(seed, scale, service_date, timetable, vehicle, means)
    shares = demand_shares(timetable.network, service_date, faults)[timetable.line]
    if (shares == 1).all():
        return usual
    fewer = _passengers(seed, scale, service_date, timetable, vehicle, means * shares)
    # Draws of one line move the random numbers of the next, so only the lines with the fault are taken.
    columns = {
        name: np.where(shares < 1, getattr(fewer, name), getattr(usual, name))
        for name in ("boardings", "alightings", "load", "mean_load")
    }
    return Passengers(timetable, vehicle, **columns, usual=usual)


def _passengers(
    seed: int,
    scale: Scale,
    service_date: date,
    timetable: Timetable,
    vehicle: NDArray[np.int64],
    means: NDArray[np.float64],
) -> Passengers:
    """The passengers of all journeys for given mean boardings, from a generator of their own."""
    alighting = build_demand(seed, scale, timetable.version, day_of(service_date).type).alighting
    random = generator(seed, "passengers", service_date.toordinal())
    total_capacity = build_fleet(seed, scale).total_capacity[vehicle]
    capacity = np.floor(LEFT_BEHIND_ABOVE * total_capacity).astype(np.int64)
    rides = _ride(_waiting_passengers(random, timetable, means), alighting, capacity, random)
    return Passengers(timetable, vehicle, *rides, _mean_load(means, alighting))


def mean_boardings(seed: int, scale: Scale, service_date: date, faults: Faults = ()) -> NDArray[np.float64]:
    """Expected boardings at every position of every journey of a date, if no passengers stay away because of a fault."""
    day, timetable = day_of(service_date), timetable_of(seed, scale, service_date, faults)
    demand, network = build_demand(seed, scale, timetable.version, day.type), build_network(seed, scale)
    in_school = not (day.school_holiday or day.bridge_day or day.is_eve)
    usual = demand.boardings + demand.pupils if in_school else demand.boardings
    return usual * demand_factors(network, day).ravel()[timetable.line * HOURS + timetable.hour]


def _waiting_passengers(
    random: np.random.Generator, timetable: Timetable, means: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Passengers who want to board at each stop: Poisson, with gamma distributed means by journey and stop (negative binomial)."""
    variation = np.array([_JOURNEY_VARIATION[str(mode)] for mode in timetable.network.modes])[timetable.line]
    journey = random.gamma(variation**-2, variation**2)
    stop = random.standard_gamma(_STOP_DISPERSION, means.shape) / _STOP_DISPERSION
    return random.poisson(means * journey * stop)


def _ride(
    waiting: NDArray[np.int64],
    alighting: NDArray[np.float64],
    capacity: NDArray[np.int64],
    random: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Boardings, alightings and load of all journeys, computed position by position. Journeys start and end empty."""
    boardings, alightings, load = (np.zeros_like(waiting) for _ in range(3))
    on_board = np.zeros_like(capacity)
    for position in range(len(waiting)):
        alightings[position] = random.binomial(on_board, alighting[position])
        staying = on_board - alightings[position]
        boardings[position] = np.minimum(waiting[position], np.maximum(capacity - staying, 0))
        on_board = staying + boardings[position]
        load[position] = on_board
    return boardings, alightings, load


def _mean_load(means: NDArray[np.float64], alighting: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected load. It is linear in the mean boardings, because passengers alight independently of each other."""
    expected = np.zeros_like(means)
    on_board = np.zeros(means.shape[1])
    for position in range(len(means)):
        on_board = on_board * (1 - alighting[position]) + means[position]
        expected[position] = on_board
    return expected
