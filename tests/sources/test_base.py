"""What a source promises to its callers."""

from __future__ import annotations

from datetime import date

import polars as pl

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources.base import DateAbsent, Source, split_by_availability
from ruter_dagster.sources.demo.source import DemoSource


class _TwoDates:
    def available_dates(self) -> frozenset[date] | None:
        return frozenset({date(2026, 11, 1), date(2026, 11, 3)})

    def stop_visits(self, service_date: date) -> pl.DataFrame:
        raise DateAbsent(str(service_date))

    planned_departures = weather_forecasts = stop_visits


def test_the_demo_network_is_a_source() -> None:
    assert isinstance(DemoSource(), Source)


def test_an_absent_date_is_bad_input_that_no_retry_cures() -> None:
    assert issubclass(DateAbsent, BadInput)


def test_a_range_is_split_into_dates_that_are_there_and_dates_that_are_not() -> None:
    dates = [date(2026, 11, day) for day in (3, 2, 1)]
    assert split_by_availability(_TwoDates(), dates) == (
        [date(2026, 11, 1), date(2026, 11, 3)],
        [date(2026, 11, 2)],
    )


def test_an_unbounded_source_has_every_date() -> None:
    assert split_by_availability(DemoSource(), [date(2031, 1, 1)]) == ([date(2031, 1, 1)], [])
