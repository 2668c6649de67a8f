"""How far a model may be trusted that has few dates to learn from: not at all, in part, or wholly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ruter_dagster.contracts.jobs import MIN_COUNTED_DATES
from ruter_dagster.contracts.tables import EXPECTED_TIERS

_WHOLE_TRUST_DATES = 300
"""Training dates from which on a model's correction counts in full: most of a year, so that it has met its seasons."""


def enough_for_a_model(dates_with_counts: int) -> bool:
    """Whether a model may be trained and published with counts of so many operating dates."""
    return dates_with_counts >= MIN_COUNTED_DATES


def trust(training_dates: int) -> float:
    """How much of its correction of the expected load a model makes, 0 to 1, on the scale of logarithms.

    A few months teach what is passing (a holiday, a festival) as if it were a rule; with all of its correction a model of
    two to five months is worse than HA8 (docs/decisions/new-service.md). This is the least; weeks held out may bear out more
    (`model.train`).
    """
    return min(1.0, training_dates / _WHOLE_TRUST_DATES)


def trust_in_tiers(tier: NDArray[np.floating]) -> NDArray[np.float64]:
    """The part of that correction that is made for each row of these tiers (`tiers.tier_number`): half where its line has no counts then.

    How full a network or line is says less of lines and hours that have never been counted than of the others. A new stop's
    guess, between its neighbours on the journey, is the one that needs its whole correction.
    """
    return np.where(tier >= EXPECTED_TIERS.index("neighbouring_hours"), 0.5, 1.0)
