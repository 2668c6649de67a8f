"""How far a model with few training dates is trusted: not at all, in part, or fully."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ruter_dagster.contracts.jobs import MIN_COUNTED_DATES
from ruter_dagster.contracts.tables import EXPECTED_TIERS

_FULL_TRUST_DATES = 300
"""With this many training dates, most of a year, a model has seen its seasons and its correction counts in full."""
_NEW_SERVICE_SHARE = 0.5


def has_enough_dates(dates_with_counts: int) -> bool:
    """Whether a model may be trained and published with counts of this many operating dates."""
    return dates_with_counts >= MIN_COUNTED_DATES


def trust_by_dates(training_dates: int) -> float:
    """The share of its correction of the expected load that a model makes, 0 to 1, on the scale of logarithms.

    A few months teach a passing change (a holiday, a festival) as if it were a rule. With its full correction, a model of
    two to five months is worse than HA8 (docs/decisions/new-service.md). This share is a minimum: held-out weeks may prove
    more (`model_training.train`).
    """
    return min(1.0, training_dates / _FULL_TRUST_DATES)


def trust_by_tier(tier: NDArray[np.floating], trust: float) -> NDArray[np.float64]:
    """The share of its correction that a model makes for each row, by the row's tier number (`tiers.tier_number`).

    - A new stop of a known line: the full correction. Interpolating between its neighbours is a poor estimate, and trees
      learn from the line's other stops how far off it is.
    - New hours and lines: half of `trust`. How full a network or line is says less about a service that was never counted.
    """
    share = np.where(tier >= EXPECTED_TIERS.index("neighbouring_hours"), _NEW_SERVICE_SHARE * trust, trust)
    return np.where(tier == EXPECTED_TIERS.index("journey"), 1.0, share)
