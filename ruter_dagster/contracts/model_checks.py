"""Checks of models and of their forecasts: the release gate and drift. Checks of tables belong in checks.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ruter_dagster.contracts.drift import DRIFT_METRICS


@dataclass(frozen=True)
class ModelCheck:
    """A check of an asset that is not a table. ERROR blocks the assets downstream, WARN only reports."""

    name: str
    severity: Literal["ERROR", "WARN"]
    description: str


MAX_BIAS = 0.05
COVERAGE = (0.75, 0.85)
"""Bounds for a sound model in the fortnight of an evaluation (docs/decisions/thresholds.md)."""

GATE_CHECKS = (
    ModelCheck(
        "not_worse_than_baselines",
        "ERROR",
        "The release gate: in every mode and horizon, the model's WAPE is not higher than the best baseline's by more than its 95 % "
        "interval, from a bootstrap of blocks of dates",
    ),
    ModelCheck(
        "bias_within_five_percent",
        "WARN",
        f"The sum of forecast loads differs from the sum of counted loads by at most {MAX_BIAS:.0%}",
    ),
    ModelCheck(
        "coverage_near_80_percent",
        "WARN",
        f"P10 to P90 holds {COVERAGE[0]:.0%} to {COVERAGE[1]:.0%} of the loads",
    ),
)

DRIFT_CHECKS = tuple(
    ModelCheck(metric.name, "WARN", f"{metric.title}: {metric.description}") for metric in DRIFT_METRICS
)
