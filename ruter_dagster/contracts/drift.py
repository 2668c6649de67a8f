"""The drift metrics: their names, thresholds and when they call for action. How they are measured: forecasting/drift.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NETWORK = "network"
"""Scope of a metric that was measured on everything; other scopes are modes."""
USUAL_COVERAGE = 0.80
"""Share of loads that P10 to P90 should cover."""


@dataclass(frozen=True)
class DriftMetric:
    """One metric. It warns beyond `warn` on `side` ("either": by its size), and acts where it is beyond `act` on
    `days_to_act` dates running, the measured one being the last; beyond `act` for fewer dates it warns."""

    name: str
    description: str
    warn: float
    act: float
    side: Literal["above", "below", "either"] = "above"
    days_to_act: int = 1

    def is_beyond(self, value: float, threshold: float) -> bool:
        if self.side == "below":
            return value < threshold
        return (abs(value) if self.side == "either" else value) > threshold

    def verdict(self, values: tuple[float | None, ...]) -> Literal["ok", "warn", "act", "unknown"]:
        """Verdict on a date's value, followed by those of the dates before it; None where one is not known."""
        if not values or values[0] is None:
            return "unknown"
        running = values[: self.days_to_act]
        if len(running) == self.days_to_act and all(
            v is not None and self.is_beyond(v, self.act) for v in running
        ):
            return "act"
        return "warn" if self.is_beyond(values[0], self.warn) or self.is_beyond(values[0], self.act) else "ok"


DRIFT_METRICS = (
    DriftMetric(
        "skill_against_ha4", "1 - WAPE / WAPE of HA4, over 7 days", 0.05, 0.0, "below", days_to_act=3
    ),
    DriftMetric(
        "wape_deviation", "WAPE above the mean of the weekday's WAPE before, in standard deviations", 3, 6
    ),
    DriftMetric("bias", "Sum of means / sum of loads - 1, over 7 days", 0.05, 0.10, "either"),
    DriftMetric(
        "coverage_deviation",
        f"Share of loads within P10 to P90 - {USUAL_COVERAGE}, over 7 days",
        0.05,
        0.10,
        "either",
    ),
    DriftMetric("matched_share", "Share of the day's loads that had a forecast", 0.90, 0.50, "below"),
    DriftMetric(
        "population_stability_index",
        "PSI of the day's loads against the same weekdays before",
        0.10,
        0.25,
        days_to_act=3,
    ),
    DriftMetric(
        "jensen_shannon",
        "Jensen-Shannon distance of the day's loads from those of the same weekdays before",
        0.10,
        0.25,
        days_to_act=3,
    ),
    DriftMetric(
        "normed_wasserstein",
        "Wasserstein distance of the day's loads from those of the same weekdays before, in standard deviations",
        0.10,
        0.25,
        days_to_act=3,
    ),
    DriftMetric(
        "vehicle_imbalance",
        "Largest |boardings - alightings| / (boardings + alightings) of a vehicle's day, as counted",
        0.05,
        0.20,
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
    reference_days: int = 56
    min_rows: int = 500
    """Loads of the date below which a distribution says little."""
    min_passengers: int = 200
    """Boardings and alightings of a vehicle's day below which its imbalance is chance."""
