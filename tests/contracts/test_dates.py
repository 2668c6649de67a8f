"""Dates in words."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from ruter_dagster.contracts.dates import date_spans

D = date(2026, 11, 18)


@pytest.mark.parametrize(
    ("days", "words"),
    [
        ([], ""),
        ([0], "2026-11-18"),
        ([2, 0, 1, 6], "2026-11-18 to 2026-11-20, 2026-11-24"),
        ([0, 2, 3], "2026-11-18, 2026-11-20 to 2026-11-21"),
    ],
)
def test_consecutive_dates_become_a_span(days: list[int], words: str) -> None:
    assert date_spans(D + timedelta(day) for day in days) == words
