"""The chain: its runs, their assets, and which runs follow others. Each asset declares the dates that it reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from dagster import AssetsDefinition, TimeWindowPartitionMapping

from ruter_dagster.config.gtfs_location import plans_ahead
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.jobs import QUALITY_GROUP

COUNTS = ("raw/stop_visits", "quality/stop_visits", "loads/stop_loads", "quality/stop_loads")
TIMETABLE = ("raw/planned_departures", "quality/planned_departures")
DEPARTURE_FEATURES = ("features/departure_features", "quality/departure_features")
WEATHER = ("raw/weather_forecasts", "quality/weather_forecasts")
LEVELS = ("features/levels", "quality/levels")
FORECASTS = ("forecasts/load_forecasts", "forecasts/published_forecasts", "forecasts/feeds")

RUNS = {
    "counts": COUNTS,
    "plan": TIMETABLE + DEPARTURE_FEATURES,
    "weather": WEATHER,
    "sampling": ("features/training_sample",),
    "training": ("models/load_model", "models/evaluation", "models/refitted_model", "models/champion"),
    "forecasting": WEATHER + LEVELS + FORECASTS,
    "challenger": ("forecasts/challenger_forecasts",),
    "monitoring": ("monitoring/forecast_performance", "monitoring/line_scores", "monitoring/drift"),
    "final_truth": ("monitoring/forecast_performance", "monitoring/line_scores"),
    "retention": ("monitoring/retention",),
}
"""The assets of each run, by job. All assets of a run have the same partitions, because Dagster requires it."""

SAMPLES_PER_TICK = 5
"""The most samples that one tick requests. After weeks without the sensor, many dates are due at once."""


@dataclass(frozen=True)
class FollowUp:
    """A run that follows other runs of its issue date, once for each content of its inputs.

    `after`: the jobs whose runs must have succeeded. `day`: the partition, in days from the issue date. `readers`: the
    assets whose inputs decide whether the content is new. `required`: an asset and the partition of it that must exist,
    in days from the follow-up's partition. `newest_only`: skip issue dates older than the newest that has this follow-up.
    `per_tick`: the most runs that one tick requests.
    """

    job: str
    after: tuple[str, ...]
    day: int
    readers: tuple[str, ...]
    required: tuple[str, int]
    newest_only: bool = False
    per_tick: int | None = None

    def partition(self, issue_date: str) -> date:
        return date.fromisoformat(issue_date) + timedelta(self.day)


def follow_ups(settings: Settings) -> tuple[FollowUp, ...]:
    """Forecasts after counts and plan; monitoring and sample of the newest date that has both forecasts and counts.

    Then the scores of the date whose truth becomes final, and with a challenger its forecasts.
    """
    # Without a timetable, a date is forecast only after its counts, so that the issue date is the newest date with counts.
    late = not plans_ahead(settings)
    after_counts, counted_day = (("forecasting",), 0) if late else (("counts",), -1)
    return (
        FollowUp(
            "forecasting",
            after=("counts", "plan"),
            day=0,
            readers=RUNS["forecasting"],
            required=("loads/stop_loads", -1),
            # Late or corrected counts of last week must not publish last week's forecasts after today's.
            newest_only=not late,
        ),
        FollowUp(
            "monitoring",
            after=after_counts,
            day=counted_day,
            # Drift also reads old dates, whose corrections must not repeat the monitoring of a new date.
            readers=("monitoring/forecast_performance",),
            required=("loads/stop_loads", 0),
        ),
        FollowUp(
            "sampling",
            after=after_counts,
            day=counted_day,
            readers=RUNS["sampling"],
            required=("features/departure_features", 0),
            per_tick=SAMPLES_PER_TICK,
        ),
        *(_final_truth(counted_day - settings.truth_final_days) if settings.truth_final_days else ()),
        *(_challenger_forecasts() if settings.challenger else ()),
    )


def _final_truth(day: int) -> tuple[FollowUp]:
    """Scores the date again whose truth has become final: with the counts that arrived late, and for the last time."""
    return (
        FollowUp(
            "final_truth",
            after=("monitoring",),
            day=day,
            readers=("monitoring/forecast_performance",),
            required=("monitoring/forecast_performance", 0),
        ),
    )


def _challenger_forecasts() -> tuple[FollowUp]:
    return (
        FollowUp(
            "challenger",
            after=("forecasting",),
            day=0,
            readers=RUNS["challenger"],
            required=("forecasts/load_forecasts", 0),
            newest_only=True,
        ),
    )


Window = tuple[str, int, int]
"""An asset, and the first and last of its dates that are read, in days from the reader's date."""


def input_windows(follow_up: FollowUp, assets: Iterable[AssetsDefinition]) -> tuple[Window, ...]:
    """The partitioned inputs of a follow-up's readers from other runs. Quality reports are left out: their content follows from the data."""
    by_key = {asset.key.to_user_string(): asset for asset in assets}
    windows: dict[str, tuple[int, int]] = {}
    for reader in follow_up.readers:
        for dep in by_key[reader].get_asset_spec().deps:
            parent = dep.asset_key.to_user_string()
            if parent in RUNS[follow_up.job] or parent.startswith(f"{QUALITY_GROUP}/"):
                continue
            if by_key[parent].partitions_def is None:
                continue
            mapping = dep.partition_mapping
            first, last = (
                (mapping.start_offset, mapping.end_offset)
                if isinstance(mapping, TimeWindowPartitionMapping)
                else (0, 0)
            )
            other_first, other_last = windows.get(parent, (first, last))
            windows[parent] = (min(other_first, first), max(other_last, last))
    return tuple((parent, first, last) for parent, (first, last) in windows.items())
