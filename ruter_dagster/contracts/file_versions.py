"""Versions of the source files of a date, recorded with its materialisation. Plain values only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

RECENT_DATES = 14
"""Number of newest dates at the source whose files are checked for corrections."""
NO_VERSION = "none"
UNREAD = "unread"
"""Recorded for a date that no feed could plan because a feed was broken. The date is read again until one can."""
_SEPARATOR = "+"
_FEED = "feed "


@dataclass(frozen=True)
class FileVersions:
    """Hashes of a date's source files: its own files, whose paths name the date, and files shared with other dates.

    A shared file changes whenever a date is added, so `rows` returns the hash of this date's rows; it reads the file when
    called. `timetable` returns the version of the feed that plans the date, and of its capacities. `is_ahead`: the date has
    no other files yet.
    """

    own: str
    shared: str
    rows: Callable[[], str]
    timetable: Callable[[], str] = lambda: NO_VERSION
    is_ahead: bool = False

    def recorded(self) -> str:
        """The version that is stored with a date that was read."""
        return self._planned() if self.is_ahead else _SEPARATOR.join((self.own, self.shared, self.rows()))

    def has_changed(self, recorded: str, is_matched: bool = False) -> bool:
        """Whether the date's rows differ from those of version `recorded`.

        A date that was planned ahead keeps its plan after counts were matched to it (`is_matched`).
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
    """The hash of a date's own files in a recorded version; None if the date was planned ahead."""
    return None if recorded.startswith(_FEED) else recorded.split(_SEPARATOR)[0]
