"""The partitions of all assets, and the partition mappings between assets.

Counts exist once an operating date has closed, plans reach three days ahead, and forecasts belong to an issue date.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from dagster import AssetExecutionContext, DailyPartitionsDefinition, TimeWindowPartitionMapping

from ruter_dagster.compat.clock import get_current_datetime
from ruter_dagster.compat.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import DEMO_ISSUE_DATE, Settings
from ruter_dagster.contracts.date_windows import HORIZON_DAYS

PART_OF_RANGE_TAG = "ruter/part_of_range"
"""Tag of a run over the outdated dates of a range. The other dates of the range are up to date."""

DATES_TAG = "ruter/dates"
"""Tag with the dates of a range. The UI's list of runs shows it, but not Dagster's own tags of a range."""


def range_tags(first: date, last: date) -> dict[str, str]:
    """The tags of a run over a range of dates."""
    return {
        ASSET_PARTITION_RANGE_START_TAG: first.isoformat(),
        ASSET_PARTITION_RANGE_END_TAG: last.isoformat(),
        DATES_TAG: f"{first} to {last}",
    }


@dataclass(frozen=True)
class Partitions:
    """`operating`: closed operating dates; `planned`: up to today + 3; `issue`: up to today.

    `last_issue_date` replaces today: the partitions are those that a demo fills.
    """

    operating: DailyPartitionsDefinition
    planned: DailyPartitionsDefinition
    issue: DailyPartitionsDefinition

    @classmethod
    def of(cls, start: date, time_zone: str, last_issue_date: date | None = None) -> Partitions:
        def daily(end_offset: int) -> DailyPartitionsDefinition:
            end = last_issue_date + timedelta(end_offset) if last_issue_date else None
            return DailyPartitionsDefinition(
                start.isoformat(),
                end.isoformat() if end else None,
                timezone=time_zone,
                end_offset=end_offset,
            )

        return cls(operating=daily(0), planned=daily(1 + HORIZON_DAYS), issue=daily(1))


def partitions_of(settings: Settings, operator: Operator) -> Partitions:
    """Partitions from the start in the settings, else the operator's, up to today. On a laptop, those that the demo fills."""
    start = settings.history_start or operator.history_start
    demo = _demo_dates(settings, start, get_current_datetime(operator.time_zone).date())
    if demo is None:
        return Partitions.of(start, operator.time_zone)
    return Partitions.of(demo[0], operator.time_zone, last_issue_date=demo[1])


def _demo_dates(settings: Settings, start: date, today: date) -> tuple[date, date] | None:
    """First operating date and issue date of a demo on a laptop.

    None for other sources and environments, and for dates that the demo refuses: its error names the allowed dates.
    """
    if settings.source != "demo" or settings.environment != "local":
        return None
    issue_date = settings.issue_date or DEMO_ISSUE_DATE
    first = start if settings.history_start else issue_date - timedelta(settings.history_days)
    if "history_days" not in settings.model_fields_set:
        first = max(first, start)
    return (first, issue_date) if start <= first < issue_date <= today else None


def window(start_offset: int, end_offset: int) -> TimeWindowPartitionMapping:
    """The mapping to the existing dates from `start_offset` to `end_offset` days around a partition's own date."""
    return TimeWindowPartitionMapping(
        start_offset=start_offset, end_offset=end_offset, allow_nonexistent_upstream_partitions=True
    )


def dates_of(context: AssetExecutionContext) -> tuple[date, ...]:
    """The dates of the run's partition or range. Empty if the asset has no partitions."""
    if not (context.has_partition_key or context.has_partition_key_range):
        return ()
    return tuple(date.fromisoformat(key) for key in context.partition_keys)
