"""How far loads fall from their mean: quantiles and the chance of a load above the seats, on the scale of square roots.

On that scale the spread of a count hardly depends on its size, so one set of numbers holds for full and empty departures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
_SHIFT = 3 / 8
QUANTILES = (0.1, 0.5, 0.9)
_SMALLEST_SIDE = 0.065
"""Smallest distance of P10 and P90 from the median that a distance is measured in."""
_CHANCES = (0.999, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
_MIN_BEYOND = 5
"""Loads that must lie beyond a distance, on the rarer side, for its chance to be measured."""
_MIN_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Tail:
    """Chances of a load farther above the median than `distances`, in units of the distance of P90 (below it, of P10).

    Distances ascend, chances descend. Between and beyond them, the chance's log-odds are linear in the distance.
    """

    distances: tuple[float, ...]
    chances: tuple[float, ...]

    def probability_beyond(self, distance: Numbers) -> Numbers:
        """P(a load lies farther up than `distance`), never quite 0 or 1; NaN where the distance is."""
        known, odds = np.array(self.distances), _log_odds(np.array(self.chances))
        inside = np.interp(distance, known, odds)
        first, last = ((odds[at + 1] - odds[at]) / (known[at + 1] - known[at]) for at in (0, -2))
        inside = np.where(distance < known[0], odds[0] + (distance - known[0]) * first, inside)
        inside = np.where(distance > known[-1], odds[-1] + (distance - known[-1]) * last, inside)
        limit = _log_odds(np.array(_MIN_PROBABILITY))
        return 1 / (1 + np.exp(-np.clip(inside, limit, -limit)))


def _log_odds(chance: Numbers) -> Numbers:
    return np.log(chance / (1 - chance))


NORMAL_TAIL = Tail(
    tuple(NormalDist().inv_cdf(1 - chance) / NormalDist().inv_cdf(0.9) for chance in _CHANCES), _CHANCES
)
"""That of a normal variable, where too few loads are known to measure one."""


def to_root(load: Numbers) -> Numbers:
    """Anscombe's root of a load."""
    return np.sqrt(load + _SHIFT)


def from_root(root: Numbers) -> Numbers:
    """The load of a root, never negative."""
    return np.maximum(np.maximum(root, 0.0) ** 2 - _SHIFT, 0.0)


def quantiles_of(mean: Numbers, spread: Numbers) -> Numbers:
    """Loads at `QUANTILES`, never negative, shape (rows, 3); `spread` is their distance from the mean's root, ascending."""
    return from_root(to_root(mean)[:, None] + spread)


def widened(spread: Numbers, factor: float) -> Numbers:
    """The same medians with the outer quantiles `factor` times as far away."""
    middle = spread[:, 1:2]
    return middle + (spread - middle) * factor


def probability_above(seats: Numbers, mean: Numbers, spread: Numbers, tail: Tail = NORMAL_TAIL) -> Numbers:
    """P(load > seats), NaN where the seats are unknown."""
    # A load is a whole number of passengers: more than the seats begins half a passenger above them.
    return tail.probability_beyond(_distance(seats + 0.5, mean, spread))


def measured_tail(load: Numbers, mean: Numbers, spread: Numbers, weight: Numbers) -> Tail:
    """The tail that loads had around their forecasts, a load counting by `weight` and by the mean forecast for it.

    By the mean, because departures with few passengers, of which there are most, are not those that fill their seats.
    Normal where fewer than a few hundred loads are known.
    """
    distance, counts = _distance(load, mean, spread), weight * np.maximum(mean, 0.1)
    effective = counts.sum() ** 2 / max((counts**2).sum(), 1e-9)
    chances = [chance for chance in _CHANCES if effective * min(chance, 1 - chance) >= _MIN_BEYOND]
    if len(chances) < 5:
        return NORMAL_TAIL
    distances = _weighted_quantiles(distance, counts, [1 - chance for chance in chances])
    # Ties would make a step of the tail.
    apart = np.maximum.accumulate(distances + 1e-3 * np.arange(len(distances)))
    return Tail(tuple(apart.tolist()), tuple(chances))


def fitting_factor(load: Numbers, mean: Numbers, spread: Numbers, coverage: float, weight: Numbers) -> float:
    """The factor of `widened` with which P10 to P90 covers the share `coverage` of loads by weight (split conformal)."""
    # Zero passengers lie within as soon as P10 is clipped at zero, which the true root of zero expresses.
    needed = np.abs(_distance(load, mean, spread))
    return float(np.clip(_weighted_quantiles(needed, weight, [coverage])[0], 0.5, 3.0))


def _distance(load: Numbers, mean: Numbers, spread: Numbers) -> Numbers:
    """How far a load lies above the median (negative: below it), in units of the distance of P90 (P10) from it."""
    away = to_root(load) - to_root(mean) - spread[:, 1]
    side = np.where(away < 0, spread[:, 1] - spread[:, 0], spread[:, 2] - spread[:, 1])
    return away / np.maximum(side, _SMALLEST_SIDE)


def _weighted_quantiles(values: Numbers, weight: Numbers, levels: Sequence[float]) -> Numbers:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order])
    return np.interp(np.array(levels), (reached - weight[order] / 2) / reached[-1], values[order])
