"""Differences of a date's demand from its day type: a factor for each line and hour of the service day."""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray

from ruter_dagster.sources.demo.calendar import Day
from ruter_dagster.sources.demo.network import TIMETABLE_CHANGE, Network, version_of
from ruter_dagster.sources.demo.random_numbers import autocorrelated, generator
from ruter_dagster.sources.demo.weather import weather_of

HOURS = 48
_MODES = ("bus", "tram", "metro", "boat")
_BASE_DATE = date(2026, 1, 1)
_SCHOOL_HOLIDAY_LEVEL = {"Autumn": 0.82, "Winter": 0.82, "Easter": 0.62, "Christmas": 0.58, "Summer": 0.74}
_DEEP_SUMMER_LEVEL = 0.62
_ROADWORKS_DAYS = 24
_EVENT_UPLIFT = (0.6, 1.2)


def demand_factors(network: Network, day: Day) -> NDArray[np.float64]:
    """Factors on mean boardings, shape (line, 48): all effects without noise."""
    of_line = line_levels(network, day.date)
    of_mode = np.stack(
        [calendar_factors(day, mode) * weather_factors(network.seed, day, mode) for mode in _MODES]
    )
    mode = np.array([_MODES.index(name) for name in network.modes])
    return of_line[:, None] * of_mode[mode] * event_factors(network, day)


def calendar_factors(day: Day, mode: str) -> NDArray[np.float64]:
    """Effect of school holidays, public holidays, bridge days, eves and season by hour, of shape (48,)."""
    factors = np.ones(HOURS)
    working = day.type in ("weekday", "friday")
    if day.school_holiday:
        factors *= _school_holiday_level(day) if working else 0.92
    if working and day.school_holiday:
        factors[[7, 8, 16]] *= 0.92
    if day.bridge_day:
        factors *= 0.8
    if day.public_holiday:
        factors *= 0.5 if day.date.month in (1, 12) else 0.75
    if day.public_holiday and (day.date.month, day.date.day) == (5, 17):
        factors[8:20] *= 2.4
    if day.is_eve:
        factors[14:24] *= 0.4
        factors[24:27] *= 2.2 if day.date.day == 31 else 0.3
    winter = np.cos(2 * np.pi * (day.date.timetuple().tm_yday - 20) / 365.25)
    return factors * (1 - 0.3 * winter if mode == "boat" else 1 + 0.04 * winter)


def _school_holiday_level(day: Day) -> float:
    if day.school_holiday == "Summer" and 27 <= day.date.isocalendar().week <= 31:
        return _DEEP_SUMMER_LEVEL
    return _SCHOOL_HOLIDAY_LEVEL.get(day.school_holiday or "", 0.8)


def weather_factors(seed: int, day: Day, mode: str) -> NDArray[np.float64]:
    """Effect of the weather by hour, of shape (48,): rain adds passengers on working days and removes them at weekends."""
    weather = weather_of(seed, day.date)
    wet = 1 - np.exp(-weather.precipitation / 0.8)
    cold = np.clip((-3 - weather.temperature) / 10, 0, 1.5)
    warm = np.clip((weather.temperature - 18) / 10, 0, 1)
    if mode == "boat":
        windy = np.clip((weather.wind_speed - 6) / 10, 0, 1)
        return (1 - 0.35 * wet) * (1 - 0.3 * windy) * (1 + 0.6 * warm)
    working = day.type in ("weekday", "friday") and not day.public_holiday
    daytime = np.arange(HOURS) < 19
    on_the_way = {"bus": 0.16, "tram": 0.16, "metro": 0.09}[mode]
    rain = np.where(daytime & working, on_the_way, -0.14)
    return (1 + rain * wet) * (1 + 0.10 * cold) * (1 - 0.06 * warm)


def line_levels(network: Network, service_date: date) -> NDArray[np.float64]:
    """Level of each line on a date: growth, slow shocks, roadworks, and the shift of passengers to the new line."""
    seed, lines = network.seed, network.lines
    years = (service_date - _BASE_DATE).days / 365.25
    shock = 0.02 * autocorrelated(seed, "network level", service_date, 1, 0.85)
    shock = shock + 0.05 * autocorrelated(seed, "line level", service_date, lines, 0.95)
    levels = np.exp(network.growth * years + shock) * _roadworks(network, service_date)
    if version_of(service_date):
        known = 1 - 0.5 * np.exp(-(service_date - TIMETABLE_CHANGE).days / 10)
        levels[network.new_line] *= known
        levels[network.relieved_line] *= 1 - 0.25 * known
    return levels


def _roadworks(network: Network, service_date: date) -> NDArray[np.float64]:
    """A tenth of the lines has fewer or more passengers for some weeks, because of roadworks."""
    phase = generator(network.seed, "roadworks phase").integers(0, _ROADWORKS_DAYS, network.lines)
    period = (service_date.toordinal() + phase) // _ROADWORKS_DAYS
    levels = np.ones(network.lines)
    for number in np.unique(period):
        draw, change = generator(network.seed, "roadworks", int(number)).random((2, network.lines))
        levels = np.where((period == number) & (draw < 0.10), 0.70 + 0.5 * change, levels)
    return levels


def event_factors(network: Network, day: Day) -> NDArray[np.float64]:
    """Effect of events on their lines and hours, of shape (line, 48)."""
    factors = np.ones((network.lines, HOURS))
    sizes = generator(network.seed, "events", day.date.toordinal()).uniform(*_EVENT_UPLIFT, len(day.events))
    for event, size in zip(day.events, sizes, strict=True):
        affected = np.isin(network.line_ids.astype(str), event.lines)
        factors[affected, event.from_hour : event.to_hour + 1] *= 1 + size
    return factors
