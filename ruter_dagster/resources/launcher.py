"""The interface that runs an asset's job and reports its results. `local.py` and `sagemaker/` implement it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from dagster import (
    AssetCheckResult,
    AssetExecutionContext,
    AssetMaterialization,
    DagsterExecutionInterruptedError,
    Failure,
    MaterializeResult,
    MetadataValue,
)

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import JobParameters
from ruter_dagster.resources.date_chunks import Chunks, JobEvent, NoData
from ruter_dagster.resources.merge_results import (
    merge_checks,
    merge_materialisations,
    partition_events,
    split_by_partition,
)
from ruter_dagster.resources.parent_process import end_with_parent

__all__ = ["JobEvent", "JobLauncher", "NoData", "SequentialLauncher"]


class JobLauncher(ABC):
    """Runs the job of an asset and returns the events that the job reported.

    A range of dates is split into chunks of `days_per_job` dates, one job each. Their reports are merged.
    """

    days_per_job: int

    @abstractmethod
    def launch_all(self, context: AssetExecutionContext, chunks: Chunks) -> None:
        """Runs the jobs that are due, and records in `chunks` how each one ended."""

    def pool_of(self, job: str) -> str | None:
        """The Dagster pool of a job. None if the launcher does not limit the number of runs."""
        return None

    def run(
        self, context: AssetExecutionContext, parameters: JobParameters
    ) -> Iterator[JobEvent | AssetMaterialization]:
        """Runs the job and yields each asset's materialisation and checks.

        Dates without data are left out. If a chunk fails finally, the dates that other chunks wrote are recorded.
        """
        end_with_parent()
        chunks = self._run_chunks(context, parameters)
        if chunks.is_skipped:
            yield from _skipped_results(context, chunks)
            return
        results = [
            result._replace(metadata={**(result.metadata or {}), **chunks.metadata})
            for result in merge_materialisations(chunks.materialisations, chunks.absent_dates)
        ]
        if failure := chunks.failure:
            # The next attempt reports the dates of the other chunks again, and would record them twice.
            for result in [] if _is_retried(context, failure) else results:
                yield from partition_events(result, _code_version(context))
            raise failure from None
        for reason in chunks.absence_reasons:
            context.log.warning(reason)
        for result in results:
            yield split_by_partition(context, result)
        yield from merge_checks(chunks.check_results)

    def _run_chunks(self, context: AssetExecutionContext, parameters: JobParameters) -> Chunks:
        """Splits the dates into chunks and runs them. Raises `Failure` for unknown pins, and if the run is cancelled."""
        try:
            parameters.require_known_pins()
        except PermanentFailure as error:
            raise Failure(str(error), allow_retries=False) from error
        chunks = Chunks.of(parameters, self.days_per_job)
        try:
            self.launch_all(context, chunks)
        except DagsterExecutionInterruptedError:
            # Dagster's retry policy would start a step again that a person has just cancelled.
            raise Failure(
                f"The run was cancelled while job {parameters.job} was running", allow_retries=False
            ) from None
        return chunks


class SequentialLauncher(JobLauncher):
    """A launcher that runs one job at a time."""

    @abstractmethod
    def launch(
        self, context: AssetExecutionContext, parameters: JobParameters, number: int
    ) -> Sequence[JobEvent]:
        """Runs one job to its end. Raises `Failure`, with `allow_retries=False` if a retry cannot help."""

    def launch_all(self, context: AssetExecutionContext, chunks: Chunks) -> None:
        for chunk in filter(None, chunks.due()):
            try:
                chunks.add_events(chunk.number, self.launch(context, chunk.parameters, chunk.number))
            except Failure as failure:
                chunks.add_failure(chunk.number, failure)


def _skipped_results(context: AssetExecutionContext, chunks: Chunks) -> Iterator[JobEvent]:
    """The results of a step whose dates all lack data: no rows, and checks that are not judged."""
    reasons = "\n".join(chunks.absence_reasons)
    context.log.warning(reasons)
    for key in context.selected_asset_keys:
        metadata = {"dates_absent": MetadataValue.json(chunks.absent_dates), "reason": reasons}
        yield MaterializeResult(asset_key=key, metadata=metadata)
    for check in context.selected_asset_check_keys:
        yield AssetCheckResult(
            asset_key=check.asset_key,
            check_name=check.name,
            passed=True,
            metadata={"judged": False, "observed": reasons},
        )


def _is_retried(context: AssetExecutionContext, failure: Failure) -> bool:
    """Whether Dagster retries the step after this failure."""
    step = context.get_step_execution_context()
    policy = step.op_retry_policy
    if policy is None or step.retry_mode.disabled or not failure.allow_retries:
        return False
    return step.previous_attempt_count < policy.max_retries


def _code_version(context: AssetExecutionContext) -> str | None:
    return next(iter(context.assets_def.code_versions_by_key.values()), None)
