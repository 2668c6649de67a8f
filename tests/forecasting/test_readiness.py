import numpy as np
import pytest

from ruter_dagster.contracts.tables import EXPECTED_TIERS
from ruter_dagster.forecasting.readiness import enough_for_a_model, trust, trust_in_tiers


def test_a_model_needs_counts_of_35_dates():
    assert [enough_for_a_model(dates) for dates in (0, 14, 34, 35, 400)] == [False, False, False, True, True]


def test_trust_grows_with_the_training_dates_up_to_300():
    assert [trust(dates) for dates in (30, 150, 300, 400)] == pytest.approx([0.1, 0.5, 1.0, 1.0])


def test_new_lines_and_hours_are_corrected_by_half():
    tiers = np.arange(len(EXPECTED_TIERS), dtype=float)
    half = dict(zip(EXPECTED_TIERS, trust_in_tiers(tiers).tolist(), strict=True))
    assert half["departure"] == half["slot"] == half["journey"] == 1.0
    assert half["neighbouring_hours"] == half["stop_hour"] == half["network"] == 0.5
