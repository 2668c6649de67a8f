"""Table properties that hold the content version of each date. Imports no pyiceberg, so that every command can use it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

_VERSION = "version."


def version_property(day: date) -> str:
    """Name of the property with a date's version, in the table and in the snapshot summary."""
    return f"{_VERSION}{day}"


def versions_of(properties: Mapping[str, str]) -> dict[date, str]:
    """The content version of each date in a table's properties or a snapshot's summary."""
    return {
        date.fromisoformat(name.removeprefix(_VERSION)): version
        for name, version in properties.items()
        if name.startswith(_VERSION)
    }
