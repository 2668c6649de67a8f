"""A range of dates cut into jobs: which of them may start, what each came to, and what that is for the range as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dagster import AssetCheckResult, Failure, MaterializeResult

from ruter_dagster.contracts.jobs import DatesParameters, JobParameters
from ruter_dagster.resources.merge_results import json_of

JobEvent = MaterializeResult | AssetCheckResult


class NothingThere(Failure):
    """A job found none of its dates: a failure where it was the whole range, or a single date, that was asked for."""


@dataclass(frozen=True)
class Chunk:
    """One job of a range, or the only one. `dates` are empty where it is over none."""

    number: int
    parameters: JobParameters

    @property
    def dates(self) -> list[str]:
        parameters = self.parameters
        return (
            [day.isoformat() for day in parameters.dates] if isinstance(parameters, DatesParameters) else []
        )

    @property
    def span(self) -> str:
        """The dates in words."""
        return f"{self.dates[0]} to {self.dates[-1]}" if len(self.dates) > 1 else "".join(self.dates)


@dataclass
class Chunks:
    """All jobs of a range. Whoever runs them asks `due` for the next one, and tells how each `ended` or `failed`."""

    all: list[Chunk]
    metadata: dict[str, Any] = field(default_factory=dict)
    """What a launcher adds to each asset's materialisation: of all jobs together."""
    _events: dict[int, Sequence[JobEvent]] = field(default_factory=dict)
    _absent: dict[int, NothingThere] = field(default_factory=dict)
    _failed: dict[int, Failure] = field(default_factory=dict)

    @classmethod
    def of(cls, parameters: JobParameters, size: int) -> Chunks:
        """The job as it is, or where it is over dates a job for every `size` service dates that they result in."""
        if not isinstance(parameters, DatesParameters):
            return cls([Chunk(0, parameters)])
        dates, size = parameters.dates, max(1, size // parameters.service_dates)
        parts = (dates[start : start + size] for start in range(0, len(dates), size))
        return cls([Chunk(n, parameters.model_copy(update={"dates": part})) for n, part in enumerate(parts)])

    def due(self) -> Iterator[Chunk | None]:
        """Each job once it may start, None while none may; no more after a failure.

        The first one that finds its dates pins the others to the snapshots that it read: one run never sees two states
        of a table. So that one runs alone; those after it may run side by side, unless each reads what the former left.
        """
        for chunk in self.all:
            while not self._failed and (not self._events or _in_order(chunk)) and self._open_before(chunk):
                yield None
            if self._failed:
                return
            yield Chunk(chunk.number, self._pinned(chunk.parameters))

    def ended(self, number: int, events: Sequence[JobEvent]) -> None:
        self._events[number] = events

    def failed(self, number: int, failure: Failure) -> None:
        """A chunk of which nothing is there is left out like a single absent date, if there is anything of the others."""
        if isinstance(failure, NothingThere):
            self._absent[number] = failure
        else:
            self._failed[number] = failure

    @property
    def failure(self) -> Failure | None:
        """What the step fails with, in the words of the first job that failed and with its dates."""
        if self._failed:
            number, failure = min(self._failed.items())
            place = f"Dates {self.all[number].span}, job {number + 1} of {len(self.all)}"
        elif self._absent and not self._events:
            number, failure = max(self._absent.items())
            days = [day for chunk in self.all for day in chunk.dates]
            place = f"Nothing is there of any date from {min(days, default='')} to {max(days, default='')}; of the last ones"
        else:
            return None
        if len(self.all) == 1:
            return failure
        words = f"{place}: {failure.description}"
        return Failure(words, metadata=failure.metadata, allow_retries=failure.allow_retries)

    @property
    def is_left_out(self) -> bool:
        """Whether nothing is there of any date, and the other dates of their range stand: then that is no failure."""
        parameters = self.all[0].parameters
        is_part = isinstance(parameters, DatesParameters) and parameters.part_of_range
        return is_part and len(self._absent) == len(self.all)

    @property
    def materialised(self) -> list[MaterializeResult]:
        """What jobs materialised, in the order of their dates."""
        return [
            event
            for _, events in self._in_order()
            for event in events
            if isinstance(event, MaterializeResult)
        ]

    @property
    def checked(self) -> list[tuple[str, AssetCheckResult]]:
        """Results of checks, each with the dates of its job."""
        return [
            (self.all[number].span, event)
            for number, events in self._in_order()
            for event in events
            if isinstance(event, AssetCheckResult)
        ]

    @property
    def absent(self) -> list[str]:
        """Dates of jobs that found nothing."""
        return [day for number in sorted(self._absent) for day in self.all[number].dates]

    @property
    def reasons_absent(self) -> list[str]:
        """Why each of these jobs found nothing."""
        return [failure.description or "" for _, failure in sorted(self._absent.items())]

    def _in_order(self) -> list[tuple[int, Sequence[JobEvent]]]:
        return sorted(self._events.items())

    def _open_before(self, chunk: Chunk) -> bool:
        """Whether a job before this one has not ended."""
        return any(
            number not in self._absent and number not in self._events for number in range(chunk.number)
        )

    def _pinned(self, parameters: JobParameters) -> JobParameters:
        used = {
            table: int(noted["snapshot_id"])
            for result in reversed(self.materialised)
            for table, noted in (json_of(result, "inputs") or {}).items()
        }
        return parameters.model_copy(update={"pins": {**used, **parameters.pins}})


def _in_order(chunk: Chunk) -> bool:
    return isinstance(chunk.parameters, DatesParameters) and chunk.parameters.in_order
