"""Random numbers that depend on (seed, date, purpose) alone, so that every date can be drawn by itself."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray


def generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """A counter-based generator of its own for a purpose and any whole numbers, such as a date's ordinal."""
    entropy = (seed, crc32(purpose.encode()), *numbers)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


@lru_cache(maxsize=4096)
def _normals(seed: int, purpose: str, ordinal: int, size: int) -> NDArray[np.float64]:
    values = generator(seed, purpose, ordinal).standard_normal(size)
    values.setflags(write=False)
    return values


def autocorrelated(seed: int, purpose: str, day: date, size: int, decay: float) -> NDArray[np.float64]:
    """Standard normal values of a date whose correlation with those `n` days before is about `decay ** n`.

    A weighted sum of the independent noise of the days before replaces the walk from day to day, which would need
    every earlier date; the weights end where they no longer count. Shape (size,).
    """
    weights = decay ** np.arange(int(np.log(0.02) / np.log(decay)) + 1)
    weights /= np.sqrt((weights**2).sum())
    noise = [_normals(seed, purpose, day.toordinal() - age, size) for age in range(len(weights))]
    return (weights[:, None] * np.stack(noise)).sum(axis=0)
