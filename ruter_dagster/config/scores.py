"""Settings of ground truth, scores and the challenger, and how long their tables and files are kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

from ruter_dagster.contracts.date_windows import TRUTH_FINAL_DAYS
from ruter_dagster.contracts.scores import CROWDED_PROBABILITY

MIN_KEPT_DAYS = 30


def _require_kept_days(days: int) -> int:
    if 0 < days < MIN_KEPT_DAYS:
        raise ValueError(
            f"allowed: 0, or at least {MIN_KEPT_DAYS}: until then, the truth of a date is not final"
        )
    return days


KeptDays = Annotated[int, Field(ge=0), AfterValidator(_require_kept_days)]
"""Days of dates that a table keeps; 0 keeps all."""


class ScoreSettings(BaseSettings):
    """When truth is final, when a departure counts as crowded, which model is the challenger, and what is kept."""

    forecast_retention_days: KeptDays = Field(
        400, description="Days before the newest issue date that forecasts and publications are kept; 0: all"
    )
    performance_retention_days: KeptDays = Field(
        400,
        description="Days before the newest operating date that scored departures and scores by stop are kept; 0: all",
    )
    score_retention_days: KeptDays = Field(
        1830,
        description="Days before the newest operating date that scores by line and drift are kept; 0: all",
    )
    file_retention_days: int = Field(
        60,
        ge=7,
        description="Days that snapshots are kept, and then files that no snapshot needs. A clone of this state must not live longer",
    )
    truth_final_days: int = Field(
        TRUTH_FINAL_DAYS,
        ge=0,
        le=25,
        description="Days after which the truth of an operating date is final: later counts are reported and not used",
    )
    crowded_probability: float = Field(
        CROWDED_PROBABILITY,
        gt=0,
        lt=1,
        description="P(load > seats) from which a departure counts as forecast to be crowded, in the scores and on the dashboard",
    )
    challenger: str | None = Field(
        None,
        description="Model version that is scored beside the champion and never published; `newest` is the version trained last. "
        "Without it, there is no extra work",
    )
