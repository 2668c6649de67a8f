"""The partitions that exist at a given time, so that tests do not depend on the clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime

from dagster._core.definitions.partitions.context import partition_loading_context


@contextmanager
def partitions_as_of(day: date) -> Iterator[None]:
    """Within it, Dagster sees the partitions that exist at five in the morning of a date."""
    with partition_loading_context(effective_dt=datetime(day.year, day.month, day.day, 5, tzinfo=UTC)):
        yield
