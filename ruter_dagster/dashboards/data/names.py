"""Names and coordinates of lines and stops, from the timetable of a date."""

from __future__ import annotations

from datetime import date

import polars as pl

from ruter_dagster.dashboards.data.words import Names
from ruter_dagster.dashboards.engine import Reader
from ruter_dagster.dashboards.queries import LINES, STOPS


def names_of(reader: Reader, day: date) -> Names:
    """The names in the timetable of the date. Without a timetable of the date, ids stand for names."""
    lines, stops = reader.run(LINES, service_date=day), stops_of(reader, day)
    return Names(
        lines=_mapping(lines, "line_id", "line_name"),
        stops=_mapping(stops, "stop_id", "stop_name"),
        modes=_mapping(lines, "line_id", "mode"),
        stop_ids=stops["stop_id"].to_list(),
    )


def stops_of(reader: Reader, day: date) -> pl.DataFrame:
    """stop_id, stop_name, latitude and longitude of each stop of the date's timetable."""
    return reader.run(STOPS, service_date=day)


def _mapping(frame: pl.DataFrame, key: str, value: str) -> dict[str, str]:
    known = frame.drop_nulls(value)
    return dict(zip(known[key].to_list(), known[value].to_list(), strict=True))
