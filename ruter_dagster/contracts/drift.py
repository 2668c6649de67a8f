"""The drift metrics: names, thresholds and verdicts. Their measurement belongs in forecasting/drift.py and sensor_health.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ruter_dagster.contracts.date_windows import DRIFT_VERDICT_DAYS

NETWORK = "network"
"""Scope of a metric of all loads; other scopes are modes."""
USUAL_COVERAGE = 0.80
"""Share of loads that P10 to P90 should cover."""

MAX_DAYS = DRIFT_VERDICT_DAYS
"""Largest number of dates in a row that a threshold may need."""

Verdict = Literal["ok", "warn", "act", "unknown"]


@dataclass(frozen=True)
class DriftMetric:
    """One metric. It warns beyond the threshold `warn` and acts beyond `act`, on `side` ("either": by absolute value).

    The value must be beyond the threshold on `days_to_warn` or `days_to_act` consecutive dates that end with the measured
    one. A warning ends when the value was within `clear_threshold` on `days_to_clear` dates. That threshold lies between
    `warn` and `usual`, the value of a healthy network: `clear` times the distance from `usual` to `warn`.

    Acting requests a training. A metric of bad data has no `act`, because a model must not learn from bad data.
    """

    name: str
    description: str
    warn: float
    act: float | None
    side: Literal["above", "below", "either"] = "above"
    days_to_warn: int = 1
    days_to_act: int = 3
    days_to_clear: int = 2
    clear: float = 0.8
    usual: float = 0.0
    title: str = field(default="", kw_only=True)
    """A few words for the page, the alert and the check."""
    needs: str = field(default="", kw_only=True)
    """What is missing if the value is unknown."""
    remedy: str | None = None
    """What to do if the metric warns; None for the remedy that most metrics share."""

    @property
    def clear_threshold(self) -> float:
        return self.usual + self.clear * (self.warn - self.usual)

    def fault(self) -> str | None:
        """Why the thresholds contradict each other; None if they do not."""
        if self.warn != self.usual and not self.is_beyond(self.warn, self.usual):
            return (
                f"warn = {self.warn:g} must be {self._further} the value of a healthy network, {self.usual:g}"
            )
        if self.act is not None and self.act != self.warn and not self.is_beyond(self.act, self.warn):
            return f"act = {self.act:g} must be {self._further} warn = {self.warn:g}"
        return None

    @property
    def _further(self) -> str:
        return "below" if self.side == "below" else "above"

    def is_beyond(self, value: float, threshold: float) -> bool:
        if self.side == "below":
            return value < threshold
        return (abs(value) if self.side == "either" else value) > threshold

    def verdict(self, values: Sequence[float | None]) -> Verdict:
        """The verdict on a date. `values` has the date's value, then those of the dates before it; None if unknown.

        It depends on nothing but these values, so that it is the same in any order of measurement. A warning therefore also
        ends when the values no longer include the dates that raised it.
        """
        if not values or values[0] is None:
            return "unknown"
        if self.act is not None and self._lasts(values, self.act, self.days_to_act):
            return "act"
        return "warn" if self._warns(values) else "ok"

    def _lasts(self, values: Sequence[float | None], threshold: float, days: int) -> bool:
        recent = values[:days]
        return len(recent) == days and all(v is not None and self.is_beyond(v, threshold) for v in recent)

    def _warns(self, values: Sequence[float | None]) -> bool:
        """Goes through the values, the oldest first. An unknown value neither raises nor ends a warning."""
        warns, beyond, within = False, 0, 0
        for value in reversed(values):
            if value is None:
                beyond = 0
                continue
            beyond = beyond + 1 if self.is_beyond(value, self.warn) else 0
            within = 0 if self.is_beyond(value, self.clear_threshold) else within + 1
            if beyond >= self.days_to_warn:
                warns = True
            elif within >= self.days_to_clear:
                warns = False
        return warns


POOLED_DAYS = 7
"""Dates, the measured one included, over which skill, bias and coverage are pooled."""
MIN_POOLED_DATES = 5
"""Dates of these that are needed to pool."""
MIN_SAME_WEEKDAYS = 4
"""Earlier dates of the same weekday that the mean and deviation of WAPE need."""
MIN_REFERENCE_DATES = 2
"""Earlier dates of the same weekday that the comparison of a distribution needs."""
MIN_COMPARED_LOADS = 500
"""Loads of the date that the comparison of a distribution and the deviation of WAPE need."""
MIN_LEVEL_LOADS = 1000
"""Loads of the date that the passenger level needs."""
MIN_WAPE_DEVIATION = 0.15
"""Smallest standard deviation of WAPE, as a share of its mean. Few dates may agree by chance."""

_LONG_WEEKEND = 3
"""Dates in a row on which a faulty vehicle or line may have too few trips to be judged."""
_REPAIR = "Tell those who maintain the counters. Until they count again, loads are missing or too low"
_ON_THREE_DATES = "; warns on the third date in a row"

_NEEDS_DATES = f"{MIN_POOLED_DATES} of the {POOLED_DAYS} dates up to this one"
_NEEDS_SAME_WEEKDAYS = (
    f"{MIN_REFERENCE_DATES} earlier dates of the same weekday, and {MIN_COMPARED_LOADS} loads on the date"
)

FORECAST_METRICS = (
    DriftMetric(
        "skill_against_ha4",
        "1 - WAPE / WAPE of HA4, over 7 days",
        0.05,
        0.0,
        "below",
        usual=0.10,
        title="Skill against the 4-week mean",
        needs=_NEEDS_DATES,
    ),
    DriftMetric(
        "wape_deviation",
        "WAPE above the mean of the weekday's WAPE before, in standard deviations",
        3,
        6,
        title="Error against the same weekday",
        needs=f"{MIN_SAME_WEEKDAYS} earlier dates of the same weekday, and {MIN_COMPARED_LOADS} loads on each date",
    ),
    DriftMetric(
        "bias",
        "Sum of means / sum of loads - 1, over 7 days",
        0.15,
        0.25,
        "either",
        title="Bias",
        needs=_NEEDS_DATES,
    ),
    DriftMetric(
        "coverage_deviation",
        f"Share of loads within P10 to P90 - {USUAL_COVERAGE}, over 7 days",
        0.10,
        0.15,
        "either",
        title="Coverage of P10-P90",
        needs=_NEEDS_DATES,
    ),
    DriftMetric(
        "matched_share",
        "Share of the day's loads that had a forecast",
        0.90,
        None,
        "below",
        usual=1.0,
        title="Loads with a forecast",
        needs="forecasts for the date",
    ),
)
"""Metrics of forecasts."""

LOAD_METRICS = (
    DriftMetric(
        "population_stability_index",
        "PSI of the day's loads against the same weekdays before" + _ON_THREE_DATES,
        0.10,
        0.25,
        days_to_warn=3,
        title="Distribution of loads (PSI)",
        needs=_NEEDS_SAME_WEEKDAYS,
    ),
    DriftMetric(
        "jensen_shannon",
        "Jensen-Shannon distance of the day's loads from those of the same weekdays before" + _ON_THREE_DATES,
        0.15,
        None,
        days_to_warn=3,
        title="Distribution of loads (Jensen-Shannon)",
        needs=_NEEDS_SAME_WEEKDAYS,
    ),
    DriftMetric(
        "normed_wasserstein",
        "Wasserstein distance of the day's loads from those of the same weekdays before, in standard deviations"
        + _ON_THREE_DATES,
        0.25,
        None,
        days_to_warn=3,
        title="Distribution of loads (Wasserstein)",
        needs=_NEEDS_SAME_WEEKDAYS,
    ),
    DriftMetric(
        "passenger_level",
        "Mean load of the day / lower quartile of the mean loads of the same weekdays before",
        0.65,
        None,
        "below",
        usual=1.0,
        title="Passengers against the same weekdays",
        needs=f"{MIN_REFERENCE_DATES} earlier dates of the same weekday, and {MIN_LEVEL_LOADS:,} loads on each date",
    ),
)
"""Metrics of the distribution of loads."""

SENSOR_METRICS = (
    DriftMetric(
        "vehicle_imbalance",
        "Largest |boardings - alightings| / (boardings + alightings) of a vehicle's day, as counted",
        0.30,
        None,
        days_to_clear=_LONG_WEEKEND + 1,
        title="Boardings against alightings",
        needs="visits with counts of a vehicle on the date",
    ),
    DriftMetric(
        "door_imbalance",
        "Largest imbalance of a vehicle's day minus 4 standard errors, 0 if negative: a dead door",
        0.01,
        None,
        days_to_clear=_LONG_WEEKEND + 1,
        clear=0.0,
        remedy=_REPAIR,
        title="Dead doors",
        needs="a vehicle with at least four counted trips on the date",
    ),
    DriftMetric(
        "silent_vehicles",
        "Vehicles whose trips of the day have no passengers counted, though they counted passengers before",
        0,
        None,
        days_to_clear=_LONG_WEEKEND + 1,
        remedy=_REPAIR,
        title="Vehicles without passengers",
        needs="counts of the date",
    ),
    DriftMetric(
        "absent_vehicles",
        "Share of the vehicles that counted passengers on each of the same weekdays before and have no trip on the day",
        0.25,
        None,
        title="Absent vehicles",
        needs="enough vehicles that ran on each of the same weekdays before",
    ),
    DriftMetric(
        "silent_lines",
        "Lines with planned departures of which none was counted, though they were counted before",
        0,
        None,
        days_to_clear=_LONG_WEEKEND + 1,
        remedy=_REPAIR,
        title="Lines without counts",
        needs="a timetable and counts of the date",
    ),
    DriftMetric(
        "counted_share",
        "Share of the day's planned departures that were counted / its median on the healthy dates of the eight weeks before",
        0.80,
        None,
        "below",
        usual=1.0,
        title="Counted departures",
        needs="a timetable and counts of the date, and of earlier dates",
    ),
    DriftMetric(
        "trip_gaps",
        "Share of departures without counts in trips with counts of other departures",
        0.05,
        None,
        title="Gaps in counted trips",
        needs="counts of the date",
    ),
)
"""Metrics of the passenger counters."""

TIMETABLE_CHANGE = DriftMetric(
    "timetable_change",
    "Share of journeys that differ from the most similar date of the three weeks before; no fault, but forecasts may be worse",
    0.10,
    None,
    days_to_clear=7,
    remedy="Nothing, if a new timetable was planned. Its journeys have little history at first. The warning ends a week after the change",
    title="Changed journeys",
    needs="timetables of the three weeks before",
)

DRIFT_METRICS = (*FORECAST_METRICS, *LOAD_METRICS, *SENSOR_METRICS, TIMETABLE_CHANGE)

_TITLES = {metric.name: metric.title for metric in DRIFT_METRICS}


def drift_title(name: str) -> str:
    """The title of the metric with this name; the name if no metric has it."""
    return _TITLES.get(name, name)
