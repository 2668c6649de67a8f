"""Splits a range of dates into jobs, decides which job may start, and collects the result of each job and of the whole range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dagster import AssetCheckResult, Failure, MaterializeResult

from ruter_dagster.contracts.jobs import DatesParameters, JobParameters
from ruter_dagster.resources.merge_results import json_metadata

JobEvent = MaterializeResult | AssetCheckResult


class NoData(Failure):
    """The source has no data for any date of a job. The step fails only if no job of the range found data."""


@dataclass(frozen=True)
class Chunk:
    """One job of a range, or the only job. `dates` is empty for a job without dates."""

    number: int
    parameters: JobParameters

    @property
    def dates(self) -> list[str]:
        parameters = self.parameters
        return (
            [day.isoformat() for day in parameters.dates] if isinstance(parameters, DatesParameters) else []
        )

    @property
    def date_range(self) -> str:
        """The dates as `first to last`, or the only date."""
        return f"{self.dates[0]} to {self.dates[-1]}" if len(self.dates) > 1 else "".join(self.dates)

    @property
    def needs_previous(self) -> bool:
        """Whether the job reads what the job before it wrote."""
        return isinstance(self.parameters, DatesParameters) and self.parameters.in_order


@dataclass
class Chunks:
    """All jobs of a range. A launcher starts the chunks that `due` yields, and records the result of each.

    `metadata`: what the launcher adds to each asset's materialisation, about all jobs together.
    """

    all: list[Chunk]
    metadata: dict[str, Any] = field(default_factory=dict)
    _events: dict[int, Sequence[JobEvent]] = field(default_factory=dict)
    _without_data: dict[int, NoData] = field(default_factory=dict)
    _failures: dict[int, Failure] = field(default_factory=dict)

    @classmethod
    def of(cls, parameters: JobParameters, size: int) -> Chunks:
        """One job for every `size` service dates; a single job if the parameters have no dates."""
        if not isinstance(parameters, DatesParameters):
            return cls([Chunk(0, parameters)])
        dates, size = parameters.dates, max(1, size // parameters.service_dates)
        parts = (dates[start : start + size] for start in range(0, len(dates), size))
        return cls([Chunk(n, parameters.model_copy(update={"dates": part})) for n, part in enumerate(parts)])

    def due(self) -> Iterator[Chunk | None]:
        """Each job as soon as it may start, and None while no job may start. Ends after a failure.

        The first job that finds data runs alone. Its snapshots are pinned for the other jobs, so that one run never reads
        two states of a table. The other jobs run in parallel, unless each needs the result of the previous one.
        """
        for chunk in self.all:
            while not self._failures and self._must_wait(chunk):
                yield None
            if self._failures:
                return
            yield Chunk(chunk.number, self._pin_snapshots(chunk.parameters))

    def add_events(self, number: int, events: Sequence[JobEvent]) -> None:
        """Records the events of a job that succeeded."""
        self._events[number] = events

    def add_failure(self, number: int, failure: Failure) -> None:
        """Records the failure of a job. `NoData` is no failure of the range if another job finds data."""
        if isinstance(failure, NoData):
            self._without_data[number] = failure
        else:
            self._failures[number] = failure

    @property
    def failure(self) -> Failure | None:
        """The failure of the step: that of the first failed job, with the dates of the job. None if the step succeeds."""
        if self._failures:
            number, failure = min(self._failures.items())
            prefix = f"Dates {self.all[number].date_range}, job {number + 1} of {len(self.all)}"
        elif self._without_data and not self._events:
            number, failure = max(self._without_data.items())
            days = [day for chunk in self.all for day in chunk.dates]
            prefix = (
                f"No data for any date from {min(days, default='')} to {max(days, default='')}; the last job"
            )
        else:
            return None
        if len(self.all) == 1:
            return failure
        message = f"{prefix}: {failure.description}"
        return Failure(message, metadata=failure.metadata, allow_retries=failure.allow_retries)

    @property
    def is_skipped(self) -> bool:
        """Whether no date has data, and the step succeeds because other dates of the range exist."""
        parameters = self.all[0].parameters
        is_part = isinstance(parameters, DatesParameters) and parameters.part_of_range
        return is_part and len(self._without_data) == len(self.all)

    @property
    def materialisations(self) -> list[MaterializeResult]:
        """The materialisations of all jobs, in the order of their dates."""
        return [
            event
            for _, events in sorted(self._events.items())
            for event in events
            if isinstance(event, MaterializeResult)
        ]

    @property
    def check_results(self) -> list[tuple[str, AssetCheckResult]]:
        """The check results of all jobs, each with the date range of its job."""
        return [
            (self.all[number].date_range, event)
            for number, events in sorted(self._events.items())
            for event in events
            if isinstance(event, AssetCheckResult)
        ]

    @property
    def absent_dates(self) -> list[str]:
        """The dates of jobs without data."""
        return [day for number in sorted(self._without_data) for day in self.all[number].dates]

    @property
    def absence_reasons(self) -> list[str]:
        """Why each job without data found none."""
        return [failure.description or "" for _, failure in sorted(self._without_data.items())]

    def _must_wait(self, chunk: Chunk) -> bool:
        """Whether a job must wait for a previous job: for snapshots to pin, or for its result."""
        waits = not self._events or chunk.needs_previous
        return waits and any(
            number not in self._without_data and number not in self._events for number in range(chunk.number)
        )

    def _pin_snapshots(self, parameters: JobParameters) -> JobParameters:
        """The parameters, pinned to the snapshots that the first job with data read."""
        pins = {
            table: int(read["snapshot_id"])
            for result in reversed(self.materialisations)
            for table, read in (json_metadata(result, "inputs") or {}).items()
        }
        return parameters.model_copy(update={"pins": {**pins, **parameters.pins}})
