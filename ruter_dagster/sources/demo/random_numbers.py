"""Random numbers that depend only on seed, date and purpose, so that each date can be simulated without the others."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray


def generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """A separate counter-based generator for a purpose and whole numbers, such as the ordinal of a date."""
    entropy = (seed, crc32(purpose.encode()), *numbers)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


@lru_cache(maxsize=4096)
def _normals(seed: int, purpose: str, ordinal: int, size: int) -> NDArray[np.float64]:
    values = generator(seed, purpose, ordinal).standard_normal(size)
    values.setflags(write=False)
    return values


def autocorrelated(seed: int, purpose: str, day: date, size: int, decay: float) -> NDArray[np.float64]:
    """Standard normal values of a date, shape (size,). Their correlation with those `n` days before is about `decay ** n`.

    They are a weighted sum of independent noise of earlier days. A recursion from day to day would need all earlier dates;
    the sum ends at negligible weights.
    """
    weights = decay ** np.arange(int(np.log(0.02) / np.log(decay)) + 1)
    weights /= np.sqrt((weights**2).sum())
    noise = [_normals(seed, purpose, day.toordinal() - age, size) for age in range(len(weights))]
    return (weights[:, None] * np.stack(noise)).sum(axis=0)
