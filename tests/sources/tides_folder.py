"""A small folder of TIDES tables, and functions to change it."""

from datetime import date
from pathlib import Path

import pytest

from ruter_dagster.contracts import tables as contract
from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.validation import validate
from ruter_dagster.sources.tides import TidesSource

EXAMPLE = Path(__file__).parents[2] / "examples" / "aarhus_1a"
OSLO = "Europe/Oslo"
DAY = date(2026, 11, 20)

VISITS = """\
service_date,trip_id_performed,trip_stop_sequence,vehicle_id,stop_id,schedule_departure_time,boarding_1,boarding_2,alighting_1,alighting_2,departure_load,schedule_relationship
2026-11-20,p1,1,v1,jernbanetorget,2026-11-20T08:00:00+01:00,3,2,0,0,5,Scheduled
2026-11-20,p1,2,v1,nationaltheatret,2026-11-20T08:05:00+01:00,1,NA,2,1,3,Scheduled
2026-11-20,p2,1,v1,jernbanetorget,2026-11-20T09:00:00+01:00,4,0,0,0,4,Scheduled
2026-11-20,p2,2,v1,nationaltheatret,2026-11-20T09:05:00+01:00,0,0,4,0,0,Scheduled
"""
TRIPS = """\
service_date,trip_id_performed,vehicle_id,trip_id_scheduled,route_id,route_type,direction_id,trip_type,schedule_relationship
2026-11-20,p1,v1,s1,31,Bus Service,0,In service,Scheduled
2026-11-20,p2,v1,s2,31,Bus Service,1,In service,Scheduled
"""
VEHICLES = "vehicle_id,capacity_seated,capacity_standing\nv1,40,60\n"


def write_tables(folder: Path) -> Path:
    for name, content in (("stop_visits", VISITS), ("trips_performed", TRIPS), ("vehicles", VEHICLES)):
        (folder / f"{name}.csv").write_text(content, encoding="utf-8")
    return folder


def change(folder: Path, table: str, old: str, new: str) -> None:
    path = folder / f"{table}.csv"
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")


def source(folder: Path) -> TidesSource:
    return TidesSource(folder, OSLO)


def message(folder: Path, day: date = DAY) -> str:
    """The error message when the source, or the validation before the commit, refuses the date."""
    with pytest.raises(BadInput) as failure:
        validate(source(folder).stop_visits(day), contract.STOP_VISITS, {day})
    return str(failure.value)
