"""Names of forecasts in printed tables. JSON output and data keep the names of the columns; those do not belong here."""

from __future__ import annotations

from collections.abc import Mapping

_LABELS: Mapping[str, str] = {
    "last_week": "last week (LW)",
    "ha4": "mean of 4 weeks (HA4)",
    "ha8": "mean of 8 weeks (HA8)",
    "six_month_mean": "six-month mean",
}


def forecast_label(name: str) -> str:
    """The name of the model or of a baseline as the documentation has it; other names are unchanged."""
    return _LABELS.get(name, name)
