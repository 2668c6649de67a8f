"""Job parameters relative to an issue date: dates as `D`, `D-1`, `D+3`, timestamps as `NOW`.

A SageMaker Pipeline has no date arithmetic: it passes the issue date, and each job computes its own dates.
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
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\S+")
_RELATIVE = re.compile(r"D([+-]\d{1,4})?")


def to_relative(parameters: JobParameters, issue_date: date) -> str:
    """The parameters as JSON without defaults: each date in days from `issue_date`, each timestamp as `NOW`."""

    def text(value: str) -> str:
        if _DATE.fullmatch(value):
            days = (date.fromisoformat(value) - issue_date).days
            return f"D{days:+d}" if days else "D"
        return NOW if _TIMESTAMP.fullmatch(value) else value

    values = parameters.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(_map_texts(values, text), separators=(",", ":"))


def to_absolute(written: str, issue_date: date | None, now: datetime) -> str:
    """The JSON with absolute dates and times. Raises ValueError if it is no JSON, or relative without an issue date."""

    def text(value: str) -> str:
        if value == NOW:
            return now.isoformat()
        relative = _RELATIVE.fullmatch(value)
        if not relative:
            return value
        if issue_date is None:
            raise ValueError(f"{value} is relative to an issue date, but no issue date is given")
        return (issue_date + timedelta(int(relative[1] or 0))).isoformat()

    return json.dumps(_map_texts(json.loads(written), text))


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The JSON value with `change` applied to each text, except names of fields."""
    if isinstance(value, dict):
        return {name: _map_texts(inner, change) for name, inner in value.items()}
    if isinstance(value, list):
        return [_map_texts(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value
