"""The chain: its runs, the assets of each, and which runs follow others. Which dates an asset reads is declared with the asset."""

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
FORECASTS = ("forecasts/load_forecasts", "forecasts/published_forecasts")

RUNS = {
    "counts": COUNTS,
    "plan": TIMETABLE + DEPARTURE_FEATURES,
    "weather": WEATHER,
    "sampling": ("features/training_sample",),
    "training": ("models/load_model", "models/evaluation", "models/refitted_model", "models/champion"),
    "forecasting": WEATHER + LEVELS + FORECASTS,
    "monitoring": ("monitoring/forecast_performance", "monitoring/drift"),
}
"""The assets of each run, by job. A run's assets have the same partitions: Dagster refuses others."""

SAMPLES_PER_TICK = 5
"""Samples that a tick requests. After weeks without a sensor, many dates are due at once."""


@dataclass(frozen=True)
class FollowUp:
    """A run that follows others of its issue date, once for each content of its inputs.

    `after`: the jobs whose runs must have succeeded. `day`: the partition, in days from the issue date. `readers`: the
    assets whose inputs decide whether the content is new. `required`: an asset that must have its partition, given in
    days from the follow-up's partition. `newest_only`: skip issue dates older than the newest one made.
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
    """Forecasts after counts and plan; monitoring and sample of the newest date that is both forecast and counted."""
    # Without a timetable, a date is forecast only after it was counted, so that its issue date is the newest counted date.
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
    )


Window = tuple[str, int, int]
"""An asset, and the first and last of its dates that are read, in days from the reader's date."""


def input_windows(follow_up: FollowUp, assets: Iterable[AssetsDefinition]) -> tuple[Window, ...]:
    """The partitioned inputs of a follow-up's readers from other runs. Reports are left out: they judge the same content."""
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
            known = windows.get(parent, (first, last))
            windows[parent] = (min(known[0], first), max(known[1], last))
    return tuple((parent, first, last) for parent, (first, last) in windows.items())
