"""Ranges of dates. Dates relative to an issue date belong in date_templates.py."""

from __future__ import annotations

from datetime import date, timedelta


def day_range(first: date, last: date) -> list[date]:
    """All dates from first to last, both included; none if last is before first."""
    return [first + timedelta(days) for days in range((last - first).days + 1)]
