"""Faults of the demo network, written as text: `RUTER_DEMO_FAULTS=silent_line:2026-11-16:2026-11-20:RUT:Line:21`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal, get_args

FaultKind = Literal["timetable_change", "dead_door", "counter_failure", "half_the_passengers", "silent_line"]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
_FORM = "kind:from:to, or kind:from:to:subject, separated by commas"


@dataclass(frozen=True)
class DemoFault:
    """A fault on the service dates from `first` to `last`, both included.

    - `timetable_change`: the other version of the timetable is valid. It has no subject.
    - `dead_door`: one door of the vehicle `subject` counts nobody who boards.
    - `counter_failure`: the trips of the vehicle `subject` have no counts.
    - `half_the_passengers`: half of the passengers stay away from the line or mode `subject`, or from the whole network.
    - `silent_line`: the line `subject` reports no trips.

    Without a subject, a vehicle or line of the first bus line is used.
    """

    kind: FaultKind
    first: date
    last: date
    subject: str | None = None

    def includes(self, service_date: date) -> bool:
        return self.first <= service_date <= self.last


def parse_faults(text: str) -> tuple[DemoFault, ...]:
    """The faults in a text such as `dead_door:2026-11-16:2026-11-20,half_the_passengers:2026-11-18:2026-11-18:tram`.

    Raises `ValueError` that names the wrong part and what is allowed.
    """
    return tuple(_parse_fault(part.strip()) for part in text.split(",") if part.strip())


def _parse_fault(text: str) -> DemoFault:
    kind, *rest = text.split(":", 3)
    known: dict[str, FaultKind] = {name: name for name in FAULT_KINDS}
    if kind not in known:
        raise ValueError(f"{text!r}: unknown fault {kind!r}; allowed: {', '.join(FAULT_KINDS)}")
    try:
        first, last = (date.fromisoformat(day) for day in rest[:2])
    except ValueError:
        raise ValueError(f"{text!r}: allowed: {_FORM}; dates are YYYY-MM-DD") from None
    if last < first:
        raise ValueError(f"{text!r}: the last date {last} is before the first date {first}")
    subject = rest[2] if len(rest) > 2 and rest[2] else None
    if subject and kind == "timetable_change":
        raise ValueError(f"{text!r}: the fault timetable_change has no subject; remove {subject!r}")
    return DemoFault(known[kind], first, last, subject)
