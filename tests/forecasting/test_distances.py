"""Distances between distributions of loads, on numbers that can be calculated by hand."""

import numpy as np
import pytest

from ruter_dagster.forecasting.distances import (
    bin_shares,
    jensen_shannon,
    normed_wasserstein,
    population_stability_index,
)


def test_empty_vehicles_have_their_own_bin():
    by_passengers = np.zeros(1001)
    by_passengers[[0, 1, 5, 6]] = 1
    assert bin_shares(by_passengers)[:3].tolist() == [0.25, 0.5, 0.25]


def test_equal_shares_have_distance_zero():
    shares = np.array([0.5, 0.3, 0.2])
    assert population_stability_index(shares, shares) == 0
    assert jensen_shannon(shares, shares) == 0


def test_shares_without_a_common_bin_have_distance_one():
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1)


def test_psi_is_the_sum_over_bins():
    expected = (0.6 - 0.5) * np.log(0.6 / 0.5) + (0.4 - 0.5) * np.log(0.4 / 0.5)
    assert population_stability_index(np.array([0.6, 0.4]), np.array([0.5, 0.5])) == pytest.approx(expected)


def test_wasserstein_is_the_shift_in_standard_deviations():
    usual = np.array([0, 10, 20, 10, 0, 0, 0])
    assert normed_wasserstein(np.roll(usual, 2), usual) == pytest.approx(2 / np.sqrt(0.5))


def test_equal_loads_everywhere_have_no_normed_distance():
    assert normed_wasserstein(np.array([0, 5]), np.array([0, 9])) is None
