"""The runs that bring the chain up to an issue date: their order and their dates. How a run is executed belongs in orchestration/runs.py."""

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
    HORIZON_DAYS,
    LEVEL_WINDOW_DAYS,
    YEAR_AGO_DAYS,
)
from ruter_dagster.contracts.jobs import MIN_COUNTED_DATES
from ruter_dagster.orchestration.chain import DEPARTURE_FEATURES, FORECASTS, LEVELS, RUNS, TIMETABLE
from ruter_dagster.orchestration.event_log import content_hashes
from ruter_dagster.orchestration.runs import partition_bounds
from ruter_dagster.orchestration.staleness import COUNTS, PLAN, Delivered, is_out_of_date, out_of_date

if TYPE_CHECKING:
    from ruter_dagster.storage.stored_state import StoredState

PERFORMANCE_DAYS = 7
"""Issue dates before the last that are forecast too, so that there is truth to compare with."""
LEAD_DAYS = 28
"""First dates of the history that have no features, so that those that have some look back on four weeks."""

MODEL_STAGE = "Model, evaluation and release gate"


@dataclass(frozen=True)
class Stage:
    """One run: a title for its bar, the job and the dates it covers (none for models), and which of its assets."""

    title: str
    job: str
    dates: tuple[date, ...] = ()
    assets: tuple[str, ...] = ()

    @property
    def all_assets(self) -> tuple[str, ...]:
        return self.assets or RUNS[self.job]


def stages(issue_date: date, settings: Settings) -> list[Stage]:
    """The runs that bring everything up to `issue_date`, in order.

    The timetable comes first: the quality reports of visits and loads compare them with what was planned.
    """

    def days(first: int, last: int) -> tuple[date, ...]:
        return tuple(issue_date + timedelta(offset) for offset in range(first, last + 1))

    history = -history_days_of(issue_date, settings)
    featured = -featured_days(-history, settings.training_days)
    # Levels of a year before the oldest date that a model is trained on are features of it.
    compared = -featured_days(-history, settings.training_days + YEAR_AGO_DAYS)
    # The first date of the history has no levels before it, so that it is forecast by nobody.
    earlier = days(max(-PERFORMANCE_DAYS, compared + 1), -1)
    planned = [
        Stage("Timetable", "plan", days(min(history, featured), HORIZON_DAYS), TIMETABLE),
        Stage("Counts and loads", "counts", days(history, -1)),
        Stage("Weather forecasts", "weather", days(max(featured - HORIZON_DAYS, history), 0)),
        Stage("Departure features", "plan", days(compared, HORIZON_DAYS), DEPARTURE_FEATURES),
        Stage("Levels", "forecasting", days(compared + 1, 0), LEVELS),
        Stage("Training sample", "sampling", days(featured, -1)),
        Stage(MODEL_STAGE, "training"),
        Stage("Forecasts of the week before", "forecasting", earlier, FORECASTS[:1]),
        Stage("Forecasts, published on Kafka", "forecasting", (issue_date,), FORECASTS),
        Stage("Performance and drift", "monitoring", earlier),
    ]
    return [stage for stage in planned if stage.dates or stage.title == MODEL_STAGE]


def history_days_of(issue_date: date, settings: Settings) -> int:
    """Operating dates of history before the issue date: those asked for, else as many as there are partitions for."""
    if "history_days" in settings.model_fields_set:
        return settings.history_days
    start = settings.history_start or operator_of(settings).history_start
    return min(settings.history_days, max(1, (issue_date - start).days))


def featured_days(history: int, training_days: int) -> int:
    """Newest dates of the history that have features: for training, and at least for the levels of the issue dates forecast."""
    lead = min(LEAD_DAYS, max(FIRST_LAG_DAYS, history - MIN_COUNTED_DATES))
    needed = LEVEL_WINDOW_DAYS + PERFORMANCE_DAYS
    return min(history, max(needed, min(training_days, history - lead)))


def require_partitions(
    planned: Sequence[Stage], definitions: Definitions, issue_date: date, settings: Settings
) -> None:
    """Raises SettingsError where a run would need a date that is no partition of its assets: before the first one runs."""
    spans = [
        (stage.dates, partition_bounds(definitions, stage.all_assets)) for stage in planned if stage.dates
    ]
    room = [(dates[0] - span[0], span[1] - dates[-1]) for dates, span in spans if span]
    operator = operator_of(settings)
    today = f"{get_current_datetime(operator.time_zone).date()} by this machine's clock"
    if len(room) < len(spans):
        start = settings.history_start or operator.history_start
        raise SettingsError(
            f"Settings are wrong:\n  RUTER_HISTORY_START: partitions begin on {start} (by this setting, or the operator's), and "
            f"today is {today}: no operating date has closed yet. Set the clock right, or begin earlier"
        )
    before, after = min(before for before, _ in room), min(after for _, after in room)
    if min(before, after) >= timedelta(0):
        return
    first, last = issue_date - before, issue_date + after
    needed, known = (
        min(dates[0] for dates, _ in spans),
        max(span[0] for _, span in spans if span),
    )
    reach = (
        f"the demo reads from {needed} on (RUTER_HISTORY_DAYS={settings.history_days}), partitions begin on {known} "
        "(RUTER_HISTORY_START, or the operator's)"
    )
    if first > last:
        raise SettingsError(f"Settings are wrong:\n  RUTER_HISTORY_DAYS={settings.history_days}: {reach}")
    raise SettingsError(
        f"Settings are wrong:\n  RUTER_ISSUE_DATE={issue_date}: allowed {first} to {last}, today at the latest ({today}): {reach}"
    )


def needed(
    stage: Stage,
    definitions: Definitions,
    instance: DagsterInstance,
    present: StoredState | None = None,
    delivered: Delivered | None = None,
    *,
    has_timetable: bool = False,
) -> list[Stage]:
    """The runs of a stage that are needed: its assets from the first that is out of date on, and the span of dates in which any is.

    What the state has lost, by `present`, is out of date too, and raw data whose files have changed, by `delivered`. Where
    `has_timetable`, dates that have counts and a plan that is up to date are planned by no run: a newer feed would give them
    other journeys. So the plan may need several runs, one before and one after such dates.
    """
    if not stage.dates:
        stale = [is_out_of_date(definitions, instance, asset, present) for asset in stage.all_assets]
        return [replace(stage, assets=stage.all_assets[stale.index(True) :])] if any(stale) else []
    by_asset = {
        asset: frozenset(
            out_of_date(
                definitions,
                instance,
                asset,
                stage.dates,
                present,
                delivered,
            )
        )
        for asset in stage.all_assets
    }
    kept: frozenset[date] = frozenset()
    if has_timetable and by_asset.get(PLAN):
        kept = frozenset(map(date.fromisoformat, content_hashes(instance, COUNTS))) - by_asset[PLAN]
    return list(_outdated_parts(stage, by_asset, kept))


def _outdated_parts(
    stage: Stage, by_asset: Mapping[str, frozenset[date]], kept: frozenset[date]
) -> Iterator[Stage]:
    """The stage cut where dates of `kept` begin and end; of each part what is out of date."""
    for _, part in groupby(stage.dates, key=lambda day: day in kept):
        days = tuple(part)
        stale = [asset for asset, outdated in by_asset.items() if outdated.intersection(days)]
        if stale:
            outdated = frozenset().union(*by_asset.values()).intersection(days)
            first, last = min(outdated), max(outdated)
            yield replace(
                stage,
                assets=stage.all_assets[stage.all_assets.index(stale[0]) :],
                dates=tuple(day for day in days if first <= day <= last),
            )
