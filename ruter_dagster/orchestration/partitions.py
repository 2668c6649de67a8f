"""The partitions of every asset, and how one's partitions depend on another's.

Counts are known once an operating date is closed, plans reach three days ahead, forecasts are issued on a date.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from dagster import AssetExecutionContext, DailyPartitionsDefinition, TimeWindowPartitionMapping

from ruter_dagster.contracts.date_windows import HORIZON_DAYS

PART_OF_RANGE_TAG = "ruter/part_of_range"
"""Tag of a run over those dates of a range that are out of date, one or several, while its others stand."""


@dataclass(frozen=True)
class Partitions:
    """`operating`: closed operating dates; `planned`: up to today + 3; `issue`: up to today."""

    operating: DailyPartitionsDefinition
    planned: DailyPartitionsDefinition
    issue: DailyPartitionsDefinition

    @classmethod
    def of(cls, start: date, time_zone: str) -> Partitions:
        def daily(end_offset: int) -> DailyPartitionsDefinition:
            return DailyPartitionsDefinition(start.isoformat(), timezone=time_zone, end_offset=end_offset)

        return cls(operating=daily(0), planned=daily(1 + HORIZON_DAYS), issue=daily(1))


def window(start_offset: int, end_offset: int) -> TimeWindowPartitionMapping:
    """Depends on the dates from `start_offset` to `end_offset` days around its own, as far as they exist."""
    return TimeWindowPartitionMapping(
        start_offset=start_offset, end_offset=end_offset, allow_nonexistent_upstream_partitions=True
    )


def dates_of(context: AssetExecutionContext) -> tuple[date, ...]:
    """The dates of the run's partition or range; none if the asset has no partitions."""
    if not (context.has_partition_key or context.has_partition_key_range):
        return ()
    return tuple(date.fromisoformat(key) for key in context.partition_keys)
