"""Labels of lines, stops, times and reasons, as a person reads them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

UNKNOWN = "unknown"
REASONS: Mapping[str, str] = {
    "holiday": "public or school holiday, or a day beside one",
    "weather": "unusual weather",
    "event": "event nearby",
    "smallerVehicle": "smaller vehicle than usual",
    "largerVehicle": "larger vehicle than usual",
    "newJourney": "new journey, without counts of its own",
    "littleHistory": "few counts in the last 8 weeks",
    "modelFailed": "the model failed: this is the baseline",
}
"""Words for the codes of `reasons`."""
MODES_IN_WORDS: Mapping[str, str] = {
    "bus": "buses", "tram": "trams", "metro": "metro trains", "boat": "boats", "rail": "trains",
}  # fmt: skip
"""Words for all vehicles of a mode."""
LEVELS: Mapping[str, str] = {
    "empty": "empty",
    "manySeatsAvailable": "many seats",
    "fewSeatsAvailable": "few seats",
    "standingRoomOnly": "standing room only",
    "crushedStandingRoomOnly": "crushed standing",
    "full": "full",
    "unknown": "unknown",
}
"""Words for SIRI's occupancy levels."""


@dataclass(frozen=True)
class Names:
    """Names of lines and stops by id, the mode of each line, and the ids of all stops.

    An id without a name is shown by its last part.
    """

    lines: Mapping[str, str] = field(default_factory=dict)
    stops: Mapping[str, str] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)
    stop_ids: Sequence[str] = ()

    def line(self, line_id: str) -> str:
        return self.lines.get(line_id) or last_part(line_id)

    def stop(self, stop_id: str) -> str:
        return self.stops.get(stop_id) or last_part(stop_id)

    def stop_names(self) -> list[str]:
        """The names of all stops, without repetition, in order; the id of a stop without a name."""
        return sorted({self.stops.get(stop_id, stop_id) for stop_id in self.stop_ids})

    def line_labels(self, mode: str | None = None) -> dict[str, str]:
        """A different label for each line of the mode: its name; with the mode, or the id, if other lines have the same name."""
        ids = [line_id for line_id, of_mode in self.modes.items() if mode in (None, of_mode)]
        names = Counter(map(self.line, ids))
        labels = {
            line_id: self.line(line_id) if names[self.line(line_id)] == 1 else f"{self.line(line_id)} ({self.modes[line_id]})"
            for line_id in ids
        }  # fmt: skip
        return dict(sorted(different(labels).items(), key=lambda item: (len(item[1]), item[1])))

    def labelled(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with the columns `line` and `stop` of its ids, where it has them."""
        added = []
        for kind, label in (("line", self.line), ("stop", self.stop)):
            if f"{kind}_id" in frame.columns:
                ids = frame[f"{kind}_id"].unique().to_list()
                labels = pl.col(f"{kind}_id").replace_strict(
                    ids, [label(value) for value in ids], return_dtype=pl.String
                )
                added.append(labels.alias(kind))
        return frame.with_columns(added)


def different(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels by id. A label that several ids have gets the id as well."""
    numbers = Counter(labels.values())
    return {key: label if numbers[label] == 1 else f"{label} ({key})" for key, label in labels.items()}


def last_part(identifier: str) -> str:
    """The id without its codespace: `Quay 7064` for NSR:Quay:7064, `21` for RUT:Line:21."""
    _, _, rest = identifier.partition(":")
    kind, _, number = rest.rpartition(":")
    if not number:
        return identifier
    return number if kind in ("Line", "") else f"{kind} {number}"


def local_time(time_zone: str, column: str = "scheduled_departure_time") -> pl.Expr:
    """The local time HH:MM of a column in UTC."""
    return pl.col(column).dt.convert_time_zone(time_zone).dt.strftime("%H:%M")


def reasons_in_words(codes: str | None) -> str:
    """The words of codes that are separated by a space; empty for none. An unknown code is shown as it is."""
    return "; ".join(REASONS.get(code, code) for code in (codes or "").split())


def day_in_words(day: date) -> str:
    """For example Friday 20 November 2026."""
    return f"{day:%A} {day.day} {day:%B %Y}"


def age_note(what: str, day: date, today: date, usual_days: int) -> str:
    """A sentence if the newest date of something is far from today; empty if it is from 0 to `usual_days` days old."""
    age = (today - day).days
    if 0 <= age <= usual_days:
        return ""
    distance = f"{abs(age)} day{'' if abs(age) == 1 else 's'}"
    if age < 0:
        return f"{what} ({day}) lies {distance} after today, {today}."
    return f"{what} ({day}) is {distance} old. Nothing newer is in this state: see the page Runs and cost."


def escaped(text: str) -> str:
    """The text, for Markdown that shows it as it is."""
    return re.sub(r"([\\`*_\[\]$<>~#|:])", r"\\\1", text)


def capitalised(text: str) -> str:
    """The text with a capital first letter; the others are kept."""
    return text[:1].upper() + text[1:]


def share(value: float | None, digits: int = 0) -> str:
    """A share in percent, or `unknown`."""
    return UNKNOWN if value is None else f"{value:.{digits}%}"
