"""The calendar of the simulated network: day types, public and school holidays, bridge days and events."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from ruter_dagster.config.operator import Event, Period

DayType = Literal["weekday", "friday", "saturday", "sunday"]
"""The timetable of a day. Fridays have a night service, and public holidays have Sunday's timetable."""


@dataclass(frozen=True)
class Day:
    """One service date. `school_holiday` and `public_holiday` are names, None on other days."""

    date: date
    type: DayType
    public_holiday: str | None
    school_holiday: str | None
    bridge_day: bool
    events: tuple[Event, ...]

    @property
    def is_eve(self) -> bool:
        """Christmas Eve and New Year's Eve: half a working day, nearly empty in the evening."""
        return (self.date.month, self.date.day) in ((12, 24), (12, 31))


@lru_cache(maxsize=2048)
def day_of(service_date: date) -> Day:
    """The calendar entry of a date."""
    school_holidays, events = _calendar()
    return Day(
        date=service_date,
        type=_day_type(service_date),
        public_holiday=_public_holidays(service_date.year).get(service_date),
        school_holiday=next(
            (period.name for period in school_holidays if period.first <= service_date <= period.last), None
        ),
        bridge_day=_is_bridge(service_date),
        events=tuple(event for event in events if event.date == service_date),
    )


def _day_type(day: date) -> DayType:
    if day in _public_holidays(day.year) or day.weekday() == 6:
        return "sunday"
    if day.weekday() == 5 or (day.month, day.day) in ((12, 24), (12, 31)):
        return "saturday"
    return "friday" if day.weekday() == 4 else "weekday"


def _is_free(day: date) -> bool:
    return day.weekday() >= 5 or day in _public_holidays(day.year)


def _is_bridge(day: date) -> bool:
    """A working day between two free ones."""
    return not _is_free(day) and _is_free(day - timedelta(1)) and _is_free(day + timedelta(1))


@lru_cache(maxsize=64)
def _public_holidays(year: int) -> dict[date, str]:
    from holidays import country_holidays

    return dict(country_holidays("NO", years=year))


@lru_cache(maxsize=1)
def _calendar() -> tuple[tuple[Period, ...], tuple[Event, ...]]:
    content = tomllib.loads(files(__package__ or "").joinpath("calendar.toml").read_text(encoding="utf-8"))
    return (
        tuple(Period.model_validate(period) for period in content["school_holidays"]),
        tuple(Event.model_validate(event) for event in content["events"]),
    )
