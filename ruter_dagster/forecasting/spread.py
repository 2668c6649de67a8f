"""How far loads fall from their mean: quantiles and the chance of a load above the seats, on the scale of square roots.

On that scale the spread of a count hardly depends on its size, so one set of numbers holds for full and empty departures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
_SHIFT = 3 / 8
QUANTILES = (0.1, 0.5, 0.9)
_NORMAL_WIDTH = 2.5631
"""Standard deviations between a normal variable's 10 % and 90 % quantiles."""
_SMALLEST_DEVIATION = 0.05


def to_root(load: Numbers) -> Numbers:
    """Anscombe's root of a load."""
    return np.sqrt(load + _SHIFT)


def quantiles_of(mean: Numbers, spread: Numbers) -> Numbers:
    """Loads at `QUANTILES`, never negative, shape (rows, 3); `spread` is their distance from the mean's root, ascending."""
    roots = np.maximum(to_root(mean)[:, None] + spread, 0.0)
    return np.maximum(roots**2 - _SHIFT, 0.0)


def widened(spread: Numbers, factor: float) -> Numbers:
    """The same medians with the outer quantiles `factor` times as far away."""
    middle = spread[:, 1:2]
    return middle + (spread - middle) * factor


def chance_above(seats: Numbers, mean: Numbers, spread: Numbers) -> Numbers:
    """P(load > seats), NaN where the seats are unknown: a normal variable on the scale of roots."""
    deviation = np.maximum((spread[:, 2] - spread[:, 0]) / _NORMAL_WIDTH, _SMALLEST_DEVIATION)
    # A load is a whole number of passengers: more than the seats begins half a passenger above them.
    distance = (to_root(seats + 0.5) - to_root(mean) - spread[:, 1]) / deviation
    return _upper_tail(distance)


def fitting_factor(load: Numbers, mean: Numbers, spread: Numbers, coverage: float) -> float:
    """The factor of `widened` with which P10 to P90 covers the share `coverage` of loads (split conformal)."""
    away = to_root(load) - to_root(mean) - spread[:, 1]
    # Zero passengers lie within as soon as P10 is clipped at zero, which the true root of zero expresses.
    side = np.where(away < 0, spread[:, 1] - spread[:, 0], spread[:, 2] - spread[:, 1])
    needed = np.abs(away) / np.maximum(side, _SMALLEST_DEVIATION)
    return float(np.clip(np.quantile(needed, coverage), 0.5, 3.0))


def _upper_tail(distance: Numbers) -> Numbers:
    """1 - Φ(distance) by Abramowitz and Stegun 26.2.17, to 1e-7; SciPy is not among the job image's dependencies."""
    size = np.abs(distance)
    t = 1 / (1 + 0.2316419 * size)
    polynomial = t * (
        0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))
    )
    tail = np.exp(-(size**2) / 2) / np.sqrt(2 * np.pi) * polynomial
    return np.clip(np.where(distance >= 0, tail, 1 - tail), 0.0, 1.0)
