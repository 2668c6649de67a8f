"""The calendar of an operator: weekdays, public and school holidays, events, renamed lines and stops. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cache

import polars as pl

from ruter_dagster.contracts.features import DAY_CLASSES

SUNDAY = 6
_MAX_HOLIDAY_DAYS = 14
_NEARBY_DAYS = 3


@dataclass(frozen=True)
class Event:
    """An event that attracts many passengers on a service date, between two slot hours, both included.

    Empty `lines` and `stops` mean the whole network. If both are given, the event affects those stops of those lines.
    """

    service_date: date
    from_hour: int = 0
    to_hour: int = 47
    lines: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rename:
    """A changed id of a line or stop (`column` line_id or stop_id): `was` before the service date `first`, `now` since then."""

    column: str
    was: str
    now: str
    first: date


@dataclass(frozen=True)
class OperatingCalendar:
    """An operator's country (ISO 3166), time zone (IANA), school holidays, events and renames of lines and stops."""

    country: str
    time_zone: str
    school_holidays: frozenset[date] = frozenset()
    subdivision: str | None = None
    events: tuple[Event, ...] = field(default=())
    renames: tuple[Rename, ...] = field(default=())

    def is_public_holiday(self, day: date) -> bool:
        return (
            day in _holidays(self.country, self.subdivision, day.year, "public") and day.weekday() != SUNDAY
        )

    def is_minor_holiday(self, day: date) -> bool:
        return day in _holidays(self.country, self.subdivision, day.year, "optional")

    def comparable_weekday(self, day: date) -> int:
        """The weekday whose history resembles the day: Sunday on a public holiday."""
        return SUNDAY if self.is_public_holiday(day) else day.weekday()

    def day_class(self, day: date) -> str:
        return DAY_CLASSES[max(0, self.comparable_weekday(day) - 3)]

    def kind_of_loads(self, day: date) -> tuple[int, bool] | None:
        """Weekday and school holiday, which the loads of comparable dates share; None on holidays and bridge days, which have none."""
        if self.is_public_holiday(day) or self.is_minor_holiday(day) or self._is_bridge_day(day):
            return None
        return day.weekday(), day in self.school_holidays

    def comparable_dates(self, day: date, first_days: int, last_days: int) -> list[date]:
        """Dates from `last_days` to `first_days` before `day` with the same comparable weekday, newest first."""
        return _matching_dates(day, first_days, last_days, self.comparable_weekday)

    def dates_of_class(self, day: date, first_days: int, last_days: int) -> list[date]:
        """Dates from `last_days` to `first_days` before `day` of the same class of day, newest first."""
        return _matching_dates(day, first_days, last_days, self.day_class)

    def days(self, dates: Iterable[date]) -> pl.DataFrame:
        """One row per service date: the calendar columns of contract `features.departure_features` except `events`."""
        rows = [self._day(day) for day in sorted(set(dates))]
        schema = {"service_date": pl.Date} | {
            name: pl.Boolean if isinstance(value, bool) else pl.String if isinstance(value, str) else pl.Int32
            for name, value in self._day(date(2000, 1, 3)).items()
            if name != "service_date"
        }
        return pl.DataFrame(rows, schema=schema, orient="row")

    def event_count(self, days: Sequence[date], days_before: int = 0) -> pl.Expr:
        """Number of events that affect a departure (service_date, slot_hour, line_id, stop_id) of `days`, or one `days_before` earlier."""
        event_days, later = set(days), timedelta(days_before)
        shifted = (replace(event, service_date=event.service_date + later) for event in self.events)
        affecting = [_affects(event).cast(pl.Int32) for event in shifted if event.service_date in event_days]
        return pl.sum_horizontal(pl.lit(0, pl.Int32), *affecting).cast(pl.Int32).alias("events")

    def present_id(self, column: str) -> pl.Expr:
        """The present id of a line or stop (`column` line_id or stop_id) after all its renames since its `service_date`."""
        present = pl.col(column)
        of_column = [rename for rename in self.renames if rename.column == column]
        # All renames of one date at once, so that two lines may swap their ids.
        for first in sorted({rename.first for rename in of_column}):
            ids = {rename.was: rename.now for rename in of_column if rename.first == first}
            present = pl.when(pl.col("service_date") < first).then(present.replace(ids)).otherwise(present)
        return present

    def _day(self, day: date) -> dict[str, date | str | int | bool]:
        def near(days: range) -> list[int]:
            return [offset for offset in days if self.is_public_holiday(day + timedelta(offset))]

        school = [day - timedelta(7 * week) in self.school_holidays for week in range(5)]
        return {
            "service_date": day,
            "weekday": day.weekday(),
            "comparable_weekday": self.comparable_weekday(day),
            "day_class": self.day_class(day),
            "public_holiday": self.is_public_holiday(day),
            "minor_holiday": self.is_minor_holiday(day),
            "bridge_day": self._is_bridge_day(day),
            "school_holiday": school[0],
            "school_holiday_last_week": school[1],
            "school_holiday_weeks": sum(school[1:]),
            "days_since_public_holiday": -max(
                near(range(1 - _MAX_HOLIDAY_DAYS, 1)), default=-_MAX_HOLIDAY_DAYS
            ),
            "days_to_public_holiday": min(near(range(_MAX_HOLIDAY_DAYS)), default=_MAX_HOLIDAY_DAYS),
            "public_holidays_nearby": len(near(range(-_NEARBY_DAYS, _NEARBY_DAYS + 1))),
        }

    def _is_bridge_day(self, day: date) -> bool:
        def off(other: date) -> bool:
            return other.weekday() >= 5 or self.is_public_holiday(other)

        before, after = day - timedelta(1), day + timedelta(1)
        beside_holiday = self.is_public_holiday(before) or self.is_public_holiday(after)
        return not off(day) and off(before) and off(after) and beside_holiday


def _matching_dates(
    day: date, first_days: int, last_days: int, kind: Callable[[date], int | str]
) -> list[date]:
    candidates = (day - timedelta(ago) for ago in range(first_days, last_days + 1))
    return [candidate for candidate in candidates if kind(candidate) == kind(day)]


def _affects(event: Event) -> pl.Expr:
    affected = (pl.col("service_date") == event.service_date) & pl.col("slot_hour").is_between(
        event.from_hour, event.to_hour
    )
    if event.lines:
        affected &= pl.col("line_id").is_in(event.lines)
    return affected & pl.col("stop_id").is_in(event.stops) if event.stops else affected


@cache
def _holidays(country: str, subdivision: str | None, year: int, category: str) -> frozenset[date]:
    """Holidays of one year; empty if the country has no such category."""
    import holidays

    categories = holidays.country_holidays(country, subdiv=subdivision).supported_categories
    if category not in categories:
        return frozenset()
    return frozenset(
        holidays.country_holidays(country, subdiv=subdivision, years=year, categories=(category,))
    )
