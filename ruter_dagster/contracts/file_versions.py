"""Versions of the files that a date is read from, as they are recorded with what was made of them. Plain values only."""

from __future__ import annotations

from dataclasses import dataclass

RECENT_DATES = 14
"""Newest dates at the source whose files are looked at for corrections between two days of the chain."""


@dataclass(frozen=True)
class FileVersions:
    """Hashes of a date's own files, whose paths name it, and of those files that it shares with other dates."""

    own: str
    shared: str

    def recorded(self, with_shared: bool) -> str:
        """What is kept with a date that was read. With rows set aside a shared file matters too: they may be corrected there.

        Without, it does not: a file of many dates changes whenever a date is added to it.
        """
        return f"{self.own}+{self.shared}" if with_shared else self.own

    def has_changed(self, recorded: str) -> bool:
        """Whether these are other files than those of which `recorded` was kept."""
        return self.recorded("+" in recorded) != recorded
