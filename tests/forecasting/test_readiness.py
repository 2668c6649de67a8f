import numpy as np
import pytest

from ruter_dagster.contracts.tables import EXPECTED_TIERS
from ruter_dagster.forecasting.readiness import has_enough_dates, trust_by_dates, trust_by_tier


def test_model_needs_counts_of_35_dates():
    assert [has_enough_dates(dates) for dates in (0, 14, 34, 35, 400)] == [False, False, False, True, True]


def test_trust_grows_with_the_training_dates_up_to_300():
    assert [trust_by_dates(dates) for dates in (30, 150, 300, 400)] == pytest.approx([0.1, 0.5, 1.0, 1.0])


def test_trust_depends_on_the_tier():
    """Of a model that makes 0.6 of its correction: new stops get all of it, new hours and lines half of the 0.6."""
    tiers = np.arange(len(EXPECTED_TIERS), dtype=float)
    parts = dict(zip(EXPECTED_TIERS, trust_by_tier(tiers, 0.6).tolist(), strict=True))
    assert (parts["departure"], parts["slot"], parts["journey"]) == (0.6, 0.6, 1.0)
    assert parts["neighbouring_hours"] == parts["stop_hour"] == parts["network"] == 0.3
