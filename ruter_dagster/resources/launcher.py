"""The one interface between an asset and the place where its job runs. What runs a job belongs in `local.py` or `sagemaker/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from dagster import AssetCheckResult, AssetExecutionContext, AssetMaterialization, Failure, MaterializeResult
from dagster._core.errors import DagsterExecutionInterruptedError

from ruter_dagster.contracts.jobs import DatesParameters, JobParameters
from ruter_dagster.resources.merging import (
    by_partition,
    events_by_partition,
    json_of,
    merged_checks,
    merged_materialisations,
)

JobEvent = MaterializeResult | AssetCheckResult


class NothingThere(Failure):
    """A job found none of its dates: a failure where it was the whole range, or a single date, that was asked for."""


class JobLauncher(ABC):
    """Runs a job for an asset, and gives back what the job reported.

    A range of dates is cut into chunks of `days_per_job`, a job each; their reports become one.
    """

    days_per_job: int

    @abstractmethod
    def launch(
        self, context: AssetExecutionContext, parameters: JobParameters, number: int
    ) -> Sequence[JobEvent]:
        """Runs one job to its end. Raises `Failure`, with `allow_retries=False` where no retry can help."""

    def run(
        self, context: AssetExecutionContext, parameters: JobParameters
    ) -> Iterator[JobEvent | AssetMaterialization]:
        """Runs the job, in chunks where it is over dates, and yields each asset's materialisation and checks.

        A chunk of which nothing is there is left out like a single absent date. Where a chunk fails, what those before it
        wrote is recorded by date.
        """
        materialised: list[MaterializeResult] = []
        checked: list[tuple[str, AssetCheckResult]] = []
        absent: list[str] = []
        chunks = _chunks(parameters, self.days_per_job)
        for number, chunk in enumerate(chunks):
            try:
                events = self._launch(context, _pinned(chunk, materialised), number)
            except Failure as failure:
                if isinstance(failure, NothingThere) and (number + 1 < len(chunks) or materialised):
                    absent += _dates(chunk)
                    continue
                for result in merged_materialisations(materialised, absent):
                    yield from events_by_partition(result, _code_version(context))
                raise _of_range(failure, chunk, chunks) from None
            materialised += [event for event in events if isinstance(event, MaterializeResult)]
            checked += [(_span(chunk), event) for event in events if isinstance(event, AssetCheckResult)]
        for result in merged_materialisations(materialised, absent):
            yield by_partition(context, result)
        yield from merged_checks(checked)

    def _launch(
        self, context: AssetExecutionContext, parameters: JobParameters, number: int
    ) -> Sequence[JobEvent]:
        try:
            return self.launch(context, parameters, number)
        except DagsterExecutionInterruptedError:
            # Dagster's retry policy would start a step again that a person has just ended.
            raise Failure(
                f"Job {parameters.job} was ended with its run, which was terminated", allow_retries=False
            ) from None


def _chunks(parameters: JobParameters, size: int) -> list[JobParameters]:
    if not isinstance(parameters, DatesParameters):
        return [parameters]
    dates = parameters.dates
    return [parameters.model_copy(update={"dates": dates[i : i + size]}) for i in range(0, len(dates), size)]


def _dates(parameters: JobParameters) -> list[str]:
    return [day.isoformat() for day in parameters.dates] if isinstance(parameters, DatesParameters) else []


def _span(parameters: JobParameters) -> str:
    dates = _dates(parameters)
    return f"{dates[0]} to {dates[-1]}" if len(dates) > 1 else "".join(dates)


def _of_range(failure: Failure, chunk: JobParameters, chunks: Sequence[JobParameters]) -> Failure:
    """The failure of one of several jobs, with the dates that it is about."""
    if len(chunks) == 1:
        return failure
    if isinstance(failure, NothingThere):
        place = f"Nothing is there of any date from {_dates(chunks[0])[0]} to {_dates(chunks[-1])[-1]}; of the last ones"
    else:
        place = f"Dates {_span(chunk)}, job {chunks.index(chunk) + 1} of {len(chunks)}"
    return Failure(
        description=f"{place}: {failure.description}",
        metadata=failure.metadata,
        allow_retries=failure.allow_retries,
    )


def _code_version(context: AssetExecutionContext) -> str | None:
    return next(iter(context.assets_def.code_versions_by_key.values()), None)


def _pinned(chunk: JobParameters, earlier: Sequence[MaterializeResult]) -> JobParameters:
    """The chunk pinned to the snapshots that the first one read: one run never sees two states of a table."""
    used = {
        table: int(noted["snapshot_id"])
        for result in reversed(earlier)
        for table, noted in (json_of(result, "inputs") or {}).items()
    }
    return chunk.model_copy(update={"pins": {**used, **chunk.pins}})
