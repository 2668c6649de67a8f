"""Versions of the files that a date is read from, as they are recorded with what was made of them. Plain values only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

RECENT_DATES = 14
"""Newest dates at the source whose files are looked at for corrections between two days of the chain."""
NO_VERSION = "none"
UNREAD = "unread"
"""Recorded of a date that no feed could plan because one was broken: it is read again until one can."""
_SEPARATOR = "+"
_FEED = "feed "


@dataclass(frozen=True)
class FileVersions:
    """Hashes of what a date is read from: its own files, whose paths name it, and those that it shares with other dates.

    A shared file changes whenever a date is added to it, so `rows` says what it has of this date; it is read when it is asked for.
    `timetable` says which feed plans the date and what its capacities follow from; `is_ahead`: nothing else is known of it yet.
    """

    own: str
    shared: str
    rows: Callable[[], str]
    timetable: Callable[[], str] = lambda: NO_VERSION
    is_ahead: bool = False

    def recorded(self) -> str:
        """What is kept with a date that was read."""
        return self._planned() if self.is_ahead else _SEPARATOR.join((self.own, self.shared, self.rows()))

    def has_changed(self, recorded: str, is_matched: bool = False) -> bool:
        """Whether the date would be read from other rows than those of which `recorded` was kept.

        A date that was planned ahead keeps its plan once counts were matched to it (`is_matched`).
        """
        own = own_version(recorded)
        if own is None:
            return not is_matched and recorded != self._planned()
        if self.is_ahead or own != self.own:
            return True
        shared = recorded.split(_SEPARATOR)[1:]
        if not shared or shared[0] == self.shared:
            return False
        return shared[1:] != [self.rows()]

    def _planned(self) -> str:
        return f"{_FEED}{self.timetable()}"


def own_version(recorded: str) -> str | None:
    """The hash of a date's own files in what was recorded with it; None where it was planned ahead."""
    return None if recorded.startswith(_FEED) else recorded.split(_SEPARATOR)[0]
