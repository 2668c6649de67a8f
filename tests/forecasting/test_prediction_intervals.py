"""The probability of more passengers than seats is correct on average, for any number of seats."""

import numpy as np
import pytest

from ruter_dagster.forecasting.prediction_intervals import (
    NORMAL_TAIL,
    fitting_factor,
    measured_tail,
    probability_above,
    to_root,
    widened,
)

ROWS = 40_000


def network(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loads (negative binomial, variance mean + mean² / 15), their true means, and quantiles that are a quarter too wide."""
    random = np.random.default_rng(seed)
    mean = random.gamma(2.0, 6.0, ROWS) + 0.5
    load = random.poisson(mean * random.gamma(15.0, 1 / 15.0, ROWS)).astype(float)
    deviation = np.sqrt(0.25 + mean / 60)
    spread = np.column_stack([-1.6 * deviation, -0.1 * deviation, 1.6 * deviation])
    return load, mean, spread


@pytest.fixture(scope="module")
def tail():
    load, mean, spread = network(1)
    return measured_tail(load, mean, spread, np.ones(ROWS))


@pytest.mark.parametrize("seats", [10, 20, 30, 40, 50])
def test_as_many_departures_are_crowded_as_expected(tail, seats: int) -> None:
    load, mean, spread = network(2)
    crowded = (load > seats).sum()
    assert crowded >= 50
    expected = probability_above(np.full(ROWS, float(seats)), mean, spread, tail).sum()
    assert expected == pytest.approx(crowded, rel=0.2)
    # A normal tail of quantiles that are too wide expects more of the rare ones.
    if seats >= 40:
        assert probability_above(np.full(ROWS, float(seats)), mean, spread, NORMAL_TAIL).sum() > 1.2 * crowded


def test_probability_falls_with_seats_and_is_never_certain(tail) -> None:
    seats = np.arange(0.0, 3000.0)
    mean, spread = np.full(3000, 12.0), np.tile([-0.8, 0.0, 0.8], (3000, 1))
    for one in (tail, NORMAL_TAIL):
        chance = probability_above(seats, mean, spread, one)
        assert (np.diff(chance) <= 0).all()
        assert chance.min() > 0
        assert chance.max() < 1


def test_unknown_seats_have_no_probability(tail) -> None:
    assert np.isnan(
        probability_above(np.array([np.nan]), np.array([5.0]), np.array([[-1.0, 0.0, 1.0]]), tail)
    )


@pytest.mark.parametrize("rows", [0, 3, 20])
def test_few_loads_leave_the_normal_tail(rows: int) -> None:
    load, mean, spread = (values[:rows] for values in network(3))
    assert measured_tail(load, mean, spread, np.ones(rows)) == NORMAL_TAIL


def test_normal_tail_is_that_of_a_normal_variable() -> None:
    spread = np.array([[-1.0, 0.0, 1.0]])
    for level in (0.9, 0.5, 0.1):
        distance = {0.9: -1.0, 0.5: 0.0, 0.1: 1.0}[level]
        seats = (to_root(np.array([16.0])) + distance) ** 2 - 3 / 8 - 0.5
        assert probability_above(seats, np.array([16.0]), spread) == pytest.approx(level, abs=1e-6)


def test_equal_loads_make_a_tail_that_falls() -> None:
    mean, spread = np.full(1000, 9.0), np.tile([-0.5, 0.0, 0.5], (1000, 1))
    tail = measured_tail(mean, mean, spread, np.ones(1000))
    assert (np.diff(probability_above(np.arange(30.0), mean[:30], spread[:30], tail)) <= 0).all()


def test_factor_covers_the_weighted_share() -> None:
    load, mean, spread = network(4)
    light = np.where(np.arange(ROWS) % 2 == 0, 1.0, 1e-6)
    load = np.where(light == 1.0, load, 500.0)
    factor = fitting_factor(load, mean, spread, 0.8, light)
    lower, upper = (widened(spread, factor)[:, side] + to_root(mean) for side in (0, 2))
    within = (to_root(load) >= lower) & (to_root(load) <= upper)
    assert within[light == 1.0].mean() == pytest.approx(0.8, abs=0.01)
