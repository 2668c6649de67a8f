"""A small GTFS feed, and functions to change and store it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from ruter_dagster.sources.gtfs import Feed
from ruter_dagster.sources.gtfs_files import find_feeds

OSLO = "Europe/Oslo"
FRIDAY, SATURDAY = date(2026, 11, 20), date(2026, 11, 21)

FEED = {
    "agency.txt": "agency_id,agency_name,agency_timezone\nR,Ruter,Europe/Oslo\n",
    "feed_info.txt": "feed_version,feed_start_date,feed_end_date\nautumn-1,20261116,20261213\n",
    "routes.txt": "route_id,route_short_name,route_long_name,route_type\n31,31,Snarøya - Grorud,3\n17,17,,0\n",
    "stops.txt": (
        "stop_id,stop_code,stop_name,stop_lat,stop_lon\n"
        "jernbanetorget,7501,Jernbanetorget,59.911,10.750\n"
        "stortinget,7502,Stortinget,59.913,10.741\n"
        "nationaltheatret,7503,Nationaltheatret,59.915,10.733\n"
    ),
    "trips.txt": (
        "trip_id,route_id,service_id,direction_id,block_id\n"
        "s1,31,weekdays,0,b1\ns2,31,weekdays,1,b1\nlate,31,weekends,0,\ntram,17,weekdays,,b2\n"
    ),
    "stop_times.txt": (
        "trip_id,arrival_time,departure_time,stop_id,stop_sequence\n"
        "s1,08:00:00,08:00:00,jernbanetorget,10\n"
        "s1,08:02:00,08:03:00,stortinget,20\n"
        "s1,08:05:00,08:06:00,nationaltheatret,30\n"
        "s2,09:00:00,09:00:00,nationaltheatret,0\n"
        "s2,09:05:00,09:05:00,jernbanetorget,1\n"
        "late,25:10:00,25:10:00,jernbanetorget,1\n"
        "late,25:20:00,25:20:00,nationaltheatret,2\n"
        "tram,7:00:00,7:00:00,stortinget,1\n"
        "tram,7:04:00,7:04:00,nationaltheatret,2\n"
    ),
    "calendar.txt": (
        "service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date\n"
        "weekdays,1,1,1,1,1,0,0,20261101,20261231\n"
        "weekends,0,0,0,0,0,1,1,20261101,20261231\n"
    ),
    "calendar_dates.txt": "service_id,date,exception_type\nweekdays,20261203,2\nweekends,20261203,1\n",
}
"""Valid from 2026-11-16 to 2026-12-13; on Thursday 2026-12-03 a weekend's service runs."""


def changed(name: str, old: str, new: str) -> dict[str, str]:
    """The feed with a text of one file replaced."""
    assert old in FEED[name]
    return FEED | {name: FEED[name].replace(old, new)}


def without(*names: str) -> dict[str, str]:
    return {name: text for name, text in FEED.items() if name not in names}


def write_folder(folder: Path, feed: Mapping[str, str] = FEED) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in feed.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def write_zip(path: Path, feed: Mapping[str, str] = FEED, inside: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in feed.items():
            archive.writestr(inside + name, text)
    return path


def feed_of(path: Path, time_zone: str = OSLO, **modes: str) -> Feed:
    [files] = find_feeds(str(path))
    return Feed(files, time_zone, modes)
