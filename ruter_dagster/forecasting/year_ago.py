"""The date of the year before that resembles a service date: same weekday, or same distance from a holiday."""

from __future__ import annotations

from datetime import date, timedelta

from dateutil.easter import easter

from ruter_dagster.forecasting.calendar import OperatingCalendar

_YEAR = timedelta(364)
_WEEK = timedelta(7)
_BEFORE_EASTER = -14
_AFTER_EASTER = 10
_AFTER_WHITSUN = 52
"""Dates that move with Easter, in days from Easter Sunday: from two weeks before it to a week after it, or after Whitsun."""
_ASCENSION, _WHIT_MONDAY = timedelta(39), timedelta(50)


def year_ago(day: date, calendar: OperatingCalendar) -> date | None:
    """The date of the year before whose deviation from the expected load may repeat on `day`.

    Christmas and other fixed holidays: the same date. Dates near Easter: the same distance from Easter. All others: 364
    days before, or a week earlier or later if that is a public holiday. None if those are public holidays too.
    """
    same_date = None if (day.month, day.day) == (2, 29) else day.replace(year=day.year - 1)
    if same_date and _has_fixed_date(day, same_date, calendar):
        return same_date
    first = (
        easter(day.year - 1) + (day - easter(day.year)) if _moves_with_easter(day, calendar) else day - _YEAR
    )
    is_holiday = calendar.is_public_holiday(day)
    candidates = (first, first - _WEEK, first + _WEEK)
    return next((other for other in candidates if calendar.is_public_holiday(other) == is_holiday), None)


def _has_fixed_date(day: date, same_date: date, calendar: OperatingCalendar) -> bool:
    christmas = (day.month, day.day) >= (12, 24) or (day.month, day.day) == (1, 1)
    return christmas or (
        calendar.is_public_holiday(day)
        and calendar.is_public_holiday(same_date)
        and not calendar.is_public_holiday(easter(day.year - 1) + (day - easter(day.year)))
    )


def _moves_with_easter(day: date, calendar: OperatingCalendar) -> bool:
    """Whether the country observes Easter (or Whitsun) and the date is near it."""
    sunday = easter(day.year)
    after_whitsun = any(calendar.is_public_holiday(sunday + days) for days in (_ASCENSION, _WHIT_MONDAY))
    keeps_easter = any(calendar.is_public_holiday(sunday + timedelta(days)) for days in (-2, 1))
    last = _AFTER_WHITSUN if after_whitsun else _AFTER_EASTER
    return keeps_easter and _BEFORE_EASTER <= (day - sunday).days <= last
