"""Where a table keeps the content version of each of its dates: in its properties. Loads nothing, so that any command may look."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

_VERSION = "version."


def version_property(day: date) -> str:
    """Name of the property that holds the version of a date, in the table and in the summary of its snapshot."""
    return f"{_VERSION}{day}"


def versions_of(properties: Mapping[str, str]) -> dict[date, str]:
    """The content version of each date that a table's properties, or a snapshot's summary, tell."""
    return {
        date.fromisoformat(name.removeprefix(_VERSION)): version
        for name, version in properties.items()
        if name.startswith(_VERSION)
    }
