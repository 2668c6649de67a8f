"""Hourly weather of the simulated network, and the weather forecasts that were issued on the days before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.tables import WEATHER_FORECASTS
from ruter_dagster.contracts.validation import conform
from ruter_dagster.sources.demo.random_numbers import autocorrelated, generator

SERVICE_HOURS = range(4, 30)
"""Hours of the service day with journeys, 24 or more after midnight."""
ISSUE_HOUR = 6

_MEMORY_HOURS = 3.0
_DAY_MEMORY = 0.6


@dataclass(frozen=True)
class Weather:
    """Temperature (°C), precipitation (mm per hour) and wind speed (m/s), each of shape (48,): hours 0 to 47 of a service day."""

    temperature: NDArray[np.float64]
    precipitation: NDArray[np.float64]
    wind_speed: NDArray[np.float64]


def weather_of(seed: int, service_date: date) -> Weather:
    """The true weather. Hour 24 of a service date is hour 0 of the next date."""
    return _to_weather(service_date, _anomalies(seed, service_date))


def forecast_of(seed: int, issue_date: date) -> pl.DataFrame:
    """Contract `raw.weather_forecasts` of an issue date; the error grows with the hours ahead."""
    hours = np.array(SERVICE_HOURS)
    noise = _smooth(generator(seed, "forecast error", issue_date.toordinal()).standard_normal((3, 24 * 8)))
    frames = []
    for ahead in range(HORIZON_DAYS + 1):
        service_date = issue_date + timedelta(days=ahead)
        lead = np.maximum(24 * ahead + np.arange(48) - ISSUE_HOUR, 0)
        skill = 0.98 * np.exp(-lead / 260)
        error = noise[:, 24 * ahead : 24 * ahead + 48]
        expected = skill * _anomalies(seed, service_date) + np.sqrt(1 - skill**2) * error
        weather = _to_weather(service_date, expected)
        frames.append(
            pl.DataFrame(
                {
                    "service_date": pl.repeat(service_date, len(hours), eager=True),
                    "slot_hour": hours,
                    "temperature": weather.temperature[hours].round(1),
                    "precipitation": weather.precipitation[hours].round(1),
                    "wind_speed": weather.wind_speed[hours].round(1),
                }
            )
        )
    return conform(pl.concat(frames).with_columns(issue_date=pl.lit(issue_date)), WEATHER_FORECASTS)


def _anomalies(seed: int, service_date: date) -> NDArray[np.float64]:
    """Standard normal deviations from the season's usual weather: temperature, rain, wind; (3, 48)."""
    days = [service_date + timedelta(days=offset) for offset in range(-1, 3)]
    noons = 24 * np.arange(-1, 3) + 12
    fronts = np.stack([autocorrelated(seed, "fronts", day, 3, _DAY_MEMORY) for day in days], axis=1)
    slow = np.stack([np.interp(np.arange(48), noons, row) for row in fronts])
    before = [service_date + timedelta(days=offset) for offset in (-1, 0, 1)]
    hourly = [generator(seed, "showers", day.toordinal()).standard_normal((3, 24)) for day in before]
    return 0.82 * slow + 0.57 * _smooth(np.concatenate(hourly, axis=1))[:, 24:]


def _smooth(noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Noise of unit variance with a correlation of a few hours. The first hours have less variance."""
    kernel = np.exp(-np.arange(20) / _MEMORY_HOURS)
    kernel /= np.sqrt((kernel**2).sum())
    return np.stack([np.convolve(row, kernel)[: noise.shape[1]] for row in noise])


def _to_weather(service_date: date, anomalies: NDArray[np.float64]) -> Weather:
    """Oslo's climate: mean -4 °C in January and 17 °C in July, rain in about every sixth hour."""
    hour, day_of_year = np.arange(48), service_date.timetuple().tm_yday + np.arange(48) / 24
    season = -np.cos(2 * np.pi * (day_of_year - 20) / 365.25)
    daily = (2.0 + 1.2 * season) * np.sin(2 * np.pi * (hour - 9) / 24)
    return Weather(
        temperature=6.5 + 10.5 * season + daily + 4.0 * anomalies[0],
        precipitation=(2.2 * np.maximum(anomalies[1] - 0.9, 0)) ** 1.3,
        wind_speed=3.2 * np.exp(0.4 * anomalies[2]),
    )
