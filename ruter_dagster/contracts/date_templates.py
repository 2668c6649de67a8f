"""Job parameters relative to an issue date: dates as `D`, `D-1`, `D+3`, moments as `NOW`. What a fixed plan of jobs says each day.

A SageMaker Pipeline has no arithmetic on dates: it passes the issue date on, and each job makes its own dates of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from ruter_dagster.contracts.jobs import JobParameters

NOW = "NOW"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\S+")
_RELATIVE = re.compile(r"D([+-]\d{1,4})?")


def to_relative(parameters: JobParameters, issue_date: date) -> str:
    """The parameters as JSON, what is default left out, each date as days from `issue_date`, each moment as `NOW`."""

    def text(value: str) -> str:
        if _DATE.fullmatch(value):
            days = (date.fromisoformat(value) - issue_date).days
            return f"D{days:+d}" if days else "D"
        return NOW if _MOMENT.fullmatch(value) else value

    given = parameters.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(_each_text(given, text), separators=(",", ":"))


def to_absolute(written: str, issue_date: date | None, now: datetime) -> str:
    """The JSON with the dates and the moment meant. Raises ValueError where it is no JSON, or relative to no issue date."""

    def text(value: str) -> str:
        if value == NOW:
            return now.isoformat()
        relative = _RELATIVE.fullmatch(value)
        if not relative:
            return value
        if issue_date is None:
            raise ValueError(f"{value} is relative to an issue date, and none is given")
        return (issue_date + timedelta(int(relative[1] or 0))).isoformat()

    return json.dumps(_each_text(json.loads(written), text))


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """The JSON value with each of its texts changed, but the names of fields."""
    if isinstance(value, dict):
        return {name: _each_text(inner, change) for name, inner in value.items()}
    if isinstance(value, list):
        return [_each_text(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value
