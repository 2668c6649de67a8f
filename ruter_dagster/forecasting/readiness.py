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


def trust_in_tiers(tier: NDArray[np.floating], trusted: float) -> NDArray[np.float64]:
    """The part of its correction that a model of this `trusted` makes for each row of these tiers (`tiers.tier_number`).

    - A new stop, whose line is known: all of it. Straight between its neighbours is a poor guess, and trees learn from the line's
      other stops how far off it is.
    - New hours and lines: half of the model's part. How full a network or line is says less of what has never been counted.
    """
    part = np.where(tier >= EXPECTED_TIERS.index("neighbouring_hours"), 0.5 * trusted, trusted)
    return np.where(tier == EXPECTED_TIERS.index("journey"), 1.0, part)
