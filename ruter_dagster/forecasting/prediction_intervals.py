"""Quantiles of the load, and the probability of a load above the seats, on the scale of square roots.

On this scale the spread of a count hardly depends on its size, so the same numbers apply to full and empty departures.
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
"""Distances are measured in units of P10's or P90's distance from the median, but at least in this unit."""
_PROBABILITIES = (0.999, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
_MIN_BEYOND = 5
"""A probability is measured if at least this many loads lie on the rarer side of it."""
_MIN_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Tail:
    """Probabilities (`chances`) of a load farther above the median than `distances`.

    The unit is the distance of P90 from the median (below the median: of P10). Distances ascend, probabilities descend.
    Between and beyond them, the log-odds are linear in the distance.
    """

    distances: tuple[float, ...]
    chances: tuple[float, ...]

    def probability_beyond(self, distance: Numbers) -> Numbers:
        """P(a load lies farther above the median than `distance`), never exactly 0 or 1; NaN if the distance is NaN."""
        known, odds = np.array(self.distances), log_odds(np.array(self.chances))
        inside = np.interp(distance, known, odds)
        first, last = ((odds[at + 1] - odds[at]) / (known[at + 1] - known[at]) for at in (0, -2))
        inside = np.where(distance < known[0], odds[0] + (distance - known[0]) * first, inside)
        inside = np.where(distance > known[-1], odds[-1] + (distance - known[-1]) * last, inside)
        return probability_of_odds(inside)


def log_odds(chance: Numbers) -> Numbers:
    """The logarithm of the odds of probabilities; NaN of NaN. Probabilities within 1e-6 of 0 or 1 count as that far away."""
    limited = np.clip(chance, _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
    return np.log(limited / (1 - limited))


def probability_of_odds(odds: Numbers) -> Numbers:
    """The inverse of `log_odds`: never exactly 0 or 1; NaN of NaN."""
    limit = np.log(_MIN_PROBABILITY / (1 - _MIN_PROBABILITY))
    return 1 / (1 + np.exp(-np.clip(odds, limit, -limit)))


NORMAL_TAIL = Tail(
    tuple(NormalDist().inv_cdf(1 - chance) / NormalDist().inv_cdf(0.9) for chance in _PROBABILITIES),
    _PROBABILITIES,
)
"""The tail of a normal variable, used if there are too few loads to measure one."""


def to_root(load: Numbers) -> Numbers:
    """Anscombe's root of a load."""
    return np.sqrt(load + _SHIFT)


def from_root(root: Numbers) -> Numbers:
    """The load of Anscombe's root, never negative."""
    return np.maximum(np.maximum(root, 0.0) ** 2 - _SHIFT, 0.0)


def quantiles_of(mean: Numbers, spread: Numbers) -> Numbers:
    """Loads at `QUANTILES`, never negative, shape (rows, 3); `spread` is their distance from the mean's root, ascending."""
    return from_root(to_root(mean)[:, None] + spread)


def widened(spread: Numbers, factor: float) -> Numbers:
    """The same medians with the outer quantiles `factor` times as far away."""
    middle = spread[:, 1:2]
    return middle + (spread - middle) * factor


def probability_above(seats: Numbers, mean: Numbers, spread: Numbers, tail: Tail = NORMAL_TAIL) -> Numbers:
    """P(load > seats), NaN if the seats are unknown."""
    # Loads are whole passengers: more than the seats starts half a passenger above them.
    return tail.probability_beyond(_distance(seats + 0.5, mean, spread))


def measured_tail(load: Numbers, mean: Numbers, spread: Numbers, weight: Numbers) -> Tail:
    """The tail of loads around their forecasts. Each load counts by `weight` times its mean forecast.

    The mean counts because most departures have few passengers, and those do not fill their seats. The tail is normal if
    there are fewer than a few hundred loads.
    """
    distance, counts = _distance(load, mean, spread), weight * np.maximum(mean, 0.1)
    effective = counts.sum() ** 2 / max((counts**2).sum(), 1e-9)
    chances = [chance for chance in _PROBABILITIES if effective * min(chance, 1 - chance) >= _MIN_BEYOND]
    if len(chances) < 5:
        return NORMAL_TAIL
    distances = _weighted_quantiles(distance, counts, [1 - chance for chance in chances])
    # Equal distances would make a step in the tail.
    apart = np.maximum.accumulate(distances + 1e-3 * np.arange(len(distances)))
    return Tail(tuple(apart.tolist()), tuple(chances))


def fitting_factor(load: Numbers, mean: Numbers, spread: Numbers, coverage: float, weight: Numbers) -> float:
    """The factor of `widened` so that P10 to P90 covers the weighted share `coverage` of loads (split conformal)."""
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
