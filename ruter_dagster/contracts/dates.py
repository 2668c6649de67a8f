"""Ranges of dates, also in words. Dates relative to an issue date belong in date_templates.py."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta


def day_range(first: date, last: date) -> list[date]:
    """All dates from first to last, both included; none if last is before first."""
    return [first + timedelta(days) for days in range((last - first).days + 1)]


def date_spans(dates: Iterable[date]) -> str:
    """Dates in words, consecutive ones as a span: `2026-11-18 to 2026-11-20, 2026-11-24`."""
    spans: list[list[date]] = []
    for day in sorted(dates):
        if spans and day - spans[-1][-1] == timedelta(1):
            spans[-1][1:] = [day]
        else:
            spans.append([day])
    return ", ".join(" to ".join(map(str, span)) for span in spans)
