"""The interface of sources: absent dates, ranges and availability."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS, WEATHER_FORECASTS, Table
from ruter_dagster.sources.base import DateAbsent, Source, read_dates, split_by_availability
from ruter_dagster.sources.demo.source import DemoSource
from ruter_dagster.sources.tides import TidesSource
from tests.sources.tides_folder import EXAMPLE


class _TwoDates:
    def available_dates(self) -> frozenset[date] | None:
        return frozenset({date(2026, 11, 1), date(2026, 11, 3)})

    def stop_visits(self, service_date: date) -> pl.DataFrame:
        if service_date not in self.available_dates():
            raise DateAbsent(str(service_date))
        return pl.DataFrame({"service_date": [service_date]})

    planned_departures = weather_forecasts = stop_visits


def test_demo_network_is_a_source() -> None:
    assert isinstance(DemoSource(), Source)


def test_absent_date_is_bad_input() -> None:
    assert issubclass(DateAbsent, BadInput)


def test_range_is_split_into_available_and_missing_dates() -> None:
    dates = [date(2026, 11, day) for day in (3, 2, 1)]
    assert split_by_availability(_TwoDates(), dates) == (
        [date(2026, 11, 1), date(2026, 11, 3)],
        [date(2026, 11, 2)],
    )


def test_reading_lists_absent_dates() -> None:
    reading = read_dates(_TwoDates(), STOP_VISITS, [date(2026, 11, day) for day in (1, 2, 3)])
    assert reading.rows["service_date"].to_list() == [date(2026, 11, 1), date(2026, 11, 3)]
    assert reading.absent == (date(2026, 11, 2),)


def test_reading_only_absent_dates_raises_date_absent() -> None:
    with pytest.raises(DateAbsent, match="2026-11-02"):
        read_dates(_TwoDates(), STOP_VISITS, [date(2026, 11, 2), date(2026, 11, 4)])


@pytest.mark.parametrize("table", [STOP_VISITS, PLANNED_DEPARTURES, WEATHER_FORECASTS], ids=lambda t: t.name)
def test_one_pass_equals_reading_date_by_date(table: Table) -> None:
    aarhus, days = TidesSource(EXAMPLE, "Europe/Copenhagen"), [date(2023, 9, 1), date(2023, 9, 2)]
    by_date = pl.concat(read_dates(aarhus, table, [day]).rows for day in days)
    assert_frame_equal(read_dates(aarhus, table, days).rows, by_date, check_row_order=False)


def test_unbounded_source_has_every_date() -> None:
    assert split_by_availability(DemoSource(), [date(2031, 1, 1)]) == ([date(2031, 1, 1)], [])
