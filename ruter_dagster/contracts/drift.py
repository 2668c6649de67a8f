"""The drift metrics: names, thresholds and verdicts. Their measurement belongs in forecasting/drift.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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

POOLED_DAYS = 7
"""Dates, the measured one included, over which skill, bias and coverage are pooled."""
MIN_POOLED_DATES = 5
"""Dates of these that are needed to pool."""
MIN_SAME_WEEKDAYS = 4
"""Earlier dates of the same weekday that the mean and deviation of WAPE need."""
MIN_REFERENCE_DATES = 2
"""Earlier dates of the same weekday that the comparison of a distribution needs."""
MIN_COMPARED_LOADS = 500
"""Loads of the date that the comparison of a distribution needs."""
