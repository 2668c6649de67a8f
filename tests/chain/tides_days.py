"""A small operator's TIDES tables, a file a date, and ways to spoil one date."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path

FORMER, DAY, NEW = date(2025, 3, 10), date(2025, 3, 11), date(2025, 3, 12)
"""Two dates that the chain has, and one that is about to come. Visits reach four days further, and so does the plan."""
LAST = NEW + timedelta(4)
STOPS = ("jernbanetorget", "stortinget", "nationaltheatret", "solli")
TRIPS = 10
VISITS_HEADER = (
    "service_date,trip_id_performed,trip_stop_sequence,vehicle_id,stop_id,schedule_departure_time,"
    "boarding_1,alighting_1,departure_load"
)
TRIPS_HEADER = (
    "service_date,trip_id_performed,vehicle_id,trip_id_scheduled,route_id,route_type,direction_id,trip_type"
)

Spoil = Callable[[Path, date], None]


def write_tides(folder: Path) -> Path:
    """Visits and trips of every date from FORMER to LAST."""
    for table in ("stop_visits", "trips_performed"):
        (folder / table).mkdir(parents=True)
    for offset in range((LAST - FORMER).days + 1):
        day = FORMER + timedelta(offset)
        visits_file(folder, day).write_text("\n".join([VISITS_HEADER, *_visits(day)]) + "\n")
        trips = [f"{day},p{trip},v1,s{trip},31,Bus,{trip % 2},In service" for trip in range(TRIPS)]
        (folder / "trips_performed" / f"{day}.csv").write_text("\n".join([TRIPS_HEADER, *trips]) + "\n")
    (folder / "vehicles.csv").write_text("vehicle_id,capacity_seated,capacity_standing\nv1,40,60\n")
    return folder


def visits_file(folder: Path, day: date) -> Path:
    return folder / "stop_visits" / f"{day}.csv"


def replace(old: str, new: str, count: int = -1, also: Sequence[tuple[str, str]] = ()) -> Spoil:
    """Changes the text of the date's visits, here and `also` elsewhere; `DATE` stands for the date."""

    def spoil(folder: Path, day: date) -> None:
        path = visits_file(folder, day)
        for before, after in ((old, new), *also):
            content, former = path.read_text(), before.replace("DATE", str(day))
            assert former in content
            path.write_text(content.replace(former, after.replace("DATE", str(day)), count))

    return spoil


def append(rows: str) -> Spoil:
    """Adds rows to the date's visits; `DATE` stands for the date, `NEXT` for the date after it."""

    def spoil(folder: Path, day: date) -> None:
        text = rows.replace("DATE", str(day)).replace("NEXT", str(day + timedelta(1)))
        with visits_file(folder, day).open("a") as file:
            file.write(text)

    return spoil


def with_many_trips(folder: Path, day: date) -> None:
    """More trips, under names that do not compress: the date's rows take a file of more than 30 KB."""
    names = [hashlib.sha256(f"{day} {number}".encode()).hexdigest() for number in range(1000)]
    append("".join(f"DATE,{name},1,v1,solli,DATET12:00:00+01:00,2,2,9\n" for name in names))(folder, day)
    with (folder / "trips_performed" / f"{day}.csv").open("a") as file:
        file.writelines(f"{day},{name},v1,{name},31,Bus,0,In service\n" for name in names)


def without_trips(*trips: int) -> Spoil:
    def spoil(folder: Path, day: date) -> None:
        path = visits_file(folder, day)
        lost = tuple(f"{day},p{trip}," for trip in trips)
        path.write_text(
            "".join(line for line in path.read_text().splitlines(True) if not line.startswith(lost))
        )

    return spoil


def cut_off(folder: Path, day: date) -> None:
    """The copy of the file broke off in the middle of a row."""
    path = visits_file(folder, day)
    rows = path.read_text().splitlines(True)
    path.write_text("".join(rows[:5]) + rows[5][:20])


def _visits(day: date) -> list[str]:
    rows = []
    for trip in range(TRIPS):
        boarded = 4 + (trip + day.day) % 5
        counts = ((boarded, 0, boarded), (2, 1, boarded + 1), (0, 1, boarded), (0, boarded, 0))
        for sequence, (stop, (boardings, alightings, load)) in enumerate(
            zip(STOPS, counts, strict=True), start=1
        ):
            time = f"{day}T{7 + trip:02}:{5 * sequence:02}:00+01:00"
            rows.append(f"{day},p{trip},{sequence},v1,{stop},{time},{boardings},{alightings},{load}")
    return rows
