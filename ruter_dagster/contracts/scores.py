"""Daily scores of forecasts by line and by stop: their tables, variants and periods of the day. Plain Python only.

Every number is a sum, so that any group of rows has its right ratio: `forecasting.scores.ratios` computes the ratios.
"""

from __future__ import annotations

from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.tables import DIRECTION_ID, LINE_ID, MODE, STOP_ID, Column, DataType, Table

PUBLISHED, CHALLENGER = "published", "challenger"
BASELINE_VARIANTS = ("last_week", "ha4", "ha8")
VARIANTS = (PUBLISHED, *BASELINE_VARIANTS, CHALLENGER)

PERIODS = {"morning_peak": (6, 9), "midday": (9, 15), "afternoon_peak": (15, 18), "evening": (18, 23)}
"""Periods of the day from Monday to Friday: the first local hour, and the hour at which the period ends."""
NIGHT, WEEKEND = "night", "weekend"
PEAKS = (*PERIODS, NIGHT, WEEKEND)

CROWDED_PROBABILITY = 0.2
"""From this P(load > seats) on, a departure counts as forecast to be crowded.

At 0.2 at least 60 % of the crowded departures are found and at least half of the warnings are right: docs/ground-truth.md.
"""


def _sum(name: str, type_: DataType, description: str, required: bool = True) -> Column:
    return Column(name, type_, description, required, minimum=0)


_VARIANT = Column(
    "variant",
    "string",
    "Forecaster: the published forecast, a baseline, or a model that is not the champion",
    allowed=VARIANTS,
)
_OPERATING_DATE = Column("operating_date", "date", "Operating date that was forecast")
_HORIZON = Column("horizon_days", "int32", "operating_date - issue date", minimum=0, maximum=HORIZON_DAYS)
_PEAK = Column(
    "peak",
    "string",
    "Period of the day by `slot_hour`; all hours of a Saturday or Sunday are `weekend`",
    allowed=PEAKS,
)
SUMS = (
    _sum("departures", "int64", "Departures with a forecast of the variant"),
    _sum("matched", "int64", "Departures with a forecast and an observed load; the columns below are their sums"),
    _sum("load", "float64", "Observed loads, passengers"),
    _sum("mean", "float64", "Forecast means, passengers"),
    _sum("absolute_error", "float64", "|mean - load|, passengers"),
    _sum("covered", "int64", "Departures with a load from P10 to P90; null for a baseline, which has no interval", False),
    _sum("pinball_loss", "float64", "Mean pinball losses of P10, P50 and P90, passengers; a baseline is each of them"),
    _sum("crps", "float64", "CRPS of P10, P50 and P90, passengers; the absolute error for a baseline"),
    _sum("above_seats", "int64", "Departures with a load above the seats"),
    _sum("expected_above_seats", "float64", "P(load > seats); 1 or 0 for a baseline"),
    _sum("crowded_forecasts", "int64", "Departures that were forecast to be crowded (RUTER_CROWDED_PROBABILITY)"),
    _sum("crowded_hits", "int64", "Departures that were forecast to be crowded and had a load above the seats"),
    _sum("absolute_error_with_ha4", "float64", "|mean - load| of departures with a value of HA4, passengers"),
    _sum("absolute_error_of_ha4", "float64", "|HA4 - load| of the same departures, passengers"),
)  # fmt: skip
"""The columns that add up over rows."""
_IS_FINAL = Column(
    "is_final", "boolean", "Whether the truth of the date is final: later counts do not change it"
)

LINE_SCORES = Table(
    name="monitoring.line_scores",
    description="Scores of forecasts by operating date, variant, horizon, line, direction and period of the day: sums.",
    partition="operating_date",
    key=("operating_date", "variant", "horizon_days", "mode", "line_id", "direction_id", "peak"),
    columns=(_OPERATING_DATE, _VARIANT, _HORIZON, MODE, LINE_ID, DIRECTION_ID, _PEAK, *SUMS, _IS_FINAL),
    may_be_empty=True,
)
STOP_SCORES = Table(
    name="monitoring.stop_scores",
    description="Scores of forecasts by operating date, variant, horizon, line, direction and stop: sums. "
    "Written together with `monitoring/line_scores`.",
    partition="operating_date",
    key=("operating_date", "variant", "horizon_days", "mode", "line_id", "direction_id", "stop_id"),
    columns=(_OPERATING_DATE, _VARIANT, _HORIZON, MODE, LINE_ID, DIRECTION_ID, STOP_ID, *SUMS, _IS_FINAL),
    may_be_empty=True,
)
