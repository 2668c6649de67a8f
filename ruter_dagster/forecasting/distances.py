"""Distances between distributions of loads. A distribution is an array: the number of loads with 0, 1, 2 … passengers."""

from __future__ import annotations

import numpy as np

MAX_PASSENGERS = 1000
"""Larger loads count as this many passengers."""
LOAD_BINS = np.array([1, 6, 11, 21, 36, 51, 76, 101, 151, 301])
"""Lower bounds of the load bins after the bin of empty vehicles: 1 to 5 passengers, 6 to 10 and so on."""
_SMALLEST_SHARE = 1e-4


def bin_shares(by_passengers: np.ndarray) -> np.ndarray:
    """Share of the loads in each bin of `LOAD_BINS`, after the share of empty vehicles."""
    return np.add.reduceat(by_passengers, np.append(0, LOAD_BINS)) / by_passengers.sum()


def population_stability_index(shares: np.ndarray, usual: np.ndarray) -> float:
    """Sum of (p - q) ln(p / q) over bins; an empty bin counts as one in ten thousand."""
    p, q = shares.clip(min=_SMALLEST_SHARE), usual.clip(min=_SMALLEST_SHARE)
    return float(np.sum((p - q) * np.log(p / q)))


def jensen_shannon(shares: np.ndarray, usual: np.ndarray) -> float:
    """Jensen-Shannon distance, base 2: 0 for equal shares, 1 for shares without a common bin."""
    middle = (shares + usual) / 2

    def divergence(p: np.ndarray) -> float:
        present = p > 0
        return float(np.sum(p[present] * np.log2(p[present] / middle[present])))

    return float(np.sqrt(max(0.0, (divergence(shares) + divergence(usual)) / 2)))


def normed_wasserstein(by_passengers: np.ndarray, usual: np.ndarray) -> float | None:
    """First Wasserstein distance in standard deviations of `usual`; None if that deviation is 0."""
    today, before = by_passengers / by_passengers.sum(), usual / usual.sum()
    passengers = np.arange(len(before))
    deviation = float(np.sqrt(before @ passengers**2 - (before @ passengers) ** 2))
    return float(np.abs(np.cumsum(today) - np.cumsum(before)).sum()) / deviation if deviation > 1e-9 else None
