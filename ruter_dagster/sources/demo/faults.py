"""Faults of the demo network on a service date: what they do to its timetable, passengers and counts."""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray

from ruter_dagster.config.demo_faults import DemoFault, FaultKind
from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources.demo.fleet import Fleet
from ruter_dagster.sources.demo.network import Network, version_of
from ruter_dagster.sources.demo.timetable import Timetable

Faults = tuple[DemoFault, ...]
_LOST_PASSENGERS = 0.5


def timetable_version(service_date: date, faults: Faults) -> int:
    """Version of the timetable that is valid on the date: the other one during the fault `timetable_change`."""
    version = version_of(service_date)
    return 1 - version if _of_kind(faults, "timetable_change", service_date) else version


def demand_shares(network: Network, service_date: date, faults: Faults) -> NDArray[np.float64]:
    """Share of the usual passengers of each line on the date."""
    shares = np.ones(network.lines)
    for fault in _of_kind(faults, "half_the_passengers", service_date):
        shares[_affected_lines(network, fault)] *= _LOST_PASSENGERS
    return shares


def reported_journeys(timetable: Timetable, service_date: date, faults: Faults) -> NDArray[np.bool_]:
    """Whether the line of each journey reports its trips."""
    network = timetable.network
    lines = np.ones(network.lines, dtype=bool)
    for fault in _of_kind(faults, "silent_line", service_date):
        lines[_line(network, fault)] = False
    return lines[timetable.line]


def counted_vehicles(network: Network, fleet: Fleet, service_date: date, faults: Faults) -> NDArray[np.bool_]:
    """Whether each vehicle counts its passengers."""
    vehicles = np.ones(len(fleet.doors), dtype=bool)
    for fault in _of_kind(faults, "counter_failure", service_date):
        vehicles[_vehicle(network, fleet, fault)] = False
    return vehicles


def boarding_shares(
    network: Network, fleet: Fleet, service_date: date, faults: Faults
) -> NDArray[np.float64]:
    """Share of the boarding passengers who use a working door, by vehicle."""
    shares = np.ones(len(fleet.doors))
    for fault in _of_kind(faults, "dead_door", service_date):
        vehicle = _vehicle(network, fleet, fault)
        shares[vehicle] = 1 - 1 / fleet.doors[vehicle]
    return shares


def _of_kind(faults: Faults, kind: FaultKind, service_date: date) -> list[DemoFault]:
    return [fault for fault in faults if fault.kind == kind and fault.includes(service_date)]


def _affected_lines(network: Network, fault: DemoFault) -> NDArray[np.int64]:
    if fault.subject is None:
        return np.arange(network.lines)
    if fault.subject in network.modes:
        return np.flatnonzero(network.modes == fault.subject)
    return np.array([_line(network, fault)])


def _line(network: Network, fault: DemoFault) -> int:
    return _number(fault, list(network.line_ids), "line", _first_bus_line(network))


def _vehicle(network: Network, fleet: Fleet, fault: DemoFault) -> int:
    default = int(fleet.first[_first_bus_line(network)])
    return _number(fault, fleet.vehicle_ids.to_list(), "vehicle", default)


def _first_bus_line(network: Network) -> int:
    return int(np.flatnonzero(network.modes == "bus")[0])


def _number(fault: DemoFault, ids: list[str], thing: str, default: int) -> int:
    """Index of the fault's subject among `ids`. Raises `BadInput` if there is no such line or vehicle."""
    if fault.subject is None:
        return default
    if fault.subject not in ids:
        raise BadInput(
            f"RUTER_DEMO_FAULTS: {fault.kind}: the demo network has no {thing} {fault.subject!r}; "
            f"allowed: {ids[0]} to {ids[-1]}"
        )
    return ids.index(fault.subject)
