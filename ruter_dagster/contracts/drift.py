"""The drift metrics: names, thresholds and verdicts. Their measurement belongs in forecasting/drift.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ruter_dagster.contracts.date_windows import DRIFT_REFERENCE_DAYS

NETWORK = "network"
"""Scope of a metric of all loads; other scopes are modes."""
USUAL_COVERAGE = 0.80
"""Share of loads that P10 to P90 should cover."""


@dataclass(frozen=True)
class DriftMetric:
    """One metric. It warns beyond the threshold `warn` and acts beyond `act`, on `side` ("either": by absolute value).

    The value must be beyond the threshold on `days_to_warn` or `days_to_act` consecutive dates that end with the measured
    one. Acting requests a training. A metric of bad data has no `act`, because a model must not learn from bad data.
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
        """Number of dates that a verdict depends on."""
        return max(self.days_to_warn, self.days_to_act if self.act is not None else 1)

    def is_beyond(self, value: float, threshold: float) -> bool:
        if self.side == "below":
            return value < threshold
        return (abs(value) if self.side == "either" else value) > threshold

    def verdict(self, values: tuple[float | None, ...]) -> Literal["ok", "warn", "act", "unknown"]:
        """The verdict on a date. `values` has the date's value, then those of the dates before it; None if unknown."""
        if not values or values[0] is None:
            return "unknown"
        if self.act is not None and self._lasts(values, self.act, self.days_to_act):
            return "act"
        return "warn" if self._lasts(values, self.warn, self.days_to_warn) else "ok"

    def _lasts(self, values: tuple[float | None, ...], threshold: float, days: int) -> bool:
        recent = values[:days]
        return len(recent) == days and all(v is not None and self.is_beyond(v, threshold) for v in recent)


_ON_THREE_DATES = "; warns on the third date in a row"

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
    """How much history a metric uses, and how much it needs."""

    days: int = 7
    """Dates, the measured one included, over which skill, bias and coverage are pooled."""
    min_days: int = 5
    min_weekdays: int = 4
    """Earlier dates of the same weekday needed for the mean and deviation of WAPE."""
    min_reference_dates: int = 2
    """Earlier dates of the same weekday needed to compare a distribution."""
    reference_days: int = DRIFT_REFERENCE_DAYS
    min_rows: int = 500
    """Loads of the date needed to compare a distribution."""
    min_passengers: int = 200
    """Boardings and alightings of a vehicle's day needed to measure its imbalance."""
