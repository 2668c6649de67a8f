"""Plans the runs that bring the chain up to an issue date: their order and their dates. `orchestration/runs.py` executes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from dagster import DagsterInstance, Definitions

from ruter_dagster.compat.clock import get_current_datetime
from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import Settings, SettingsError
from ruter_dagster.contracts.date_windows import (
    FIRST_LAG_DAYS,
    HA4_DAYS,
    HORIZON_DAYS,
    LEVEL_WINDOW_DAYS,
    YEAR_AGO_DAYS,
)
from ruter_dagster.contracts.jobs import MIN_COUNTED_DATES
from ruter_dagster.orchestration.chain import DEPARTURE_FEATURES, FORECASTS, LEVELS, RUNS, TIMETABLE
from ruter_dagster.orchestration.event_log import content_hashes
from ruter_dagster.orchestration.runs import partition_bounds
from ruter_dagster.orchestration.staleness import (
    PLAN_ASSET,
    VISITS_ASSET,
    FindFileVersions,
    is_outdated,
    outdated_dates,
)

if TYPE_CHECKING:
    from ruter_dagster.storage.stored_state import StoredState

PERFORMANCE_DAYS = 7
"""Number of earlier issue dates that are forecast too, so that forecasts can be compared with counts."""
LEAD_DAYS = HA4_DAYS
"""Number of first dates of the history without features, so that the first features read four weeks of history."""

MODEL_STAGE = "Model, evaluation and release gate"


@dataclass(frozen=True)
class Stage:
    """A planned run: a title for its progress bar, the job, its dates (none for models), and which of its assets.

    `assets` is empty for all assets of the job.
    """

    title: str
    job: str
    dates: tuple[date, ...] = ()
    assets: tuple[str, ...] = ()

    @property
    def all_assets(self) -> tuple[str, ...]:
        return self.assets or RUNS[self.job]


def stages(issue_date: date, settings: Settings) -> list[Stage]:
    """The runs that bring every asset up to `issue_date`, in order.

    The timetable comes first, because the quality reports of visits and loads compare counts with the timetable.
    """

    def days(first: int, last: int) -> tuple[date, ...]:
        return tuple(issue_date + timedelta(offset) for offset in range(first, last + 1))

    history = -history_days_of(issue_date, settings)
    training = -feature_days(-history, settings.training_days)
    # The oldest training date has features that compare it with the level one year before.
    levels = -feature_days(-history, settings.training_days + YEAR_AGO_DAYS)
    # The first date of the history cannot be forecast: no date before it has levels.
    earlier = days(max(-PERFORMANCE_DAYS, levels + 1), -1)
    planned = [
        Stage("Timetable", "plan", days(min(history, training), HORIZON_DAYS), TIMETABLE),
        Stage("Counts and loads", "counts", days(history, -1)),
        Stage("Weather forecasts", "weather", days(max(training - HORIZON_DAYS, history), 0)),
        Stage("Departure features", "plan", days(levels, HORIZON_DAYS), DEPARTURE_FEATURES),
        Stage("Levels", "forecasting", days(levels + 1, 0), LEVELS),
        Stage("Training sample", "sampling", days(training, -1)),
        Stage(MODEL_STAGE, "training"),
        Stage("Forecasts of the week before", "forecasting", earlier, FORECASTS[:1]),
        Stage("Forecasts, published on Kafka", "forecasting", (issue_date,), FORECASTS),
        Stage("Performance and drift", "monitoring", earlier),
    ]
    return [stage for stage in planned if stage.dates or stage.title == MODEL_STAGE]


def history_days_of(issue_date: date, settings: Settings) -> int:
    """Number of operating dates before the issue date: as the settings say, else at most as many as there are partitions."""
    if "history_days" in settings.model_fields_set:
        return settings.history_days
    start = settings.history_start or operator_of(settings).history_start
    return min(settings.history_days, max(1, (issue_date - start).days))


def feature_days(history: int, training_days: int) -> int:
    """Number of newest dates of the history that have features: for training, and at least for the forecast levels."""
    lead = min(LEAD_DAYS, max(FIRST_LAG_DAYS, history - MIN_COUNTED_DATES))
    minimum = LEVEL_WINDOW_DAYS + PERFORMANCE_DAYS
    return min(history, max(minimum, min(training_days, history - lead)))


def require_partitions(
    planned: Sequence[Stage], definitions: Definitions, issue_date: date, settings: Settings
) -> None:
    """Raises SettingsError if a run would need a date that is not a partition of its assets."""
    dated = [stage for stage in planned if stage.dates]
    bounds = [partition_bounds(definitions, stage.all_assets) for stage in dated]
    operator = operator_of(settings)
    today = f"{get_current_datetime(operator.time_zone).date()} by this machine's clock"
    if None in bounds:
        start = settings.history_start or operator.history_start
        raise SettingsError(
            f"Settings are wrong:\n  RUTER_HISTORY_START: partitions begin on {start} (by this setting, or the operator's), and "
            f"today is {today}: no operating date has closed yet. Correct the clock, or set an earlier start"
        )
    limits = list(zip(dated, filter(None, bounds), strict=True))
    before = min(stage.dates[0] - first for stage, (first, _) in limits)
    after = min(last - stage.dates[-1] for stage, (_, last) in limits)
    if min(before, after) >= timedelta(0):
        return
    first, last = issue_date - before, issue_date + after
    reason = (
        f"the demo reads from {min(stage.dates[0] for stage in dated)} on (RUTER_HISTORY_DAYS={settings.history_days}), "
        f"partitions begin on {max(first for _, (first, _) in limits)} (RUTER_HISTORY_START, or the operator's)"
    )
    if first > last:
        raise SettingsError(f"Settings are wrong:\n  RUTER_HISTORY_DAYS={settings.history_days}: {reason}")
    raise SettingsError(
        f"Settings are wrong:\n  RUTER_ISSUE_DATE={issue_date}: allowed {first} to {last}, today at the latest ({today}): {reason}"
    )


def outdated_stages(
    stage: Stage,
    definitions: Definitions,
    instance: DagsterInstance,
    stored: StoredState | None = None,
    find_files: FindFileVersions | None = None,
    *,
    has_timetable: bool = False,
) -> list[Stage]:
    """The runs of a stage that are needed: from its first outdated asset on, and from its first to its last outdated date.

    `stored` and `find_files`: as in `outdated_dates`. `has_timetable`: dates that have counts keep their plan if it is up
    to date, because a newer feed would give them other journeys. The plan then needs separate runs before and after them.
    """
    if not stage.dates:
        outdated = [is_outdated(definitions, instance, asset, stored) for asset in stage.all_assets]
        return [replace(stage, assets=stage.all_assets[outdated.index(True) :])] if any(outdated) else []
    by_asset = {
        asset: frozenset(outdated_dates(definitions, instance, asset, stage.dates, stored, find_files))
        for asset in stage.all_assets
    }
    kept: frozenset[date] = frozenset()
    if has_timetable and by_asset.get(PLAN_ASSET):
        counted = frozenset(map(date.fromisoformat, content_hashes(instance, VISITS_ASSET)))
        kept = counted - by_asset[PLAN_ASSET]
    return list(_split_stage(stage, by_asset, kept))


def _split_stage(
    stage: Stage, outdated_by_asset: Mapping[str, frozenset[date]], kept: frozenset[date]
) -> Iterator[Stage]:
    """The outdated parts of a stage, split where dates that keep their plan begin and end."""
    for _, part in groupby(stage.dates, key=lambda day: day in kept):
        days = tuple(part)
        assets = [asset for asset, outdated in outdated_by_asset.items() if outdated.intersection(days)]
        if assets:
            outdated = frozenset().union(*outdated_by_asset.values()).intersection(days)
            first, last = min(outdated), max(outdated)
            yield replace(
                stage,
                assets=stage.all_assets[stage.all_assets.index(assets[0]) :],
                dates=tuple(day for day in days if first <= day <= last),
            )
