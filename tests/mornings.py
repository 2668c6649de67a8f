"""Partitions as Dagster sees them at five in the morning of a day: what tests ask of them hangs on no clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime

from dagster._core.definitions.partitions.context import partition_loading_context


@contextmanager
def at_five(day: date) -> Iterator[None]:
    """As if it were five in the morning of a day."""
    with partition_loading_context(effective_dt=datetime(day.year, day.month, day.day, 5, tzinfo=UTC)):
        yield
