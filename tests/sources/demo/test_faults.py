"""Injected faults break the contract of stop visits, each in its own way."""

from __future__ import annotations

from datetime import date

import pytest

from ruter_dagster.contracts.errors import BadInput, PermanentFailure
from ruter_dagster.contracts.frames import conform, validate
from ruter_dagster.contracts.tables import STOP_VISITS
from ruter_dagster.sources.demo.faults import FAULTS, Fault, inject
from ruter_dagster.sources.demo.source import DemoSource

DAY = date(2026, 11, 11)
MESSAGES: dict[Fault, str] = {
    "duplicates": "unique: broken in 10 of",
    "negative_counts": "boardings >= 0: broken in 5 of",
    "overload": "load_within_twice_the_capacity .*: broken in 5 of",
    "missing_column": "stop_id is missing",
    "wrong_type": "departure_load should be Int32",
    "wrong_dates": "within the dates being written .*: broken in 5 of",
    "missing_load": "counted .*: broken in 5 of",
    "empty": "without any row",
}


@pytest.mark.parametrize("fault", MESSAGES)
def test_a_fault_is_refused_by_name(source: DemoSource, fault: Fault) -> None:
    with pytest.raises(BadInput, match=MESSAGES[fault]):
        validate(conform(inject(source.stop_visits(DAY), fault), STOP_VISITS), STOP_VISITS, [DAY])


def test_an_unknown_stop_is_one_that_the_timetable_lacks(source: DemoSource) -> None:
    planned = set(source.planned_departures(DAY)["stop_id"])
    faulty = inject(source.stop_visits(DAY), "unknown_stop", rows=2)
    assert set(faulty["stop_id"]) - planned == {"NSR:Quay:unknown"}
    assert set(FAULTS) == {*MESSAGES, "unknown_stop"}


def test_an_unknown_fault_says_what_is_allowed(source: DemoSource) -> None:
    with pytest.raises(PermanentFailure, match="allowed: duplicates, "):
        inject(source.stop_visits(DAY), "typo")  # pyright: ignore
