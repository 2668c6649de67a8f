"""The drift metrics: their names, thresholds and when they call for action. How they are measured: forecasting/drift.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ruter_dagster.contracts.date_windows import DRIFT_REFERENCE_DAYS

NETWORK = "network"
"""Scope of a metric that was measured on everything; other scopes are modes."""
USUAL_COVERAGE = 0.80
"""Share of loads that P10 to P90 should cover."""


@dataclass(frozen=True)
class DriftMetric:
    """One metric. It warns where it is beyond `warn`, and acts where it is beyond `act`, on `side` ("either": by its size).

    It must be so on `days_to_warn` or `days_to_act` dates running, the measured one being the last. To act is to ask for a
    training: a metric that tells of bad data has no `act`, since a model must not learn from them.
    """

    name: str
    description: str
    warn: float
    act: float | None
    side: Literal["above", "below", "either"] = "above"
    days_to_warn: int = 1
    days_to_act: int = 3

    @property
    def days(self) -> int:
        """Dates that a verdict looks at."""
        return max(self.days_to_warn, self.days_to_act if self.act is not None else 1)

    def is_beyond(self, value: float, threshold: float) -> bool:
        if self.side == "below":
            return value < threshold
        return (abs(value) if self.side == "either" else value) > threshold

    def verdict(self, values: tuple[float | None, ...]) -> Literal["ok", "warn", "act", "unknown"]:
        """Verdict on a date's value, followed by those of the dates before it; None where one is not known."""
        if not values or values[0] is None:
            return "unknown"
        if self.act is not None and self._lasts(values, self.act, self.days_to_act):
            return "act"
        return "warn" if self._lasts(values, self.warn, self.days_to_warn) else "ok"

    def _lasts(self, values: tuple[float | None, ...], threshold: float, days: int) -> bool:
        running = values[:days]
        return len(running) == days and all(v is not None and self.is_beyond(v, threshold) for v in running)


_ON_THREE_DATES = "; warns on the third date running"

DRIFT_METRICS = (
    DriftMetric("skill_against_ha4", "1 - WAPE / WAPE of HA4, over 7 days", 0.05, 0.0, "below"),
    DriftMetric(
        "wape_deviation", "WAPE above the mean of the weekday's WAPE before, in standard deviations", 3, 6
    ),
    DriftMetric("bias", "Sum of means / sum of loads - 1, over 7 days", 0.15, 0.25, "either"),
    DriftMetric(
        "coverage_deviation",
        f"Share of loads within P10 to P90 - {USUAL_COVERAGE}, over 7 days",
        0.10,
        0.15,
        "either",
    ),
    DriftMetric("matched_share", "Share of the day's loads that had a forecast", 0.90, None, "below"),
    DriftMetric(
        "population_stability_index",
        "PSI of the day's loads against the same weekdays before" + _ON_THREE_DATES,
        0.10,
        0.25,
        days_to_warn=3,
    ),
    DriftMetric(
        "jensen_shannon",
        "Jensen-Shannon distance of the day's loads from those of the same weekdays before" + _ON_THREE_DATES,
        0.15,
        None,
        days_to_warn=3,
    ),
    DriftMetric(
        "normed_wasserstein",
        "Wasserstein distance of the day's loads from those of the same weekdays before, in standard deviations"
        + _ON_THREE_DATES,
        0.25,
        None,
        days_to_warn=3,
    ),
    DriftMetric(
        "vehicle_imbalance",
        "Largest |boardings - alightings| / (boardings + alightings) of a vehicle's day, as counted",
        0.20,
        None,
    ),
)


@dataclass(frozen=True)
class DriftWindows:
    """How much history a metric looks at, and how little makes it unknown."""

    days: int = 7
    """Dates, the measured one included, over which skill, bias and coverage are pooled."""
    min_days: int = 5
    min_weekdays: int = 4
    """Former dates of the same weekday that a WAPE's mean and deviation need."""
    min_reference_dates: int = 2
    """Former dates of the same weekday that a distribution is compared with."""
    reference_days: int = DRIFT_REFERENCE_DAYS
    min_rows: int = 500
    """Loads of the date below which a distribution says little."""
    min_passengers: int = 200
    """Boardings and alightings of a vehicle's day below which its imbalance is chance."""
